#pragma once
// A Unix stream socket that carries the frames of `spawn_protocol.h` and descriptors beside them.
// Threading: belongs to one thread.
#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class MessageSocket final {
 public:
  explicit MessageSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  int descriptor() const { return socket_.get(); }

  /// Sends all of `frame`, waiting for room. False: the peer is gone.
  bool send(std::string_view frame);
  /// Sends descriptors ahead of the frame that consumes them; they stay open here. Errors: errno, such as ETOOMANYREFS
  /// when the user has too many of them under way (unix(7)); some may have been sent then.
  std::expected<void, int> send_descriptors(std::span<const int> descriptors);

  /// Takes what has arrived, without waiting. False: the peer is gone, and what it sent before that has been taken.
  bool receive();
  /// Feeds what arrived to `reader` and returns its next message; see MessageReader::next.
  template <class Message>
  std::expected<std::optional<Message>, std::string> next(MessageReader<Message>& reader) {
    reader.append(received_);
    received_.clear();
    return reader.next();
  }
  /// The oldest descriptor that arrived and was not taken; an empty one if there is none.
  UniqueFd take_descriptor();

 private:
  UniqueFd socket_;
  std::string received_;
  std::deque<UniqueFd> descriptors_;
};

}  // namespace sluice::exec
