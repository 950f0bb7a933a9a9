#pragma once
// The settings that there are: options that one sets for good, in a configuration file or as a variable SLUICE_KEY.
// A setting has the name of its option. Threading: pure functions and constants.
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

enum class SettingKind {
  text,
  path,  // in a file, one that is not absolute starts from the folder of that file
  list,  // several lines in a file; in a variable several words
  flag,  // 1, 0, true, false
};

struct SettingKey {
  const char* key;
  SettingKind kind;
  const char* meaning;
  const char* fallback;  // what holds without it; empty: nothing does, or it is found out
  /// Why the option refuses this value, as a sentence that names the value; empty if it does not.
  std::string (*problem)(const std::string& value);
};

std::span<const SettingKey> setting_keys();
const SettingKey* find_setting_key(std::string_view key);
std::vector<std::string> setting_key_names();

/// SLUICE_LOG_LEVEL of log-level.
std::string variable_of(std::string_view key);

/// Why `--label` refuses it; empty if it does not.
std::string label_problem(const std::string& label);

}  // namespace sluice::cli
