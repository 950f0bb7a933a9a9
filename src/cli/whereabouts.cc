#include "cli/whereabouts.h"

#include <unistd.h>

#include <algorithm>

#include "node/locations.h"

namespace sluice::cli {
namespace {

enum class ProofKinds { any, keys_only };

Proof key_of_folder(const std::string& folder, const char* whose) {
  std::string path = node::key_path(folder);
  if (::access(path.c_str(), F_OK) != 0) return {};
  return {.key = std::move(path), .origin = whose};
}

Proof key_beside(SettingPlace place) {
  switch (place) {
    case SettingPlace::user_file:
      return key_of_folder(node::configuration_directory(), "the user's configuration");
    case SettingPlace::system_file:
      return key_of_folder(node::system_configuration_directory(), "the system's configuration");
    case SettingPlace::variable:
      break;
  }
  return {};
}

Proof find(const Settings& settings, ProofKinds kinds) {
  for (SettingPlace place : kSettingPlaces) {
    const auto* cert = kinds == ProofKinds::any ? settings.find(place, "cert") : nullptr;
    if (cert != nullptr) return {.cert = cert->front().value, .origin = cert->front().origin};
    const auto* key = settings.find(place, "key");
    if (key != nullptr) return {.key = key->front().value, .origin = key->front().origin};
    if (Proof beside = key_beside(place); !beside.key.empty()) return beside;
  }
  return {};
}

}  // namespace

Proof find_proof(const Proof& given, const Settings& settings) {
  return given.key.empty() && given.cert.empty() ? find(settings, ProofKinds::any) : given;
}

std::string find_key(const std::string& given, const Settings& settings) {
  return given.empty() ? find(settings, ProofKinds::keys_only).key : given;
}

std::string data_directory(const Settings& settings) {
  std::string set = settings.text("data");
  return set.empty() ? node::default_data_directory() : set;
}

std::vector<std::string> local_data_directories(const Settings& settings) {
  std::vector<std::string> directories = {data_directory(settings)};
  if (settings.find(SettingPlace::variable, "data") != nullptr) return directories;
  const auto* of_system = settings.find(SettingPlace::system_file, "data");
  std::string system = of_system == nullptr ? node::system_data_directory() : of_system->front().value;
  if (std::ranges::find(directories, system) == directories.end()) directories.push_back(std::move(system));
  return directories;
}

}  // namespace sluice::cli
