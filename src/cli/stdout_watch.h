#pragma once
// Notices that nobody reads stdout any more, for commands that wait long between two lines (`nodes --watch | head -1`).
//
// Of a pipe only the writer that tries to write learns that its reader is gone, and of a command that waits for news that may
// be hours later. A file, which the kernel can't watch, is never given up.
// Threading: belongs to one loop.
#include <functional>
#include <memory>

#include "net/async.h"

namespace sluice::cli {

class StdoutWatch final {
 public:
  /// `on_closed` is called once at most, and not after the watch has gone.
  StdoutWatch(net::asio::any_io_executor executor, std::function<void()> on_closed);
  ~StdoutWatch();
  StdoutWatch(const StdoutWatch&) = delete;
  StdoutWatch& operator=(const StdoutWatch&) = delete;

  bool closed() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with the wait that is under way
};

}  // namespace sluice::cli
