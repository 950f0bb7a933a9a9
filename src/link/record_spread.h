#pragma once
// Spreads the records of one stream over the programs of a stage with many workers: each whole record goes to the one
// that is readiest, which is the one whose pipe takes it. Pipes are short at first and given few records, and grow for the
// workers that are quick (spread_pace.h).
//
// A worker that closes its input early gets no more; what was not written to it goes to others. When all have closed
// theirs, `from` is closed, so that whoever writes there gets SIGPIPE as in a shell. What waits is bounded: a block of
// the stream, and `flight_bytes_max` for each worker; then the stream is read no more. A spread that fails keeps the
// workers' inputs open until it is destroyed: a program must be killed before its stdin closes, or it takes half a
// stream for a whole one. It has a thread of its own: nobody who waits for a terminal, a signal or the network waits
// for it.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the spread.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "link/record_framing.h"
#include "link/worker_times.h"

namespace sluice::link {

struct RecordStreamEnd {
  enum class Kind { ended, reader_gone, failed };
  Kind kind = Kind::ended;
  std::string why;  // it failed
};

struct RecordSpreadOptions {
  RecordCutter::Options cut;
  /// `from` is a pipe of ours alone; else its description is shared with others, as stdin is.
  bool from_is_ours = true;
  std::size_t flight_bytes_max = std::size_t{128} << 10;  // given to one worker and not in its pipe yet
  std::optional<double> rate;                             // records a second at most
  /// Which worker a record is for, shown without its delimiter: records of one worker keep their order. Not set: whoever
  /// is readiest. What a worker that closes its input has not been written goes to another, still in order.
  std::function<std::uint32_t(std::string_view record)> lane_of;
};

class RecordSpread final {
 public:
  /// `into`: the write ends of pipes that are ours. Errors: errno; no thread can be started, or no descriptor is left.
  static std::expected<RecordSpread, int> start(UniqueFd from, std::vector<UniqueFd> into,
                                                const RecordSpreadOptions& options,
                                                std::function<void(RecordStreamEnd)> on_end);
  RecordSpread(RecordSpread&&) noexcept;
  RecordSpread& operator=(RecordSpread&&) = delete;
  /// Stops it if it has not ended.
  ~RecordSpread();

  /// How many records were written to a worker, its pipe at least. Any time.
  std::uint64_t given(std::size_t worker) const;
  /// Of each worker: it is busy while its pipe takes no more of what waits for it. Any time.
  std::vector<WorkerDurations> times() const;
  /// How long the stream was, as far as it was read. Any time.
  std::uint64_t bytes() const;

 private:
  struct Running;
  explicit RecordSpread(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::link
