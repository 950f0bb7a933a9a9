#pragma once
// `sluice dev`: a cluster of nodes on this host that belongs to one terminal, and is gone when that is done with it.
//
// Each node is a process of its own, started as `sluice start` would be, with a fresh key and its data in a temporary folder.
// If we are killed, the nodes end by themselves (parent-death signal); only the folder stays behind.
// Threading: one thread, poll(2).
#include <cstddef>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "node/signals.h"

namespace sluice::node {

struct DevNode {
  std::string name;
  std::string url;
  std::string data;
  int pid = 0;           // 0: it has ended, and was waited for
  UniqueFd log;          // its stderr, JSON lines
  std::string log_rest;  // of a line that has not ended
};

/// Why there is no cluster: what went wrong, or the signal that ended us first.
struct DevStop {
  std::string message;
  int signal = 0;
};

/// Whether a node runs that listens at this Unix socket.
bool listens_at(const std::string& socket);

class DevCluster final {
 public:
  /// Starts `count` nodes, n1, n2, ..., that all know each other when this returns. `signals` end it early, and outlive it.
  /// Errors: nothing is left.
  static std::expected<DevCluster, DevStop> start(std::size_t count, Signals& signals);
  DevCluster(DevCluster&&) noexcept = default;
  DevCluster& operator=(DevCluster&&) = delete;
  /// Ends the nodes and removes the folder.
  ~DevCluster();

  const std::vector<DevNode>& nodes() const { return nodes_; }
  const std::string& key_file() const { return key_file_; }

  /// Tells `on_event` of joins, leaves and flows, until a signal (its number is returned) or, with 0, until the last node
  /// has ended.
  int watch(const std::function<void(const std::string& event)>& on_event);

 private:
  explicit DevCluster(Signals& signals) : signals_(&signals) {}
  std::expected<void, DevStop> add_node(const std::string& name);
  std::expected<std::string, DevStop> read_url(int fd);
  void read_log(DevNode& node, const std::function<void(const std::string&)>& on_event);
  void end();

  Signals* signals_;
  std::string folder_;
  std::string key_file_;
  std::vector<DevNode> nodes_;
};

}  // namespace sluice::node
