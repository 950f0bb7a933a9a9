#pragma once
// One connection of a record link on a loop: frames are gathered into large writes, and read where they belong.
//
// A system call costs as much as a thousand records, so what is ready goes out together: in plain text one sendmsg(2)
// shows the kernel the batches where they lie; under TLS they are encrypted from there, a full record at a time. What
// the connection does not take yet is kept by reference: a batch that waits here is the one that the producer keeps.
// Invariants: queued bytes are at most kRoom and one frame, if frames are put only while has_room().
// Threading: belongs to the loop.
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "link/data_loops.h"
#include "link/link_port.h"
#include "link/record_producer.h"

namespace sluice::link {

class RecordWire final {
 public:
  using Waiter = LinkPort::Waiter;
  template <class T = void>
  using Result = LinkPort::Result<T>;

  RecordWire(const DataLoops::Seat& seat, net::Connection::Parts parts)
      : port_(seat.executor(), std::move(parts)), encrypted_(port_.socket().encrypted()) {}

  bool has_room() const { return queued_bytes_ < kRoom; }
  /// Something that was put is not sent yet.
  bool holds_bytes() const { return queued_bytes_ > 0; }
  /// So much was sent since the beginning.
  std::uint64_t taken_bytes() const { return taken_bytes_; }
  /// A frame, to be sent behind those before it.
  void put(RecordProducer::Transmit frame);
  void put(std::string frame) { put(RecordProducer::Transmit{.head = std::move(frame), .table = {}, .bytes = {}}); }
  /// Sends as much as the connection takes. True: all; false: `waiter` is told when it is worth trying again.
  Result<bool> send(const DataLoops::Seat& seat, const Waiter& waiter);

  /// How many bytes came: first into `first`, what is behind them into `second`. 0: none, and `waiter` is told.
  Result<std::size_t> read(std::span<std::byte> first, std::span<std::byte> second, const Waiter& waiter);
  /// At least so many bytes will still come for certain: to be woken before they are here is of no use.
  void expect(std::size_t bytes) { port_.socket().expect(bytes); }
  bool input_ready() const { return port_.input_ready(); }
  /// To be asked whenever the waiter was told something. The error: the other host is gone.
  Result<> alive(const Waiter& waiter) { return port_.alive(waiter); }

  /// Nothing more is put; what is queued is still sent, and what comes is dropped. `waiter` is told when `left` is worth
  /// asking.
  void leave(const Waiter& waiter, Duration patience) { port_.leave(waiter, patience); }
  /// True: the other side has closed, or the patience is over; the connection is closed then.
  bool left(const DataLoops::Seat& seat, const Waiter& waiter);
  void close() { port_.close(); }

  const std::string& remote() const { return port_.socket().remote(); }

 private:
  // What is worth one system call; more adds only to what waits in front of the connection.
  static constexpr std::size_t kRoom = std::size_t{256} << 10;

  Result<bool> send_plain(const Waiter& waiter);
  Result<bool> send_encrypted(const DataLoops::Seat& seat, const Waiter& waiter);
  Result<std::size_t> encrypt_some(std::span<std::byte> room);
  std::string_view full_records(std::size_t size_max) const;
  std::size_t gather(std::span<std::byte> into) const;
  void taken(std::size_t size);

  LinkPort port_;
  bool encrypted_;
  std::deque<RecordProducer::Transmit> queue_;
  std::size_t queued_bytes_ = 0;
  std::uint64_t taken_bytes_ = 0;
  std::size_t front_taken_ = 0;  // of the first frame, head, table and bytes as one
};

}  // namespace sluice::link
