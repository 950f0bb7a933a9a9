#include "node/locations.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace sluice::node {
namespace {

constexpr const char* kSystemData = "/var/lib/sluice";
constexpr const char* kSystemKey = "/etc/sluice/cluster.key";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string home() {
  if (std::string home = environment("HOME"); !home.empty()) return home;
  const passwd* user = ::getpwuid(::geteuid());
  return user == nullptr || user->pw_dir == nullptr ? "/" : user->pw_dir;
}

std::string below_home(const char* variable, const char* fallback) {
  std::string base = environment(variable);
  // The XDG base directory specification: a relative path is to be ignored.
  if (base.empty() || base[0] != '/') base = home() + fallback;
  return base + "/sluice";
}

}  // namespace

std::string data_directory(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  if (std::string set = environment("SLUICE_DATA"); !set.empty()) return set;
  if (::geteuid() == 0) return kSystemData;
  return below_home("XDG_STATE_HOME", "/.local/state");
}

std::vector<std::string> local_data_directories() {
  std::vector<std::string> directories = {data_directory("")};
  if (directories[0] != kSystemData && environment("SLUICE_DATA").empty()) directories.emplace_back(kSystemData);
  return directories;
}

std::string socket_path(const std::string& data_directory) { return data_directory + "/sluice.sock"; }

std::string configuration_directory() { return below_home("XDG_CONFIG_HOME", "/.config"); }

std::string own_key_path() { return ::geteuid() == 0 ? kSystemKey : configuration_directory() + "/cluster.key"; }

std::optional<KeyLocation> find_key(const std::string& wanted) {
  if (!wanted.empty()) return KeyLocation{wanted, "--key"};
  if (std::string set = environment("SLUICE_KEY"); !set.empty()) return KeyLocation{set, "SLUICE_KEY"};
  std::string own = configuration_directory() + "/cluster.key";
  if (::access(own.c_str(), F_OK) == 0) return KeyLocation{own, "the user's configuration"};
  if (::access(kSystemKey, F_OK) == 0) return KeyLocation{kSystemKey, "the system's configuration"};
  return std::nullopt;
}

}  // namespace sluice::node
