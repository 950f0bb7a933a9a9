#pragma once
// The programs at the ends of a record link: a stage's output that is cut into records, and a stage's input that they are
// written to.
//
// A record is acknowledged when the last of it was written to the program's pipe: what a program does with what it was
// given, the link can't know.
// Threading: as RecordSource and RecordSink say.
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "link/local_stream.h"
#include "link/readiness.h"
#include "link/record_framing.h"
#include "link/record_sink.h"
#include "link/record_source.h"

namespace sluice::link {

/// Reads while it is pulled; closes the descriptor with the supply, so that the program that writes gets SIGPIPE.
class DescriptorSource final : public RecordSource {
 public:
  /// `from_is_ours`: nobody else uses its open file description (LocalStream).
  DescriptorSource(UniqueFd from, const RecordCutter::Options& cut, bool from_is_ours);

  std::expected<void, std::string> open(const DataLoops::Seat& seat, LoopWaker waker) override;
  std::expected<Pulled, std::string> pull() override;
  void close() override;

 private:
  std::expected<Pulled, std::string> cut(std::size_t size);
  std::expected<Pulled, std::string> cut_rest();

  UniqueFd given_;  // until it is opened
  bool ours_;
  LocalStream from_;
  Readiness ready_;
  RecordCutter cutter_;
  std::optional<LoopWaker> waker_;
  std::optional<Alarm> background_;
};

/// Writes records as they stand in a stream of its framing. Its descriptor is closed by the destructor.
class DescriptorSink final : public RecordSink {
 public:
  DescriptorSink(UniqueFd into, RecordFraming framing, bool into_is_ours);

  std::expected<void, Failure> open(const DataLoops::Seat& seat, LoopWaker waker) override;
  std::expected<void, Failure> work() override;
  std::optional<RecordConsumer::Limits> room() override;
  void take(RecordDelivery delivery) override;
  std::optional<Settled> poll_settled() override;
  void close() override;

 private:
  struct Mark {
    DeliveryRange deliveries;
    std::uint64_t end = 0;  // of their text in the stream
  };
  std::unexpected<Failure> failed(const LocalStream::Outcome& outcome) const;
  void written(std::size_t size);

  UniqueFd given_;  // until it is opened
  RecordFraming framing_;
  bool ours_;
  LocalStream into_;
  Readiness ready_;
  std::optional<LoopWaker> waker_;
  std::string text_;  // that was taken, from `text_begin_` on not yet written
  std::size_t text_begin_ = 0;
  std::uint64_t taken_ = 0, written_ = 0;  // bytes of the stream
  std::deque<Mark> marks_;                 // of what is not wholly written
  std::optional<DeliveryRange> settled_;   // and not polled
};

}  // namespace sluice::link
