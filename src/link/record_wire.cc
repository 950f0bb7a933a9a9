#include "link/record_wire.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// Of one call: what kRoom holds of frames of the usual size. Small ones need more calls, and are small.
constexpr std::size_t kPiecesMax = 96;
// The most that one record of TLS holds (RFC 8446 section 5.1).
constexpr std::size_t kTlsRecord = std::size_t{16} << 10;

std::size_t size_of(const RecordProducer::Transmit& frame) {
  return frame.head.size() + frame.table.size() + frame.bytes.size();
}

/// Calls `visit(piece)` for what is left of a frame whose first `skipped` bytes are gone, while it answers true.
template <class Visit>
bool visit_pieces(const RecordProducer::Transmit& frame, std::size_t skipped, Visit&& visit) {
  for (std::string_view piece : {std::string_view(frame.head), frame.table, frame.bytes}) {
    std::size_t gone = std::min(skipped, piece.size());
    skipped -= gone;
    piece.remove_prefix(gone);
    if (!piece.empty() && !visit(piece)) return false;
  }
  return true;
}

}  // namespace

void RecordWire::put(RecordProducer::Transmit frame) {
  queued_bytes_ += size_of(frame);
  queue_.push_back(std::move(frame));
}

RecordWire::Result<bool> RecordWire::send(const DataLoops::Seat& seat, const Waiter& waiter) {
  if (!port_.output_ready()) return false;
  return encrypted_ ? send_encrypted(seat, waiter) : send_plain(waiter);
}

RecordWire::Result<bool> RecordWire::send_plain(const Waiter& waiter) {
  auto flushed = port_.flushed(waiter);
  if (!flushed || !*flushed) return flushed;
  while (!queue_.empty()) {
    std::array<iovec, kPiecesMax> pieces;
    std::size_t count = 0, skipped = front_taken_;
    for (const auto& frame : queue_) {
      bool all = visit_pieces(frame, std::exchange(skipped, 0), [&](std::string_view piece) {
        if (count == pieces.size()) return false;
        pieces[count++] = {.iov_base = const_cast<char*>(piece.data()), .iov_len = piece.size()};
        return true;
      });
      if (!all) break;
    }
    auto put = port_.socket().write_pieces(std::span(pieces).first(count));
    if (!put) return std::unexpected(std::move(put.error()));
    port_.on_sent(waiter);
    taken(*put);
    if (*put == 0) {
      port_.await_output(waiter);
      return false;
    }
  }
  return true;
}

RecordWire::Result<bool> RecordWire::send_encrypted(const DataLoops::Seat& seat, const Waiter& waiter) {
  while (true) {
    auto flushed = port_.flushed(waiter);
    if (!flushed || !*flushed) return flushed;
    if (queue_.empty()) return true;
    BatchBuffer buffer = seat.take_buffer();
    for (std::size_t left = kBatchSize; left > 0 && !queue_.empty();) {
      auto encrypted = encrypt_some(buffer.bytes().first(left));
      if (!encrypted) return std::unexpected(std::move(encrypted.error()));
      left -= *encrypted;
    }
    port_.on_sent(waiter);
  }
}

// Full records from where they lie, if the next bytes are a long piece; else what was gathered in `room`. At most as much
// as that has room for.
RecordWire::Result<std::size_t> RecordWire::encrypt_some(std::span<std::byte> room) {
  std::string_view in_place = full_records(room.size());
  bool gathers = in_place.empty();
  std::size_t size = gathers ? gather(room) : in_place.size();
  auto plain = gathers ? std::span<const std::byte>(room.first(size)) : std::as_bytes(std::span(in_place));
  auto encrypted = port_.socket().encrypt(plain);
  if (!encrypted) return std::unexpected(std::move(encrypted.error()));
  taken(size);
  return size;
}

std::string_view RecordWire::full_records(std::size_t size_max) const {
  const RecordProducer::Transmit& frame = queue_.front();
  std::size_t begin = frame.head.size() + frame.table.size();
  if (front_taken_ < begin) return {};
  std::string_view rest = frame.bytes.substr(front_taken_ - begin);
  return rest.substr(0, std::min(rest.size(), size_max) / kTlsRecord * kTlsRecord);
}

// Copies as much of the queue as there is room for; but of a long piece only what fills a record: the rest is encrypted
// from where it lies.
std::size_t RecordWire::gather(std::span<std::byte> into) const {
  std::size_t size = 0;
  std::size_t skipped = front_taken_;
  for (const auto& frame : queue_) {
    bool all = visit_pieces(frame, std::exchange(skipped, 0), [&](std::string_view piece) {
      std::size_t room = into.size() - size;
      if (piece.size() >= 2 * kTlsRecord) room = std::min(room, kTlsRecord - size % kTlsRecord);
      std::size_t part = std::min(piece.size(), room);
      std::memcpy(into.data() + size, piece.data(), part);
      size += part;
      return part == piece.size();
    });
    if (!all) break;
  }
  return size;
}

void RecordWire::taken(std::size_t size) {
  INVARIANT(size <= queued_bytes_);
  queued_bytes_ -= size;
  taken_bytes_ += size;
  front_taken_ += size;
  while (!queue_.empty() && front_taken_ >= size_of(queue_.front())) {
    front_taken_ -= size_of(queue_.front());
    queue_.pop_front();
  }
}

RecordWire::Result<std::size_t> RecordWire::read(std::span<std::byte> first, std::span<std::byte> second,
                                                 const Waiter& waiter) {
  auto got = port_.socket().read(first, second);
  if (got && *got == 0) port_.await_input(waiter);
  return got;
}

bool RecordWire::left(const DataLoops::Seat& seat, const Waiter& waiter) {
  BatchBuffer scratch = seat.take_buffer();
  auto sent = send(seat, waiter);
  if (sent && *sent) return port_.left(waiter, scratch.bytes());
  if (sent && !port_.patience_over() && port_.socket().discard(scratch.bytes())) {
    port_.await_input(waiter);
    return false;
  }
  port_.close();
  return true;
}

}  // namespace sluice::link
