#pragma once
// The stages of a simulated flow that are a program of one process, which takes its time over each record: a tap, a
// sink, and a merger, which writes a record when it has come from every stage before it.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/flow_stage.h"
#include "sim/stage_driver.h"

namespace sluice::sim {

class TapDriver final : public StageDriver {
 public:
  TapDriver(FlowCourse& course, FlowStage& stage, std::uint64_t records)
      : course_(course), stage_(stage), records_(records) {}
  bool work() override;
  void on_event(const FlowEvent& event) override;

 private:
  FlowCourse& course_;
  FlowStage& stage_;
  std::uint64_t records_;
  std::uint64_t next_ = 1;
  bool busy_ = false;
};

class SinkDriver final : public StageDriver {
 public:
  SinkDriver(FlowCourse& course, FlowStage& stage) : course_(course), stage_(stage) {}
  bool work() override;
  void on_event(const FlowEvent& event) override;

 private:
  FlowCourse& course_;
  FlowStage& stage_;
  bool busy_ = false;
};

class MergerDriver final : public StageDriver {
 public:
  /// `feeders`: the stages before it.
  MergerDriver(FlowCourse& course, FlowStage& stage, std::vector<std::size_t> feeders);
  bool work() override;
  void on_event(const FlowEvent&) override {}
  std::optional<Full> full() const override;

 private:
  std::size_t held() const;

  FlowCourse& course_;
  FlowStage& stage_;
  std::vector<std::size_t> feeders_;
  std::map<std::string, std::string> held_;  // by record: the marks of the stages that it came from
};

}  // namespace sluice::sim
