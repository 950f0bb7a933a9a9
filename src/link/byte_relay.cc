#include "link/byte_relay.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace sluice::link {

ByteRelay::ByteRelay(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options,
                     net::Connection::Parts producer, net::Connection::Parts consumer)
    : LinkPump(std::move(seat), std::move(core), options),
      producer_(this->seat().executor(), std::move(producer)),
      consumer_(this->seat().executor(), std::move(consumer)) {}

LinkPump::Step ByteRelay::look() {
  std::array<std::byte, 2048> bytes;
  while (consumer_.input_ready()) {
    auto got = consumer_.read(bytes);
    if (!got) return lose(got.error());
    if (*got == 0) {
      consumer_.await_input(self());
    } else if (Step passed = pass_answer_up(std::span(bytes).first(*got)); passed == Step::over) {
      return passed;
    }
  }
  for (LinkPort* port : {&producer_, &consumer_}) {
    auto alive = port->alive(self());
    if (!alive) return lose(alive.error());
  }
  auto flushed = producer_.flushed(self());
  return flushed ? Step::moved : lose(flushed.error());
}

LinkPump::Step ByteRelay::pass_answer_up(std::span<const std::byte> bytes) {
  auto written = producer_.write(bytes, self());
  auto answer = up_.next(bytes);
  if (!answer) return broke_protocol(consumer_, answer.error());
  if (*answer) return obey(**answer);
  return written ? Step::moved : lose(written.error());
}

LinkPump::Step ByteRelay::obey(const ByteFrameDecoder::Event& answer) {
  if (std::holds_alternative<ByteDone>(answer)) return finish(LinkEnd::Kind::ended, {});
  // What is still on its way to the consumer is not wanted.
  consumer_.reset();
  consumer_left_ = true;
  if (const auto* abort = std::get_if<ByteAbort>(&answer)) return finish(LinkEnd::Kind::aborted, abort->reason);
  return finish(LinkEnd::Kind::reader_closed, {});
}

LinkPump::Step ByteRelay::move_some() {
  auto flushed = consumer_.flushed(self());
  if (!flushed) return lose(flushed.error());
  if (!*flushed) {
    producer_.await_trouble(self());  // while nothing is read, a reset would not be noticed
    return Step::waits;
  }
  BatchBuffer buffer = seat().take_buffer();
  auto room = buffer.bytes().first(kBatchSize);
  auto got = producer_.read(room);
  if (!got) return lose(got.error());
  if (*got > 0) return pass_down(room.first(*got));
  producer_.socket().expect(std::max(down_.payload_left(), std::size_t{1}));
  producer_.await_input(self());
  return Step::waits;
}

LinkPump::Step ByteRelay::pass_down(std::span<const std::byte> bytes) {
  auto written = consumer_.write(bytes, self());
  if (!written) return lose(written.error());
  while (!bytes.empty()) {
    auto event = down_.next(bytes);
    if (!event) return broke_protocol(producer_, event.error());
    if (!*event) continue;
    if (const auto* payload = std::get_if<ByteFrameDecoder::Payload>(&**event)) count(payload->bytes.size());
    if (const auto* abort = std::get_if<ByteAbort>(&**event)) return finish(LinkEnd::Kind::aborted, abort->reason);
  }
  return Step::moved;
}

LinkPump::Step ByteRelay::finish(LinkEnd::Kind kind, std::string message) {
  producer_.leave(self(), options().farewell_max);
  if (!consumer_left_) consumer_.leave(self(), options().farewell_max);
  report(kind, std::move(message));
  return leave();
}

LinkPump::Step ByteRelay::broke_protocol(const LinkPort& port, const std::string& why) {
  return lose(fmt::format("{} broke the protocol: {}", port.socket().remote(), why));
}

LinkPump::Step ByteRelay::lose(const std::string& why) {
  // The consumer may have said why before it went; what it said is read before its connection's end is.
  std::array<std::byte, 2048> bytes;
  while (!std::exchange(losing_, true)) {
    auto got = consumer_.read(bytes);
    if (!got || *got == 0) break;
    if (Step passed = pass_answer_up(std::span(bytes).first(*got)); passed == Step::over) return passed;
    losing_ = false;
  }
  report(LinkEnd::Kind::cut, why);
  return vanish();
}

// Frames of both sides may be under way in the middle: what can be said for certain is a cut.
bool ByteRelay::say_cancelled(const std::string&) { return false; }

bool ByteRelay::has_left() {
  BatchBuffer scratch = seat().take_buffer();
  producer_left_ = producer_left_ || producer_.left(self(), scratch.bytes());
  consumer_left_ = consumer_left_ || consumer_.left(self(), scratch.bytes());
  return producer_left_ && consumer_left_;
}

void ByteRelay::close_all() {
  // After a good end both have left; otherwise each side is to see a cut at once.
  producer_.reset();
  consumer_.reset();
}

}  // namespace sluice::link
