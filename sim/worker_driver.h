#pragma once
// A stage of workers in a simulated flow: WorkerWork, and processes that speak its protocol, let records fail, break
// it, leave and die.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <string>

#include "flow/worker_work.h"
#include "sim/stage_driver.h"
#include "sim/stage_processes.h"

namespace sluice::sim {

class WorkerDriver final : public StageDriver {
 public:
  WorkerDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits);

  bool work() override;
  void on_event(const FlowEvent& event) override;
  void stop() override;
  void check() const override;
  std::string describe() const override { return processes_.describe(); }

 private:
  bool hear(std::uint32_t worker);
  flow::WorkerWork::Outcome take(std::uint32_t worker, const StageProcess::Said& said);
  bool carry_out(std::uint32_t worker);
  void remove(std::uint32_t worker);
  void read_on(std::size_t worker);
  void finish(const FlowEvent& event, StageProcess& process);

  FlowCourse& course_;
  FlowStage& stage_;
  flow::WorkerWork work_;
  StageProcesses processes_;
};

}  // namespace sluice::sim
