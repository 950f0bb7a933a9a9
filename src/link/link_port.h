#pragma once
// A connection on a loop: moves bytes without blocking, waits, notices a host that is gone, and takes leave in good order.
//
// Leaving takes care of two things that close(2) does not. What was queued must still be sent, and what the other side still sends must be read:
// the kernel answers a close over unread bytes with a reset, which destroys what is on its way, such as our last frame.
// Threading: belongs to the loop.
#include <expected>
#include <memory>
#include <string>

#include "link/data_loops.h"
#include "link/link_socket.h"
#include "link/peer_watch.h"
#include "link/readiness.h"

namespace sluice::link {

class LinkPort final {
 public:
  using Waiter = std::shared_ptr<LoopWaiter>;
  template <class T = void>
  using Result = std::expected<T, LinkSocket::Broken>;

  LinkPort(net::asio::any_io_executor executor, net::Connection::Parts parts);

  /// What LinkSocket offers, with the waits that follow from it.
  Result<std::size_t> read(std::span<std::byte> into) { return socket_.read(into); }
  Result<> write(std::span<const std::byte> bytes, const Waiter& waiter);
  Result<> write(std::string_view frame, const Waiter& waiter);
  LinkSocket& socket() { return socket_; }
  const LinkSocket& socket() const { return socket_; }

  /// Sends what was kept. True: all went. False: `waiter` is told when it is worth trying again.
  Result<bool> flushed(const Waiter& waiter);
  void await_output(const Waiter& waiter) { readiness_.await(Readiness::Need::output, waiter); }
  void await_input(const Waiter& waiter) { readiness_.await(Readiness::Need::input, waiter); }
  /// For who neither reads nor writes for now, and would not notice a reset.
  void await_trouble(const Waiter& waiter);
  bool output_ready() const { return readiness_.ready(Readiness::Need::output); }
  bool input_ready() const { return readiness_.ready(Readiness::Need::input); }
  /// To be asked whenever the waiter was told something. The error: reset by the other side, or its host is gone.
  Result<> alive(const Waiter& waiter);
  void on_sent(const Waiter& waiter) { watch_.on_sent(waiter); }

  /// Nothing more is written, and what still comes is not wanted. `waiter` is told when `left` is worth asking.
  void leave(const Waiter& waiter, Duration patience);
  /// True: the other side has closed, or the patience is over; the connection is closed then.
  bool left(const Waiter& waiter, std::span<std::byte> scratch);
  /// For who has more to send than the socket keeps, and asks before `left`; true only once.
  bool patience_over() { return patience_.take_expired(); }
  /// At once; what is under way is lost.
  void reset();
  void close();

 private:
  LinkSocket socket_;
  Readiness readiness_;
  PeerWatch watch_;
  Alarm patience_;
  bool awaits_trouble_ = false;
  bool output_shut_ = false;
};

}  // namespace sluice::link
