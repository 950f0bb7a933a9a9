#pragma once
// Where a node keeps its state and where a key is looked for (docs/cluster.md, "Files").
#include <optional>
#include <string>
#include <vector>

namespace sluice::node {

/// `--data`, else /var/lib/sluice for root, else $XDG_STATE_HOME/sluice, else ~/.local/state/sluice.
std::string data_directory(const std::string& wanted);
/// The data directories whose node a client without options speaks to: the user's, then the system's.
std::vector<std::string> local_data_directories();
std::string socket_path(const std::string& data_directory);

/// The user's own folder for configuration: $XDG_CONFIG_HOME/sluice, else ~/.config/sluice.
std::string configuration_directory();

struct KeyLocation {
  std::string path;
  std::string origin;  // "--key", "SLUICE_KEY", "the user's configuration", "the system's configuration"
};
/// `--key`, SLUICE_KEY, the user's configuration folder, /etc/sluice/cluster.key. The latter two only if they exist.
std::optional<KeyLocation> find_key(const std::string& wanted);
/// Where `init` writes a key.
std::string own_key_path();

}  // namespace sluice::node
