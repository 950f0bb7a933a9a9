#include "cli/context_file.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/durable_file.h"
#include "cli/settings.h"
#include "node/locations.h"

namespace sluice::cli {
namespace {

using Refusal = std::unexpected<std::string>;

std::string path() { return node::configuration_directory() + "/contexts.json"; }

std::string text_of(const nlohmann::json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

}  // namespace

std::expected<Contexts, std::string> read_contexts() {
  auto text = read_small_file(path(), std::size_t{1} << 20);
  if (!text && is_absent(path(), text.error().number)) return Contexts{};
  if (!text) return Refusal(fmt::format("cannot read {}: {}", path(), std::strerror(text.error().number)));
  auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("contexts") || !json["contexts"].is_object())
    return Refusal(fmt::format("{} is damaged; mend or remove it", path()));
  Contexts contexts{.current = text_of(json, "current")};
  for (const auto& [name, value] : json["contexts"].items())
    contexts.all[name] = {.node = text_of(value, "node"), .key = text_of(value, "key"), .cert = text_of(value, "cert")};
  return contexts;
}

std::expected<void, std::string> write_contexts(const Contexts& contexts) {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (const auto& [name, context] : contexts.all) {
    nlohmann::ordered_json entry = {{"node", context.node}};
    if (!context.key.empty()) entry["key"] = context.key;
    if (!context.cert.empty()) entry["cert"] = context.cert;
    all[name] = std::move(entry);
  }
  nlohmann::ordered_json json = {{"current", contexts.current}, {"contexts", std::move(all)}};
  std::error_code ignored;
  std::filesystem::create_directories(node::configuration_directory(), ignored);
  if (auto written = write_file_durably(path(), json.dump(2) + "\n", 0600); !written)
    return Refusal(fmt::format("cannot write {}: {}", path(), std::strerror(written.error())));
  return {};
}

}  // namespace sluice::cli
