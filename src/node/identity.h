#pragma once
// What makes a node the same node after a restart: its id and name in its data directory, which one daemon at a time owns.
#include <cstdint>
#include <expected>
#include <string>

#include "base/id.h"
#include "base/unique_fd.h"

namespace sluice::node {

class Identity final {
 public:
  /// Makes the directory (0700) if it is not there, locks it for this process, and reads the id, or draws a new one.
  /// `boot` counts the starts. Errors: another node runs on the directory (its process id is named), or what the file
  /// system says.
  static std::expected<Identity, std::string> open(const std::string& directory);

  const std::string& directory() const { return directory_; }
  const NodeId& id() const { return id_; }
  /// Starts of a node in this directory, this one included: grows with every start.
  std::uint64_t boot() const { return boot_; }
  /// The name that was used last; empty at the first start.
  const std::string& name() const { return name_; }
  std::expected<void, std::string> set_name(const std::string& name);

 private:
  std::expected<void, std::string> read();
  std::expected<void, std::string> write() const;

  std::string directory_;
  UniqueFd lock_;
  NodeId id_;
  std::uint64_t boot_ = 0;
  std::string name_;
};

/// [a-z0-9-], 1 to 63 characters, and no word that pipeline text reads otherwise. Errors: a sentence.
std::expected<void, std::string> check_node_name(const std::string& name);
/// A name made from this host's: lower case, what is not allowed replaced by `-`; `-PORT` behind it when the port is not
/// the default one.
std::string default_node_name(std::uint16_t port);

}  // namespace sluice::node
