#pragma once
// A stage of `@each` in a simulated flow: EachWork, and a process for each batch, which writes its output whole, or
// dies.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "flow/each_work.h"
#include "sim/flow_stage.h"
#include "sim/stage_driver.h"

namespace sluice::sim {

class EachDriver final : public StageDriver {
 public:
  EachDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits);

  bool work() override;
  void on_event(const FlowEvent& event) override;
  void stop() override;
  void check() const override;
  std::string describe() const override;

 private:
  struct Process {
    bool runs = false;
    std::uint64_t life = 0;
  };

  bool feed();
  bool start();
  bool write();
  bool bury_dead();

  FlowCourse& course_;
  FlowStage& stage_;
  flow::EachWork work_;
  std::vector<Process> processes_;
  std::map<flow::BatchNumber, std::vector<std::string>> unsettled_;
  flow::BatchNumber next_ = 1, last_written_ = 0;
  bool told_source_end_ = false;
};

}  // namespace sluice::sim
