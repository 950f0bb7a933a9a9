#pragma once
// Closes a connection when the patience with its peer ends, unless that is taken back before.
// Threading: belongs to the loop of the connection.
#include <memory>

#include "base/time.h"
#include "net/connection.h"

namespace sluice::net {

class Patience final {
 public:
  /// The connection must outlive this.
  Patience(asio::any_io_executor executor, Connection& connection, TimePoint deadline);
  ~Patience();
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

  /// The connection was closed because the time was over.
  bool ended() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the timer's handler, which may run after us
};

}  // namespace sluice::net
