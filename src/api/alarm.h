#pragma once
// Notifies a wakeup at a point in time, unless it is destroyed before.
// Threading: belongs to the loop of its executor.
#include <memory>

#include "base/time.h"
#include "net/async.h"
#include "rpc/wakeup.h"

namespace sluice::api {

class Alarm final {
 public:
  /// The wakeup must outlive this.
  Alarm(net::asio::any_io_executor executor, rpc::Wakeup& wakeup, TimePoint at);
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  bool rang() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the timer's handler, which may run after us
};

}  // namespace sluice::api
