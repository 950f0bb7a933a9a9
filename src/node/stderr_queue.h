#pragma once
// What we have to say on stderr while a flow runs, written as fast as somebody reads it and never waiting for him: a
// stopped terminal (Ctrl-S), a paused pager or a stuck log collector must not keep us from ending a flow.
//
// Invariant: no write blocks. A pipe or terminal is opened once more, non-blocking, through /proc: making our own
// descriptor so would make it so for everybody who shares it. Where that can't be done, poll(2) is asked first, and a
// write takes no more than has room then: PIPE_BUF bytes in a pipe (pipe(7)), one byte on a terminal.
// Threading: belongs to one loop.
#include <poll.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace sluice::node {

class StderrQueue final {
 public:
  /// Appends "sluice: MESSAGE" and a line end, or counts it as lost if there is no room.
  void say(std::string_view message);
  /// Appends `text` whatever the room: who produces much asks `has_room` first and holds its source back.
  void put(std::string_view text);

  bool has_room() const { return pending_.size() < kPendingMax; }
  bool empty() const { return pending_.empty(); }

  /// Writes what can be written now.
  void pump();
  /// What to wait for before the next `pump`, if anything is pending.
  std::optional<pollfd> waits() const;

  static constexpr std::size_t kPendingMax = std::size_t{256} << 10;

 private:
  void open();
  int descriptor() const;

  bool opened_ = false;
  UniqueFd non_blocking_;
  std::size_t piece_ = 0;  // bytes of one write
  std::string pending_;
  std::size_t lost_ = 0;
};

}  // namespace sluice::node
