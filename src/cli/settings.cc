#include "cli/settings.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/configuration.h"
#include "base/durable_file.h"
#include "base/spelling.h"
#include "cli/setting_keys.h"
#include "node/locations.h"

namespace sluice::cli {
namespace {

using Refusal = std::unexpected<std::string>;

// `whose` is what the problem is said of: a variable, or the key of a line.
std::expected<std::string, std::string> judge(const SettingKey& key, std::string value, const std::string& whose) {
  if (std::string problem = key.problem(value); !problem.empty()) return Refusal(fmt::format("{}: {}", whose, problem));
  if (key.kind == SettingKind::flag) return std::string(value == "1" || value == "true" ? "true" : "false");
  return value;
}

// Who writes a file thinks of no current folder.
std::string absolute_path(const std::string& path, const std::string& file, const std::string& home) {
  if (path.starts_with('/')) return path;
  if (path.starts_with("~/")) return home + path.substr(1);
  return file.substr(0, file.rfind('/') + 1) + path;
}

bool is_path(const SettingKey& key, const std::string& value) {
  if (key.kind == SettingKind::path) return true;
  bool socket = key.key == std::string_view("node") && value.find("://") == value.npos;
  return socket && value.find('/') != value.npos;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while ((begin = text.find_first_not_of(" \t\n", begin)) != text.npos) {
    std::size_t end = std::min(text.find_first_of(" \t\n", begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

}  // namespace

std::expected<Settings, std::string> Settings::from(const Sources& sources) {
  Settings settings;
  if (auto added = settings.add_variables(sources); !added) return Refusal(added.error());
  for (auto [place, file] : {std::pair(SettingPlace::user_file, &sources.user_file),
                             std::pair(SettingPlace::system_file, &sources.system_file)})
    if (*file)
      if (auto added = settings.add_file(place, **file, sources.home); !added) return Refusal(added.error());
  return settings;
}

std::expected<void, std::string> Settings::add_variables(const Sources& sources) {
  for (const SettingKey& key : setting_keys()) {
    std::string name = variable_of(key.key);
    std::string text = sources.variable(name);
    if (text.empty()) continue;
    for (const std::string& word : key.kind == SettingKind::list ? words_of(text) : std::vector{text}) {
      auto value = judge(key, word, name);
      if (!value) return Refusal(value.error());
      at(SettingPlace::variable)[key.key].push_back({.value = *std::move(value), .origin = name});
    }
  }
  return {};
}

std::expected<void, std::string> Settings::add_file(SettingPlace place, const SettingsFile& file,
                                                    const std::string& home) {
  auto lines = parse_configuration(file.text);
  if (!lines) return Refusal(fmt::format("{}:{}: {}", file.path, lines.error().line, lines.error().message));
  for (const ConfigurationLine& line : *lines) {
    std::string origin = fmt::format("{}:{}", file.path, line.number);
    const SettingKey* key = find_setting_key(line.key);
    if (key == nullptr)
      return Refusal(fmt::format("{}: there is no setting '{}'{}; 'sluice config show --help' lists them", origin,
                                 line.key, did_you_mean(line.key, setting_key_names())));
    auto value = judge(*key, line.value, fmt::format("{}: {}", origin, line.key));
    if (!value) return Refusal(value.error());
    auto& values = at(place)[line.key];
    if (key->kind != SettingKind::list && !values.empty())
      return Refusal(
          fmt::format("{}: {} is set a second time; {} has it already", origin, line.key, values.front().origin));
    if (is_path(*key, *value)) *value = absolute_path(*value, file.path, home);
    values.push_back({.value = *std::move(value), .origin = std::move(origin)});
  }
  return {};
}

const std::vector<SettingValue>* Settings::find(SettingPlace place, std::string_view key) const {
  const Values& values = places_[static_cast<std::size_t>(place)];
  auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

const std::vector<SettingValue>* Settings::find(std::string_view key) const {
  for (SettingPlace place : kSettingPlaces)
    if (const auto* values = find(place, key)) return values;
  return nullptr;
}

std::string Settings::text(std::string_view key) const {
  const auto* values = find(key);
  return values == nullptr ? "" : values->front().value;
}

std::string Settings::origin(std::string_view key) const {
  const auto* values = find(key);
  return values == nullptr ? "" : values->front().origin;
}

bool is_absent(const std::string& path, int error) {
  struct stat status {};
  return error == ENOENT || error == ENOTDIR || (error == EACCES && ::stat(path.c_str(), &status) != 0);
}

namespace {

std::expected<std::optional<SettingsFile>, std::string> read_file(const std::string& path) {
  auto text = read_small_file(path, kConfigurationBytesMax);
  if (text) return SettingsFile{.path = path, .text = *std::move(text)};
  int error = text.error().number;
  if (is_absent(path, error)) return std::nullopt;
  if (error == EFBIG)
    return Refusal(
        fmt::format("the configuration {} has more than the {} bytes that one may have; is it another's file?", path,
                    kConfigurationBytesMax));
  return Refusal(fmt::format("cannot read the configuration {}: {}", path, std::strerror(error)));
}

}  // namespace

std::string user_settings_path() { return node::configuration_directory() + "/config"; }
std::string system_settings_path() { return node::system_configuration_directory() + "/config"; }

std::expected<Settings, std::string> read_settings() {
  auto user = read_file(user_settings_path());
  if (!user) return Refusal(user.error());
  auto system = read_file(system_settings_path());
  if (!system) return Refusal(system.error());
  auto variable = [](const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return std::string(value == nullptr ? "" : value);
  };
  return Settings::from({.variable = variable,
                         .user_file = *std::move(user),
                         .system_file = *std::move(system),
                         .home = node::home_directory()});
}

}  // namespace sluice::cli
