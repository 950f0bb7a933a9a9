#pragma once
// Calls back at a point in time, unless it goes away before.
// Threading: belongs to the loop of its executor.
#include <functional>
#include <memory>

#include "base/time.h"
#include "net/async.h"

namespace sluice::net {

class Alarm final {
 public:
  Alarm(asio::any_io_executor executor, TimePoint at, std::function<void()> ring);
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  bool rang() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the timer's handler, which runs after us when we cancel it
};

}  // namespace sluice::net
