#pragma once
// A stage of `@map` in a simulated flow: MapWork, and filters that answer a record by a record, at once or in bursts.
// They speak no protocol, so that one who says nothing for a while may be slow, or keep its answers until its input
// ends.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <string>

#include "flow/map_work.h"
#include "sim/stage_driver.h"
#include "sim/stage_processes.h"

namespace sluice::sim {

class MapDriver final : public StageDriver {
 public:
  MapDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits);

  bool work() override;
  void on_event(const FlowEvent& event) override;
  void stop() override;
  void check() const override;
  std::string describe() const override { return processes_.describe(); }

 private:
  bool hear(std::uint32_t worker);
  void take_answer(std::uint32_t worker, const std::string& answer);
  bool carry_out(std::uint32_t worker);
  void look(const FlowEvent& event, StageProcess& process);
  void finish(const FlowEvent& event, StageProcess& process);
  void read_on(std::size_t worker);

  FlowCourse& course_;
  FlowStage& stage_;
  flow::MapWork work_;
  StageProcesses processes_;
};

}  // namespace sluice::sim
