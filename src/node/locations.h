#pragma once
// Where a node keeps its state and where configuration lies (docs/cluster.md, "Files"), as long as no setting says otherwise.
#include <string>

namespace sluice::node {

/// /var/lib/sluice for root, else $XDG_STATE_HOME/sluice, else ~/.local/state/sluice.
std::string default_data_directory();
/// Of the node that root starts, whoever asks.
std::string system_data_directory();
std::string socket_path(const std::string& data_directory);

std::string home_directory();
/// The user's own folder for configuration: $XDG_CONFIG_HOME/sluice, else ~/.config/sluice.
std::string configuration_directory();
/// /etc/sluice, or SLUICE_SYSTEM_CONFIG_DIR.
std::string system_configuration_directory();

/// The cluster key in a folder for configuration.
std::string key_path(const std::string& configuration_directory);
/// Where `init` writes a key.
std::string own_key_path();

}  // namespace sluice::node
