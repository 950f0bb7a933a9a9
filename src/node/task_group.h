#pragma once
// Coroutines that belong to one object: they are counted, and their owner can wait until none is left. An exception that
// leaves one is a bug: it is logged, and the process stops.
// Threading: belongs to one loop.
#include <cstddef>
#include <memory>

#include "base/log.h"
#include "net/async.h"

namespace sluice::node {

class TaskGroup final {
 public:
  TaskGroup(net::asio::any_io_executor executor, Logger& log);
  /// Requires that none is left.
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(net::Awaitable<void> task);
  std::size_t running() const;
  /// Returns when none is left. The owner has told them to end.
  net::Awaitable<void> wait();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::node
