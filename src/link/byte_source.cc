#include "link/byte_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::link {
namespace {

// How soon a terminal is looked at again that another process group reads now: nothing tells when we get it back.
constexpr std::chrono::milliseconds kBackgroundWait{200};

}  // namespace

ByteSource::ByteSource(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options, UniqueFd from,
                       net::Connection::Parts to)
    : LinkPump(std::move(seat), std::move(core), options),
      given_(std::move(from)),
      to_(this->seat().executor(), std::move(to)),
      background_(this->seat().executor()) {}

void ByteSource::open() {
  auto opened = LocalStream::open(std::move(given_), LocalStream::Direction::from, options().descriptor_is_ours);
  if (!opened) return static_cast<void>(fail(opened.error()));
  from_ = *std::move(opened);
  auto readiness = Readiness::watch(seat().executor(), from_.descriptor(), from_.shared());
  if (!readiness) return static_cast<void>(fail(readiness.error()));
  from_ready_ = *std::move(readiness);
  if (from_.is_pipe() && !to_.socket().encrypted()) pipe_ = TransferPipe::make();
}

LinkPump::Step ByteSource::move_some() {
  auto flushed = to_.flushed(self());
  if (!flushed) return lose(flushed.error());
  if (!*flushed || producer_.last_frame_said()) return Step::waits;
  if (pipe_ && (pipe_->held() > 0 || !from_ended_)) return splice_batch();
  return from_ended_ ? say_end() : send_batch();
}

// What the consumer says comes first: it may have closed, and resets what we still send.
LinkPump::Step ByteSource::look() {
  std::array<std::byte, 256> bytes;
  while (to_.input_ready()) {
    auto got = to_.read(bytes);
    if (!got) return lose(got.error());
    if (*got == 0) to_.await_input(self());
    auto answer = producer_.on_bytes(std::span(bytes).first(*got));
    if (!answer) return lose(fmt::format("{} broke the protocol: {}", to_.socket().remote(), answer.error()));
    if (*answer) return obey(**answer);
  }
  auto alive = to_.alive(self());
  return alive ? Step::waits : lose(alive.error());
}

LinkPump::Step ByteSource::obey(const ByteProducer::Answer& answer) {
  wanted_ = std::holds_alternative<ByteDone>(answer);
  if (wanted_) {
    report(LinkEnd::Kind::ended);
  } else if (const auto* abort = std::get_if<ByteAbort>(&answer)) {
    report(LinkEnd::Kind::aborted, abort->reason);
  } else {
    report(LinkEnd::Kind::reader_closed);
  }
  return vanish();  // after its last frame the consumer sends nothing: there is nothing to read before closing
}

LinkPump::Step ByteSource::send_batch() {
  BatchBuffer buffer = seat().take_buffer();
  std::size_t filled = 0;
  auto outcome = fill(buffer.bytes().first(kBatchSize).subspan(kByteHeaderSize), filled);
  if (filled > 0) {
    auto sent = send_frame(buffer, filled);
    if (!sent) return lose(sent.error());
  }
  return settle(outcome);
}

// A pipe gives half a batch at once, and has often been filled again meanwhile.
LocalStream::Outcome ByteSource::fill(std::span<std::byte> room, std::size_t& filled) {
  LocalStream::Outcome outcome{.status = LocalStream::Status::moved};
  while (filled < room.size() && outcome.status == LocalStream::Status::moved) {
    outcome = from_.read_some(room.subspan(filled));
    filled += outcome.bytes;
  }
  return outcome;
}

std::expected<void, LinkSocket::Broken> ByteSource::send_frame(const BatchBuffer& buffer, std::size_t filled) {
  auto frame = buffer.bytes().first(kByteHeaderSize + filled);
  auto header = data_header(filled);
  std::ranges::copy(header, frame.begin());
  producer_.on_data(frame.subspan(kByteHeaderSize));
  auto written = to_.write(frame, self());
  if (written) count(filled);
  return written;
}

