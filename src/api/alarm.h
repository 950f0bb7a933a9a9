#pragma once
// Notifies a wakeup at a point in time, unless it is destroyed before.
// Threading: belongs to the loop of its executor.
#include <utility>

#include "net/alarm.h"
#include "rpc/wakeup.h"

namespace sluice::api {

class Alarm final {
 public:
  /// The wakeup must outlive this.
  Alarm(net::asio::any_io_executor executor, rpc::Wakeup& wakeup, TimePoint at)
      : alarm_(std::move(executor), at, [&wakeup] { wakeup.notify(); }) {}

  bool rang() const { return alarm_.rang(); }

 private:
  net::Alarm alarm_;
};

}  // namespace sluice::api
