#pragma once
// A stage of a simulated flow as its neighbours see it, of whatever kind it is: the pipes between it and the junction,
// what it has written and its pipe does not take yet, and the account of its records. A record is a number, a colon,
// and the mark of each stage that wrote it: "17:ac".
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "flow/each_work.h"
#include "sim/flow_course.h"
#include "sim/flow_pipe.h"
#include "sim/flow_world_options.h"

namespace sluice::sim {

constexpr std::size_t kRecordBytesMax = 40;  // of any record of a simulated flow

std::uint64_t number_of(const std::string& record);
/// Of a record on its way, which has a line's end.
std::string without_end(std::string_view record);

class FlowStage final {
 public:
  FlowStage(FlowCourse& course, const SimStage& plan, std::size_t index, std::size_t pipe_bytes);

  const SimStage& plan() const { return plan_; }
  std::size_t index() const { return index_; }
  static char mark(std::size_t stage) { return static_cast<char>('a' + stage); }

  FlowPipe in, out;  // between it and the junction

  /// The next record of its input.
  std::optional<std::string> take();
  /// Nothing comes any more.
  bool input_over() const { return in.ended && in.empty(); }
  /// It may write: what its pipe does not take is little.
  bool writable() const { return queue_bytes_ < out.capacity_bytes(); }
  bool all_flushed() const { return queue_.empty(); }
  /// With its mark.
  void write(std::string record);
  void bury(const std::string& record);
  /// Writes into its pipe what that takes, and its end.
  bool flush();

  /// What befalls the process that a record is given to: `succeeded`, nothing.
  flow::AttemptEnd::Kind draw_end(bool poisoned);
  bool is_poison(const std::string& record) const;
  /// Another number of workers, now and then; at most those that it began with.
  std::optional<std::uint32_t> draw_scaling();
  void count_ended_process() { ++processes_ended_; }

  /// Its work is done, if `finished`.
  bool end_if(bool finished);
  /// It reads and writes no more: a sink that has enough, or a stage whose output nobody reads.
  void leave();
  /// It did all it had to do, or it left.
  bool over() const { return over_; }
  bool left() const { return left_; }
  /// It is asked again then, whatever happens meanwhile.
  void go_on_at(std::optional<TimePoint> when);

  using Times = std::map<std::string, std::uint64_t>;
  const Times& taken() const { return taken_; }
  const Times& written() const { return written_; }
  const std::set<std::string>& buried() const { return buried_; }
  /// What lay in its input when it left.
  const std::set<std::string>& lost() const { return lost_; }
  std::uint64_t processes_ended() const { return processes_ended_; }
  /// Requires: it is not over.
  void check() const;
  std::string describe() const;

 private:
  FlowCourse& course_;
  const SimStage& plan_;
  std::size_t index_;
  std::deque<std::string> queue_;
  std::size_t queue_bytes_ = 0;
  Times taken_, written_;
  std::set<std::string> buried_, lost_;
  std::uint64_t processes_ended_ = 0;
  bool over_ = false, left_ = false;
  std::optional<TimePoint> deadline_;
};

}  // namespace sluice::sim
