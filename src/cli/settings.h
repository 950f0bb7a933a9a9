#pragma once
// The configuration of this process: what is set for good, by variables and files, and where each value comes from.
// Precedence: an option, a variable SLUICE_KEY, the user's file, the system's file. A place that has a setting hides it
// in all that follow, lists included. Which settings there are: cli/setting_keys.h.
// Invariants: every value was checked as its option would check it. Threading: a value.
#include <array>
#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

/// In the order of precedence.
enum class SettingPlace { variable, user_file, system_file };
inline constexpr SettingPlace kSettingPlaces[] = {SettingPlace::variable, SettingPlace::user_file,
                                                  SettingPlace::system_file};

struct SettingValue {
  std::string value;   // never empty; of a flag "true" or "false"
  std::string origin;  // "SLUICE_KEY", "/etc/sluice/config:3"
};

struct SettingsFile {
  std::string path;
  std::string text;
};

class Settings final {
 public:
  /// What the settings are read from. `home` is what ~/ stands for.
  struct Sources {
    std::function<std::string(const std::string& name)> variable;  // empty: not set
    std::optional<SettingsFile> user_file, system_file;
    std::string home;
  };
  Settings() = default;
  /// Errors: a sentence that begins with the file and the line, or with the variable.
  static std::expected<Settings, std::string> from(const Sources& sources);

  /// The values of a setting, in order, from the first place that has it; null if none has.
  const std::vector<SettingValue>* find(std::string_view key) const;
  const std::vector<SettingValue>* find(SettingPlace place, std::string_view key) const;
  /// The one value; empty if it is not set.
  std::string text(std::string_view key) const;
  /// Where that comes from; empty if it is not set.
  std::string origin(std::string_view key) const;

 private:
  using Values = std::map<std::string, std::vector<SettingValue>, std::less<>>;
  Values& at(SettingPlace place) { return places_[static_cast<std::size_t>(place)]; }
  std::expected<void, std::string> add_variables(const Sources& sources);
  std::expected<void, std::string> add_file(SettingPlace place, const SettingsFile& file, const std::string& home);

  std::array<Values, std::size(kSettingPlaces)> places_;
};

/// Those of this process. A file that is not there is none; errors: as above, or a file that can't be read.
std::expected<Settings, std::string> read_settings();

/// Whether reading a file failed because there is none for us. A folder that we may not enter (root's, after `setpriv` or
/// `sudo -u` that keep HOME) holds no file of ours.
bool is_absent(const std::string& path, int error);

std::string user_settings_path();
std::string system_settings_path();

}  // namespace sluice::cli
