#pragma once
// How far ahead a worker of a spread stage is fed, in bursts: one record at first, twice as many when the last were done
// with soon, half as many when they were not. What lies in the pipe of a slow worker is waited for at the end while others
// have nothing to do.
//
// A pipe of one page takes another burst when it is empty, and until then it is seen to be full (pipe(7): a pipe is full
// when its pages are used, in part too). It is doubled for a worker that takes many times its length in short time. A
// larger one is fed as long as it takes something, so that a quick worker never waits for us.
// A program that reads ahead takes a burst as soon as it has worked off the one before, so the first of another length says
// how long that one was, and is not judged.
// A burst may take long because the machine is slow to let us and the worker run. Then twice as many records in a burst
// are done with faster, half as many slower, and its length is no reason to give fewer.
// Threading: a value; no clock.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/time.h"

namespace sluice::link {

class SpreadPace final {
 public:
  /// The least that a pipe can have is a page.
  static constexpr std::size_t kLeastPipe = std::size_t{4} << 10;
  /// Not more before much has gone through the stage (large_pipes.h).
  static constexpr std::size_t kUsualPipe = std::size_t{64} << 10;

  /// So many records are given next.
  std::uint64_t burst() const { return burst_; }
  /// All of them were given.
  bool is_given() const { return given_ == burst_; }
  bool is_quick() const { return pipe_ >= kUsualPipe; }

  /// They are done with: how many are next is judged by how long they took.
  void on_taken(TimePoint now) {
    given_ = 0;
    Duration took = now - began_;
    if (std::exchange(changed_, false) && took >= kAtOnce) return;
    double rate = static_cast<double>(burst_) / std::max(std::chrono::duration<double>(took).count(), 1e-6);
    bool gained = last_ == Change::more && rate > kWorth * rate_before_;
    bool missed = last_ == Change::fewer && rate * kWorth < rate_before_;
    bool is_first = rate_before_ == 0;  // with the start of the program
    if (took < kSoon || gained || missed || is_first) {
      last_ = Change::more;
      burst_ = std::min(2 * burst_, kBurstMost);
    } else if (took > 2 * kSoon && burst_ > 1) {
      last_ = Change::fewer;
      burst_ /= 2;
    } else {
      last_ = Change::none;
    }
    changed_ = last_ != Change::none;
    rate_before_ = rate;
  }
  void on_begun(TimePoint now) {
    if (given_ == 0) began_ = now;
  }
  /// So much of it is in the pipe. Returns how large that is to be made, 0: as it is. `most`: not larger than that.
  std::size_t on_written(std::uint64_t records, std::size_t bytes, std::size_t most, TimePoint now) {
    given_ += records;
    taken_ += bytes;
    if (taken_ < kPipes * pipe_) return 0;
    bool grows = now - taken_since_ < kPipesTime && pipe_ < most;
    taken_ = 0;
    taken_since_ = now;
    if (grows) pipe_ = std::min(2 * pipe_, most);
    return grows ? pipe_ : 0;
  }

 private:
  // A worker that rests has at most about twice this in front of it.
  static constexpr Duration kSoon = std::chrono::milliseconds(20);
  // Twice as many take far less than that, too, whichever burst it was.
  static constexpr Duration kAtOnce = kSoon / 8;
  static constexpr std::uint64_t kBurstMost = std::uint64_t{1} << 16;
  static constexpr double kWorth = 1.4;  // of twice as many records
  enum class Change : std::uint8_t { none, more, fewer };
  // Who takes eight pipes in this time holds no more than a hundredth of a second of work in one.
  static constexpr std::size_t kPipes = 8;
  static constexpr Duration kPipesTime = std::chrono::milliseconds(50);

  std::uint64_t burst_ = 1, given_ = 0;
  TimePoint began_{};
  double rate_before_ = 0;
  Change last_ = Change::none;
  bool changed_ = false;  // the length of the burst
  std::size_t pipe_ = kLeastPipe;
  std::size_t taken_ = 0;
  TimePoint taken_since_{};
};

}  // namespace sluice::link
