#include "link/record_descriptors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// How soon a terminal is looked at again that another process group reads now: nothing tells when we get it back.
constexpr std::chrono::milliseconds kBackgroundWait{200};
// What is taken before the program's pipe has room for it: a pipe's worth.
constexpr std::size_t kAheadMax = std::size_t{64} << 10;

std::string why_read_failed(int error) {
  return fmt::format("reading the source of a link failed: {}", std::strerror(error));
}

}  // namespace

// --- a source -----------------------------------------------------------------------------------------------------

DescriptorSource::DescriptorSource(UniqueFd from, const RecordCutter::Options& cut, bool from_is_ours)
    : given_(std::move(from)), ours_(from_is_ours), cutter_(cut) {}

std::expected<void, std::string> DescriptorSource::open(const DataLoops::Seat& seat, LoopWaker waker) {
  auto opened = LocalStream::open(std::move(given_), LocalStream::Direction::from, ours_);
  if (!opened) return std::unexpected(why_read_failed(opened.error()));
  from_ = *std::move(opened);
  auto ready = Readiness::watch(seat.executor(), from_.descriptor(), from_.shared());
  if (!ready) return std::unexpected(why_read_failed(ready.error()));
  ready_ = *std::move(ready);
  waker_ = std::move(waker);
  background_.emplace(seat.executor());
  return {};
}

std::expected<RecordSource::Pulled, std::string> DescriptorSource::pull() {
  using Read = LocalStream::Status;
  if (!ready_.ready(Readiness::Need::input) || background_->armed()) return Pulled{};
  auto outcome = from_.read_some(cutter_.room());
  switch (outcome.status) {
    case Read::moved:
      return cut(outcome.bytes);
    case Read::ended:
      return cut_rest();
    case Read::in_background:
      background_->set(kBackgroundWait, waker_->waiter());
      return Pulled{};
    case Read::would_block:
      ready_.await(Readiness::Need::input, waker_->waiter());
      return Pulled{};
    case Read::reader_gone:
    case Read::failed:
      break;
  }
  return std::unexpected(why_read_failed(outcome.error));
}

std::expected<RecordSource::Pulled, std::string> DescriptorSource::cut(std::size_t size) {
  auto batch = cutter_.on_bytes(size);
  if (!batch) return std::unexpected(std::move(batch.error()));
  return Pulled{.batch = *std::move(batch), .status = Status::more};
}

std::expected<RecordSource::Pulled, std::string> DescriptorSource::cut_rest() {
  auto batch = cutter_.on_end();
  if (!batch) return std::unexpected(std::move(batch.error()));
  return Pulled{.batch = *std::move(batch), .status = Status::ended};
}

void DescriptorSource::close() {
  ready_.close();
  if (background_) background_->cancel();
  from_.release().reset();
  given_.reset();
}

// --- a sink -------------------------------------------------------------------------------------------------------

DescriptorSink::DescriptorSink(UniqueFd into, RecordFraming framing, bool into_is_ours)
    : given_(std::move(into)), framing_(framing), ours_(into_is_ours) {}

std::expected<void, RecordSink::Failure> DescriptorSink::open(const DataLoops::Seat& seat, LoopWaker waker) {
  using Status = LocalStream::Status;
  auto opened = LocalStream::open(std::move(given_), LocalStream::Direction::into, ours_);
  if (!opened)
    return failed({.status = opened.error() == EPIPE ? Status::reader_gone : Status::failed, .error = opened.error()});
  into_ = *std::move(opened);
  auto ready = Readiness::watch(seat.executor(), into_.descriptor(), into_.shared());
  if (!ready) return failed({.status = Status::failed, .error = ready.error()});
  ready_ = *std::move(ready);
  waker_ = std::move(waker);
  ready_.await(Readiness::Need::trouble, waker_->waiter());
  return {};
}

std::unexpected<RecordSink::Failure> DescriptorSink::failed(const LocalStream::Outcome& outcome) const {
  bool reader_gone = outcome.status == LocalStream::Status::reader_gone;
  return std::unexpected(Failure{
      .reader_gone = reader_gone,
      .error_number = outcome.error,
      .why = reader_gone ? "nobody reads any more"
                         : fmt::format("writing what a link delivers failed: {}", std::strerror(outcome.error))});
}

std::expected<void, RecordSink::Failure> DescriptorSink::work() {
  using Status = LocalStream::Status;
  if (ready_.ready(Readiness::Need::trouble) && into_.reader_gone()) return failed({.status = Status::reader_gone});
  while (written_ < taken_ && ready_.ready(Readiness::Need::output)) {
    auto outcome = into_.write_some(std::as_bytes(std::span(text_).subspan(text_begin_)));
    if (outcome.status == Status::failed || outcome.status == Status::reader_gone) return failed(outcome);
    if (outcome.status == Status::moved) {
      written(outcome.bytes);
    } else {
      ready_.await(Readiness::Need::output, waker_->waiter());
    }
  }
  return {};
}

void DescriptorSink::written(std::size_t size) {
  written_ += size;
  text_begin_ += size;
  if (text_begin_ == text_.size()) {
    text_.clear();
    text_begin_ = 0;
  }
  for (; !marks_.empty() && marks_.front().end <= written_; marks_.pop_front()) {
    DeliveryRange done = marks_.front().deliveries;
    settled_ = DeliveryRange{.first = settled_ ? settled_->first : done.first, .last = done.last};
  }
}

std::optional<RecordConsumer::Limits> DescriptorSink::room() {
  std::uint64_t ahead = taken_ - written_;
  if (ahead >= kAheadMax) return std::nullopt;
  return RecordConsumer::Limits{.bytes = kAheadMax - ahead};
}

void DescriptorSink::take(RecordDelivery delivery) {
  text_.erase(0, std::exchange(text_begin_, 0));
  std::size_t before = text_.size();
  append_framed(delivery.batch, framing_, text_);
  taken_ += text_.size() - before;
  marks_.push_back(
      {.deliveries = {.first = delivery.first, .last = delivery.first + delivery.batch.count() - 1}, .end = taken_});
}

std::optional<RecordSink::Settled> DescriptorSink::poll_settled() {
  auto settled = std::exchange(settled_, std::nullopt);
  if (!settled) return std::nullopt;
  return *settled;
}

void DescriptorSink::close() { ready_.close(); }

}  // namespace sluice::link
