#include "link/byte_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::link {

ByteSink::ByteSink(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options,
                   net::Connection::Parts from, UniqueFd into)
    : LinkPump(std::move(seat), std::move(core), options),
      from_(this->seat().executor(), std::move(from)),
      given_(std::move(into)) {}

void ByteSink::open() {
  auto opened = LocalStream::open(std::move(given_), LocalStream::Direction::into, options().descriptor_is_ours);
  if (!opened) return static_cast<void>(opened.error() == EPIPE ? say_closed() : fail(opened.error()));
  into_ = *std::move(opened);
  auto readiness = Readiness::watch(seat().executor(), into_.descriptor(), into_.shared());
  if (!readiness) return static_cast<void>(fail(readiness.error()));
  into_ready_ = *std::move(readiness);
  into_ready_.await(Readiness::Need::trouble, self());
  if (into_.is_pipe() && !from_.socket().encrypted()) pipe_ = TransferPipe::make();
}

LinkPump::Step ByteSink::look() {
  if (into_ready_.ready(Readiness::Need::trouble) && into_.reader_gone()) return say_closed();
  auto alive = from_.alive(self());
  if (!alive) return lose(alive.error());
  auto flushed = from_.flushed(self());  // what TLS may have to answer
  return flushed ? Step::moved : lose(flushed.error());
}

LinkPump::Step ByteSink::move_some() {
  if (!payload_.empty()) return deliver();
  if (pipe_ && pipe_->held() > 0) return deliver_spliced();
  if (!frames_.empty()) return take_frames();
  return pipe_ && consumer_.payload_left() > 0 && !from_.socket().has_unread() ? receive_spliced() : receive();
}

LinkPump::Step ByteSink::deliver() {
  auto outcome = into_.write_some(payload_);
  payload_ = payload_.subspan(outcome.bytes);
  count(outcome.bytes);
  return settle(outcome);
}

LinkPump::Step ByteSink::deliver_spliced() {
  auto outcome = into_.splice_from(pipe_->output(), pipe_->held());
  pipe_->take(outcome.bytes);
  count(outcome.bytes);
  return settle(outcome);
}

LinkPump::Step ByteSink::settle(const LocalStream::Outcome& outcome) {
  using Status = LocalStream::Status;
  switch (outcome.status) {
    case Status::moved:
      return Step::moved;
    case Status::reader_gone:
      return say_closed();
    case Status::failed:
      return fail(outcome.error);
    case Status::would_block:
    case Status::in_background:
    case Status::ended:
      break;
  }
  into_ready_.await(Readiness::Need::output, self());
  from_.await_trouble(self());  // while nothing is read, a reset would not be noticed
  return Step::waits;
}

LinkPump::Step ByteSink::take_frames() {
  auto step = consumer_.next(frames_);
  if (!step) return lose(fmt::format("{} broke the protocol: {}", from_.socket().remote(), step.error()));
  if (*step) return obey(**step);
  return Step::moved;
}

LinkPump::Step ByteSink::obey(const ByteConsumer::Step& step) {
  if (const auto* payload = std::get_if<ByteConsumer::Payload>(&step)) {
    payload_ = payload->bytes;
    return Step::moved;
  }
  if (std::holds_alternative<ByteEnd>(step)) return say_done();
  report(LinkEnd::Kind::aborted, std::get<ByteAbort>(step).reason);
  return vanish();  // after its last frame the producer sends nothing: there is nothing to read before closing
}

LinkPump::Step ByteSink::receive() {
  if (!buffer_) buffer_ = seat().take_buffer();
  auto room = buffer_.bytes();
  // Before data that are to be spliced, no byte too many is read.
  if (pipe_ && !from_.socket().has_unread()) room = room.first(std::min(room.size(), consumer_.missing()));
  auto got = from_.read(room);
  if (!got) return lose(got.error());
  if (*got == 0) return await_input();
  frames_ = room.first(*got);
  return Step::moved;
}

LinkPump::Step ByteSink::receive_spliced() {
  auto got = from_.socket().splice_to(pipe_->input(), std::min(consumer_.payload_left(), pipe_->capacity()));
  if (!got) return lose(got.error());
  if (*got == 0) return await_input();
  pipe_->put(*got);
  consumer_.on_unseen_data(*got);
  return Step::moved;
}

LinkPump::Step ByteSink::await_input() {
  buffer_.give_back();
  from_.socket().expect(std::max(consumer_.payload_left(), std::size_t{1}));
  from_.await_input(self());
  return Step::waits;
}

LinkPump::Step ByteSink::say_done() {
  bool last_words = say(consumer_.poll_done());
  report(LinkEnd::Kind::ended);  // the stream is complete here, whether the producer can hear it or not
  return last_words ? leave() : vanish();
}

LinkPump::Step ByteSink::say_closed() {
  bool last_words = say(encode(ByteClose{}));
  report(LinkEnd::Kind::reader_closed);
  return last_words ? leave() : vanish();
}

LinkPump::Step ByteSink::fail(int error) {
  std::string why = fmt::format("writing what a link delivers failed: {}", ::strerror(error));
  bool last_words = say(encode(ByteAbort{why}));
  report(LinkEnd::Kind::failed_local, std::move(why), error);
  return last_words ? leave() : vanish();
}

LinkPump::Step ByteSink::lose(const std::string& why) {
  report(LinkEnd::Kind::cut, why);
  return vanish();
}

bool ByteSink::say_cancelled(const std::string& reason) { return say(encode(ByteAbort{reason})); }

bool ByteSink::say(const std::string& last_frame) {
  if (!from_.write(last_frame, self())) return false;
  from_.leave(self(), options().farewell_max);
  return true;
}

bool ByteSink::has_left() { return from_.left(self(), seat().take_buffer().bytes()); }

UniqueFd ByteSink::take_descriptor() {
  into_ready_.close();
  return given_ ? std::move(given_) : into_.release();
}

void ByteSink::enlarge_pipes(std::size_t capacity) {
  into_.enlarge(capacity);
  if (pipe_) pipe_->enlarge(capacity);
}

void ByteSink::close_all() {
  into_ready_.close();
  from_.close();
}

}  // namespace sluice::link
