#pragma once
// Says in the log why a node that was told to join others is alone.
//
// Membership asks by datagrams, and a datagram that is lost, filtered or sealed with another key is not answered at all. So
// while nobody is there, this dials those that were to be joined, as any node would, only to learn the reason. It tells the
// first failure soon and goes on less and less often: a node that is the first of its cluster may wait for long.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>
#include <vector>

#include "base/id.h"
#include "base/log.h"
#include "net/address.h"
#include "net/async.h"
#include "net/tls.h"
#include "node/task_group.h"

namespace sluice::node {

class JoinWatch final {
 public:
  struct Options {
    NodeId self;
    std::vector<net::HostPort> joins;
    std::function<const net::TlsContext*()> tls;
    std::function<bool()> alone;
  };
  /// Begins at once; does nothing if there is nobody to join. `tasks` and `log` outlive the watch.
  JoinWatch(net::asio::any_io_executor executor, TaskGroup& tasks, Options options, Logger& log);
  ~JoinWatch();

  /// Another node is a member now.
  void on_joined();
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
