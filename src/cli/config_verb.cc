// `sluice config show`: what is set, to what, and where that is said.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/context_file.h"
#include "cli/option_reader.h"
#include "cli/setting_keys.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "cli/whereabouts.h"
#include "net/address.h"
#include "node/identity.h"

namespace sluice::cli {
namespace {

constexpr const char* kDefault = "default";

struct Row {
  std::string key;
  std::string value;  // empty: there is none
  std::string origin;
};

// The current context stands between a variable and the files.
Row node_row(const Settings& settings, const Contexts& contexts) {
  bool by_variable = settings.find(SettingPlace::variable, "node") != nullptr;
  auto current = contexts.all.find(contexts.current);
  if (!by_variable && current != contexts.all.end())
    return {"node", current->second.node, fmt::format("the context '{}'", contexts.current)};
  if (settings.find("node") != nullptr) return {"node", settings.text("node"), settings.origin("node")};
  return {"node", "", kDefault};
}

Row proof_row(const char* key, const std::string& value, const Proof& proof) {
  return value.empty() ? Row{key, "", kDefault} : Row{key, value, proof.origin};
}

std::string fallback(const SettingKey& key, const Settings& settings) {
  if (key.key == std::string_view("data")) return data_directory(settings);
  if (key.key == std::string_view("name")) return node::default_node_name(net::kDefaultPort);
  if (key.key == std::string_view("shell")) return "bash, else sh";
  return key.fallback;
}

std::vector<Row> rows_of(const Settings& settings, const Contexts& contexts) {
  std::vector<Row> rows;
  Proof proof = find_proof({}, settings);
  for (const SettingKey& key : setting_keys()) {
    std::string_view name = key.key;
    const auto* values = settings.find(name);
    if (name == "node")
      rows.push_back(node_row(settings, contexts));
    else if (name == "key" || name == "cert")
      rows.push_back(proof_row(key.key, name == "key" ? proof.key : proof.cert, proof));
    else if (values == nullptr)
      rows.push_back({key.key, fallback(key, settings), kDefault});
    else
      for (const SettingValue& value : *values) rows.push_back({key.key, value.value, value.origin});
  }
  return rows;
}

std::string table(const std::vector<Row>& rows) {
  std::size_t key = 7, value = 5;
  for (const Row& row : rows) {
    key = std::max(key, row.key.size());
    value = std::max(value, row.value.size());
  }
  std::string text = fmt::format("{:{}}  {:{}}  ORIGIN\n", "SETTING", key, "VALUE", value);
  for (const Row& row : rows)
    text += fmt::format("{:{}}  {:{}}  {}\n", row.key, key, row.value.empty() ? "-" : row.value, value, row.origin);
  return text;
}

std::string json_lines(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    nlohmann::ordered_json json = {{"setting", row.key}, {"value", nullptr}, {"origin", row.origin}};
    if (!row.value.empty()) json["value"] = row.value;
    text += json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  return text;
}

std::string explanation() {
  std::string text =
      "Print each setting, its value, and where that comes from.\n"
      "An option of a command goes first, then a variable (SLUICE_LOG_LEVEL of log-level), then the user's file, then "
      "the "
      "system's:\n";
  text += fmt::format("  {}\n  {}\n\nSettings:\n", user_settings_path(), system_settings_path());
  for (const SettingKey& key : setting_keys()) text += fmt::format("  {:12} {}\n", key.key, key.meaning);
  text.pop_back();
  return text;
}

int show(const Arguments& arguments) {
  bool json = false;
  Settings settings;
  OptionReader reader({.verb = "config show",
                       .description = explanation(),
                       .usage = "[--json]",
                       .examples = "  sluice config show\n  SLUICE_GRACE=10s sluice config show --json\n"});
  reader.flag("--json", json, "one object a line");
  reader.settings(settings);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto contexts = read_contexts();
  if (!contexts) return refuse(kFailed, contexts.error());
  std::vector<Row> rows = rows_of(settings, *contexts);
  return print(json ? json_lines(rows) : table(rows));
}

constexpr SubVerb kSubVerbs[] = {
    {"show", "print each setting, its value and its origin", show},
};

}  // namespace

int config_verb(const Arguments& arguments) {
  return run_sub_verb("config", "What is set for good, by variables and files.", kSubVerbs, arguments);
}

}  // namespace sluice::cli
