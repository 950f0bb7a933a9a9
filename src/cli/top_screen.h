#pragma once
// The full screen of `sluice top`: the terminal is taken while it lives, and given back however it goes.
//
// Keys come one by one; what the terminal showed before is there again afterwards (the alternate screen). Signals that end or
// stop the process are caught: the terminal is given back first, and then the process ends, or stops, by the same signal.
// Threading: belongs to the loop of its executor.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/async.h"

namespace sluice::cli {

enum class Key { other, quit, up, down, first, workers };

class TopScreen final {
 public:
  struct Handlers {
    std::function<void(Key)> on_key;
    std::function<void()> on_resize;         // or the process goes on after a stop: what was shown is gone
    std::function<void(int signal)> on_end;  // the process is to end; 0: the terminal is gone
  };
  /// Requires that stdin and stdout are terminals.
  TopScreen(net::asio::any_io_executor executor, Handlers handlers);
  ~TopScreen();
  TopScreen(const TopScreen&) = delete;
  TopScreen& operator=(const TopScreen&) = delete;

  struct Size {
    std::size_t rows = 24;
    std::size_t columns = 80;
  };
  static Size size();
  /// As many lines as there is room for. They may hold colours.
  void show(const std::vector<std::string>& lines);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with the waits that are under way
};

}  // namespace sluice::cli
