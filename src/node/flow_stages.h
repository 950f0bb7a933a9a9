#pragma once
// The stages of a flow as `ps` shows them, each once for every part that runs its program: where that is, under which
// pid, how it ended, and where what it writes is kept.
// Threading: a value, without I/O.
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "flow/pipeline_status.h"
#include "node/flow_layout.h"

namespace sluice::v1 {
class Flow;
class FlowStage;
class RunStart;
}  // namespace sluice::v1

namespace sluice::node {

class FlowStages final {
 public:
  /// Both outlive it.
  FlowStages(const v1::RunStart& start, const FlowLayout& layout) : start_(start), layout_(layout) {}

  void on_started(std::size_t part, std::size_t stage, int pid) { pids_[{part, stage}] = pid; }
  void on_exited(std::size_t part, std::size_t stage, int wait_status) { wait_statuses_[{part, stage}] = wait_status; }
  /// Whoever read what it wrote has ended well.
  void on_reader_done(std::size_t part, std::size_t stage) { reader_done_.insert({part, stage}); }
  /// 0: it was not told.
  int pid_of(std::size_t part, std::size_t stage) const;
  /// Adds them all. Before the layout has parts there are none.
  void describe(v1::Flow& flow) const;
  /// How those ended, in the same order.
  std::vector<std::optional<flow::StageEnd>> ends() const;

 private:
  using StageOfPart = std::pair<std::size_t, std::size_t>;  // part, stage

  void describe_stage(std::size_t part, std::size_t program, v1::FlowStage& stage) const;
  void describe_keeping(std::size_t part, std::size_t index, v1::FlowStage& stage) const;

  const v1::RunStart& start_;
  const FlowLayout& layout_;
  std::map<StageOfPart, int> pids_;
  std::map<StageOfPart, int> wait_statuses_;
  std::set<StageOfPart> reader_done_;
};

}  // namespace sluice::node
