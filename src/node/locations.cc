#include "node/locations.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace sluice::node {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string below_home(const char* variable, const char* fallback) {
  std::string base = environment(variable);
  // The XDG base directory specification: a relative path is to be ignored.
  if (base.empty() || base[0] != '/') base = home_directory() + fallback;
  return base + "/sluice";
}

}  // namespace

std::string home_directory() {
  if (std::string home = environment("HOME"); !home.empty()) return home;
  const passwd* user = ::getpwuid(::geteuid());
  return user == nullptr || user->pw_dir == nullptr ? "/" : user->pw_dir;
}

std::string system_data_directory() { return "/var/lib/sluice"; }

std::string default_data_directory() {
  return ::geteuid() == 0 ? system_data_directory() : below_home("XDG_STATE_HOME", "/.local/state");
}

std::string socket_path(const std::string& data_directory) { return data_directory + "/sluice.sock"; }

std::string configuration_directory() { return below_home("XDG_CONFIG_HOME", "/.config"); }

std::string system_configuration_directory() {
  std::string set = environment("SLUICE_SYSTEM_CONFIG_DIR");
  return set.empty() ? "/etc/sluice" : set;
}

std::string key_path(const std::string& configuration_directory) { return configuration_directory + "/cluster.key"; }

std::string own_key_path() {
  return key_path(::geteuid() == 0 ? system_configuration_directory() : configuration_directory());
}

}  // namespace sluice::node