LinkPump::Step ByteSource::splice_batch() {
  if (pipe_->held() == 0) {
    auto outcome = fill_pipe();
    if (pipe_->held() == 0) return settle(outcome);
    auto announced = to_.socket().write_with_more_to_come(data_header(pipe_->held()));
    if (!announced) return lose(announced.error());
    producer_.on_unseen_data(pipe_->held());
    if (!to_.socket().flushed()) return Step::moved;
  }
  auto put = to_.socket().splice_from(pipe_->output(), pipe_->held());
  if (!put) return lose(put.error());
  to_.on_sent(self());
  if (*put == 0) {
    to_.await_output(self());
    return Step::waits;
  }
  pipe_->take(*put);
  return Step::moved;
}

LocalStream::Outcome ByteSource::fill_pipe() {
  LocalStream::Outcome outcome{.status = LocalStream::Status::moved};
  while (pipe_->held() < pipe_->capacity() && outcome.status == LocalStream::Status::moved) {
    outcome = from_.splice_to(pipe_->input(), pipe_->capacity() - pipe_->held());
    pipe_->put(outcome.bytes);
    count(outcome.bytes);
  }
  return outcome;
}

LinkPump::Step ByteSource::settle(const LocalStream::Outcome& outcome) {
  using Status = LocalStream::Status;
  switch (outcome.status) {
    case Status::failed:
    case Status::reader_gone:
      return fail(outcome.error);
    case Status::ended:
      from_ended_ = true;
      return Step::moved;
    case Status::would_block:
    case Status::in_background:
      if (!to_.socket().flushed()) return Step::moved;  // that is to be waited for first
      if (outcome.status == Status::in_background)
        background_.set(kBackgroundWait, self());
      else
        from_ready_.await(Readiness::Need::input, self());
      return Step::waits;
    case Status::moved:
      return Step::moved;
  }
  return Step::moved;
}

LinkPump::Step ByteSource::say_end() {
  auto said = to_.write(producer_.poll_end(), self());
  if (!said) return lose(said.error());
  return Step::moved;
}

LinkPump::Step ByteSource::fail(int error) {
  std::string why = fmt::format("reading the source of a link failed: {}", ::strerror(error));
  bool last_words = say_abort(why);
  report(LinkEnd::Kind::failed_local, std::move(why), error);
  return last_words ? leave() : vanish();
}

LinkPump::Step ByteSource::lose(const std::string& why) {
  // Writing fails too when the consumer has closed and gone; then its word explains it.
  std::array<std::byte, 256> bytes;
  auto got = to_.read(bytes);
  if (got && *got > 0) {
    auto answer = producer_.on_bytes(std::span(bytes).first(*got));
    if (answer && *answer) return obey(**answer);
  }
  wanted_ = false;
  report(LinkEnd::Kind::cut, why);
  return vanish();
}

bool ByteSource::say_abort(const std::string& reason) {
  // In the middle of a frame nothing can be said: the consumer takes what follows for a cut.
  wanted_ = !producer_.last_frame_said() && (!pipe_ || pipe_->held() == 0) &&
            to_.write(producer_.poll_abort(reason), self()).has_value();
  if (wanted_) to_.leave(self(), options().farewell_max);
  return wanted_;
}

bool ByteSource::say_cancelled(const std::string& reason) { return say_abort(reason); }

bool ByteSource::has_left() { return to_.left(self(), seat().take_buffer().bytes()); }

UniqueFd ByteSource::take_descriptor() {
  from_ready_.close();
  return given_ ? std::move(given_) : from_.release();
}

void ByteSource::enlarge_pipes(std::size_t capacity) {
  from_.enlarge(capacity);
  if (pipe_) pipe_->enlarge(capacity);
}

void ByteSource::close_all() {
  from_ready_.close();
  background_.cancel();
  wanted_ ? to_.close() : to_.reset();
}

}  // namespace sluice::link
