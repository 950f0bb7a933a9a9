#pragma once
// What a node waits for beside its connections: signals, its spawners, and the minute in which it tidies up.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>

#include "base/log.h"
#include "exec/spawner_pool.h"
#include "net/async.h"
#include "node/task_group.h"

namespace sluice::node {

class NodeWatches final {
 public:
  struct Handlers {
    /// The first signal that asks the node to end; at the second the process ends at once.
    std::function<void()> on_signal;
    /// No program can be started any more.
    std::function<void()> on_zygote_lost;
    std::function<net::Awaitable<void>()> tidy_up;  // each minute
  };
  /// `tasks` and `pool` outlive the watches.
  NodeWatches(net::asio::any_io_executor executor, TaskGroup& tasks, exec::SpawnerPool& pool, Handlers handlers,
              Logger& log);
  ~NodeWatches();

  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
