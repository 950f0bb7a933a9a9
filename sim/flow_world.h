#pragma once
// A flow in virtual time: a graph of taps, stages of `worker`, `@map` and `@each` with their processes, mergers that wait
// for every copy of a record, and sinks; a junction where their links meet; and between all of them pipes that hold little.
//
// The machines are those of flow/ and link/. Here are programs that take their time, fail records, keep their answers, break
// the protocol, leave and die; and readers that are slow or go away. Everything is drawn from the seed. After each step
// it is checked that no record is in two hands, comes from nowhere, or is written twice, and that no memory is beyond its
// window. A flow that stands still for 10 s is told by the stages that wait for each other.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "link/record_junction.h"
#include "sim/flow_course.h"
#include "sim/flow_junction.h"
#include "sim/flow_stage.h"
#include "sim/flow_world_options.h"
#include "sim/stage_driver.h"

namespace sluice::sim {

class FlowWorld final {
 public:
  explicit FlowWorld(FlowWorldOptions options);
  FlowWorld(const FlowWorld&) = delete;  // its parts refer to each other

  /// Until every stage is over, or nothing moves any more.
  void run();
  /// No process dies, fails or leaves from now on but by poison.
  void heal() { course_.heal(); }
  void run_for(Duration duration);

  bool finished() const;
  /// Nothing has moved for 10 s: which stages wait for each other, and what is full. Empty: it moves.
  const std::string& standstill() const { return standstill_; }
  const std::vector<std::string>& violations() const { return course_.violations(); }
  /// Of a flow that is finished: what became of its records that must not (flow_account.h), in sentences.
  std::vector<std::string> unaccounted() const;
  /// The numbers of the records that some stage has buried.
  std::set<std::uint64_t> buried() const;
  link::JunctionCounts counts(std::size_t link) const { return junction_.counts(link); }
  std::uint64_t processes_ended() const;
  std::uint64_t trace() const { return course_.trace(); }
  std::string describe() const;

 private:
  std::unique_ptr<StageDriver> make_driver(FlowStage& stage);
  void process(const FlowEvent& event);
  void settle_world();
  bool flush(FlowStage& stage);
  void check() const;

  FlowWorldOptions options_;
  FlowCourse course_;
  FlowJunction junction_;
  std::deque<FlowStage> stages_;
  std::vector<std::unique_ptr<StageDriver>> drivers_;  // by stage
  TimePoint moved_at_{};
  std::string standstill_;
};

}  // namespace sluice::sim
