#pragma once
// Gathers the records of several programs into one stream: whole ones, in the order in which they come.
//
// A slow reader holds back whoever writes, through the pipes; what waits is a block of each program, or one record that
// is longer. When nobody reads any more, every program's output is closed, so that it gets SIGPIPE as in a shell. A
// gather that fails keeps its output open until it is destroyed: who reads there must be killed first, or it takes a
// part for the whole. It has a thread of its own.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the gather.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "link/record_framing.h"
#include "link/record_spread.h"
#include "link/worker_times.h"

namespace sluice::link {

struct RecordGatherOptions {
  RecordCutter::Options cut;
  /// `into` is a pipe of ours alone; else its description is shared with others, as stdout is.
  bool into_is_ours = true;
};

class RecordGather final {
 public:
  /// `from`: the read ends of pipes that are ours. Errors: errno; no thread can be started, no descriptor is left, or
  /// nobody reads `into` (EPIPE).
  static std::expected<RecordGather, int> start(std::vector<UniqueFd> from, UniqueFd into,
                                                const RecordGatherOptions& options,
                                                std::function<void(RecordStreamEnd)> on_end);
  RecordGather(RecordGather&&) noexcept;
  RecordGather& operator=(RecordGather&&) = delete;
  /// Stops it if it has not ended.
  ~RecordGather();

  /// How many records a worker has written that went on. Any time.
  std::uint64_t taken(std::size_t worker) const;
  /// How long the stream is, as far as it was written. Any time.
  std::uint64_t bytes() const;
  /// Of each worker: it is held back while the stream takes nothing, and so what it writes is not read; else idle. Any
  /// time.
  std::vector<WorkerDurations> times() const;

 private:
  struct Running;
  explicit RecordGather(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::link
