#pragma once
// How fast each stage of a running flow moves, and which one holds the others back: an estimate from the outside, from
// the processes' own I/O counters and from how full the pipes between them are. No byte is touched.
//
// The rule: a link that is more than half full on average waits for its reader. The reader of the last such link holds
// the flow back; without such a link everybody waits for the first stage. Fullness is averaged over a few samples.
// Threading: a pure value, no clock.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/quantity.h"
#include "base/time.h"

namespace sluice::flow {

struct StageSample {
  bool running = true;
  ByteCount read;  // since the start
  ByteCount written;
  Duration duration{};              // of one that has ended
  std::optional<ByteCount> linked;  // that the byte link behind it has carried; nothing: there is none
};

struct ProgressSample {
  TimePoint at;
  std::vector<StageSample> stages;
  // Of what leads into the second stage, the third and so on: 0 empty, 1 full; nothing if unknown or over.
  std::vector<std::optional<double>> link_fill;
};

struct StageProgress {
  bool running = true;
  ByteCount read;
  ByteCount written;
  double read_rate = 0;  // bytes a second since the last report
  double written_rate = 0;
  Duration duration{};  // of one that has ended
  std::optional<ByteCount> linked;
};

struct ProgressReport {
  Duration elapsed{};
  std::vector<StageProgress> stages;
  std::optional<std::size_t> holds_back;  // a stage; nothing if there is one stage only, or all have ended
};

class Progress final {
 public:
  explicit Progress(TimePoint start) : start_(start), reported_at_(start) {}

  void on_sample(ProgressSample sample);
  /// What changed since the last report. Requires a sample.
  ProgressReport report();

 private:
  std::optional<std::size_t> find_holder() const;

  TimePoint start_;
  TimePoint reported_at_;
  std::vector<StageSample> reported_;
  ProgressSample latest_;
  std::vector<double> fullness_;
};

/// "12.0 s  1 tr 10.0 MiB/s | 2 sort 0 B/s  (2 sort holds back)"; of a stage that has ended "1 tr 35.1 MiB in 3.5 s".
/// `labels` name the stages.
std::string progress_line(const ProgressReport& report, const std::vector<std::string>& labels);

}  // namespace sluice::flow
