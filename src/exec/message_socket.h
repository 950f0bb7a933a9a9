#pragma once
// A Unix stream socket that carries the frames of `spawn_protocol.h` and descriptors beside them.
// Threading: belongs to one thread.
#include <cstddef>
#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class MessageSocket final {
 public:
  enum class Sending {
    waits,   // a send returns when the kernel has taken everything
    queues,  // a send never waits: what the kernel does not take is kept until `flush`
  };
  explicit MessageSocket(UniqueFd socket, Sending sending = Sending::waits)
      : socket_(std::move(socket)), sending_(sending) {}

  bool is_open() const { return static_cast<bool>(socket_); }
  int descriptor() const { return socket_.get(); }

  /// False: the peer is gone.
  bool send(std::string_view frame) { return send_with(frame, {}).has_value(); }
  /// Sends descriptors ahead of the frame that consumes them; they stay open here. Errors: errno, such as ETOOMANYREFS
  /// when the user has too many of them under way (unix(7)); `frame` was not sent then, some descriptors may have been.
  std::expected<void, int> send_with(std::string_view frame, std::span<const int> descriptors);

  /// Sends what was queued, as far as there is room. False: the peer is gone.
  bool flush();
  /// How much waits for the socket to become writable.
  std::size_t unsent_bytes() const { return unsent_bytes_; }

  /// Takes what has arrived, without waiting. False: the peer is gone, and what it sent before that has been taken.
  bool receive();
  /// Feeds what arrived to `reader` and returns its next message; see MessageReader::next.
  template <class Message>
  std::expected<std::optional<Message>, std::string> next(MessageReader<Message>& reader) {
    if (!received_.empty()) {
      reader.append(received_);
      received_.clear();
    }
    return reader.next();
  }
  /// The oldest descriptor that arrived and was not taken; an empty one if there is none, or if the limit of open
  /// descriptors has made the kernel drop some.
  UniqueFd take_descriptor();
  /// Closes those that nobody has taken.
  void drop_descriptors();

 private:
  struct Unsent {
    std::vector<UniqueFd> descriptors;  // go with the first byte
    std::string bytes;
  };
  std::expected<std::size_t, int> send_part(std::string_view bytes, std::span<const int> descriptors) const;
  std::expected<void, int> queue(std::string_view bytes, std::span<const int> descriptors);
  std::expected<void, int> put(std::string_view bytes, std::span<const int> descriptors);
  void take_ancillary(const void* message);

  UniqueFd socket_;
  Sending sending_;
  std::string received_;
  std::deque<UniqueFd> descriptors_;
  bool descriptors_lost_ = false;
  std::deque<Unsent> unsent_;
  std::size_t unsent_bytes_ = 0;
};

}  // namespace sluice::exec
