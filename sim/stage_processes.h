#pragma once
// The processes of a stage of workers or of `@map`, and what the stage has taken and not settled: the records of each
// are in the hand of one process, or in none. A process reads its input, takes its time over each record, and says
// what its stage hears when it can write what comes of it; it may die with records in its hand.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flow/each_work.h"
#include "flow/unsettled_outputs.h"
#include "link/record_batch.h"
#include "sim/flow_stage.h"

namespace sluice::sim {

struct StageProcess {
  /// What it has written and its stage has not read. `@map`: answers alone.
  struct Said {
    enum class What : std::uint8_t { hello, output, done, fail, leave, finished, answer, garbage };
    What what = What::hello;
    link::RecordId id = 0;
    std::string text;
  };
  void say(Said::What what, link::RecordId id = 0, std::string text = {}) {
    said.push_back({.what = what, .id = id, .text = std::move(text)});
  }

  bool runs = false;
  std::uint64_t life = 0;
  std::deque<std::pair<link::RecordId, std::string>> inbox;
  std::size_t busy = 0;  // records that it works on
  bool told_end = false;
  std::deque<Said> said;
  std::optional<flow::AttemptEnd> end;  // it has ended, and not all that it said was read
  std::set<link::RecordId> hand;        // by our own count
  // Of a worker:
  bool leaves = false;
  flow::UnsettledOutputs outputs;
  // Of `@map`:
  std::vector<std::string> kept;  // answers
  bool moved = false;             // since its stage looked at it
  std::uint32_t stalls = 0;
};

class StageProcesses final {
 public:
  StageProcesses(FlowCourse& course, FlowStage& stage)
      : course_(course), stage_(stage), processes_(stage.plan().workers) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(processes_.size()); }
  StageProcess& operator[](std::size_t worker) { return processes_[worker]; }
  const StageProcess& operator[](std::size_t worker) const { return processes_[worker]; }
  /// Whom this happens to, if it is still there.
  StageProcess* living(const FlowEvent& event);
  FlowEvent event(FlowEvent::Kind kind, std::size_t worker) const;

  /// Gives `work` what it wants of the stage's input, and that input's end.
  template <class Work>
  bool feed(Work& work);
  /// Buries what `work` has given up.
  template <class Work>
  bool bury_dead(Work& work);
  /// The process is done with that record. What it was; none: it was settled before.
  std::optional<std::string> settle(StageProcess& process, link::RecordId id);

  void start(std::size_t worker);
  void give(std::size_t worker, const link::RecordBatch& batch);
  /// It takes from its input, up to so many records at a time. True: it is done with all, and its input has ended.
  bool read_on(std::size_t worker, std::size_t at_a_time);
  void end(StageProcess& process, flow::AttemptEnd::Kind kind);
  /// Calls `hear(said)` for what it has said, as long as the stage may write.
  template <class Hear>
  bool hear(std::size_t worker, Hear&& hear);
  /// It has ended, and all that it said was heard.
  bool gone(std::size_t worker) const;
  /// Its place is empty then. Requires: it has ended.
  flow::AttemptEnd remove(std::size_t worker);
  /// They end, and nobody hears of it.
  void stop() { processes_.assign(processes_.size(), {}); }

  /// `window_bytes`: that the hands of all may hold.
  void check(std::size_t window_bytes) const;
  std::string describe() const;

 private:
  link::RecordBatch take_batch();

  FlowCourse& course_;
  FlowStage& stage_;
  std::vector<StageProcess> processes_;
  link::RecordId next_id_ = 1;  // of its input
  bool told_source_end_ = false;
  std::map<link::RecordId, std::string> unsettled_;
};

template <class Work>
bool StageProcesses::feed(Work& work) {
  bool moved = false;
  while (work.wants_input() && !stage_.in.empty()) {
    work.on_batch(take_batch());
    moved = true;
  }
  if (stage_.input_over() && !std::exchange(told_source_end_, true)) {
    work.on_source_end();
    moved = true;
  }
  return moved;
}

template <class Work>
bool StageProcesses::bury_dead(Work& work) {
  bool moved = false;
  while (auto dead = work.poll_dead()) {
    auto record = unsettled_.extract(dead->record.first());
    if (record.empty()) course_.violate("a record was given up that was settled");
    stage_.bury(without_end(dead->record.front()));
    work.on_buried();
    moved = true;
  }
  return moved;
}

template <class Hear>
bool StageProcesses::hear(std::size_t worker, Hear&& hear) {
  StageProcess& process = processes_[worker];
  std::deque<StageProcess::Said> heard;  // outputs lie in it until they are kept
  while (process.runs && !process.said.empty() && stage_.writable()) {
    heard.push_back(std::move(process.said.front()));
    process.said.pop_front();
    hear(heard.back());
  }
  process.outputs.keep();
  return !heard.empty();
}

}  // namespace sluice::sim
