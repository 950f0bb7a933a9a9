#pragma once
// The junction where the links of a simulated flow meet: RecordJunction, between the pipes of the stages, as
// link/junction_pump moves records in a real one.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "link/record_junction.h"
#include "sim/flow_course.h"
#include "sim/flow_stage.h"
#include "sim/flow_world_options.h"

namespace sluice::sim {

class FlowJunction final {
 public:
  FlowJunction(FlowCourse& course, const FlowWorldOptions& options);

  /// Some link begins, or ends, at the stage.
  bool reads_from(std::size_t stage) const { return ends_[stage].input.has_value(); }
  bool writes_to(std::size_t stage) const { return ends_[stage].output.has_value(); }
  /// Requires: writes_to().
  void set_shared_delivery_max(std::size_t stage, std::size_t bytes);

  /// Moves what can be moved out of the stage's output. False: nothing. Requires: reads_from().
  bool read_from(FlowStage& stage);
  /// And into its input. Requires: writes_to().
  bool write_to(FlowStage& stage);

  link::JunctionCounts counts(std::size_t link) const { return machine_->counts(link); }

 private:
  class Store;
  struct Ends {
    std::optional<std::size_t> input, output;  // of the machine
    link::RecordId next_id = 1;                // of what the stage writes
    bool told_end = false;
    std::uint32_t handed_over = 0;  // records of the delivery at its output that are in the stage's pipe
  };

  bool hand_over(FlowStage& stage, const link::RecordBatch& batch);
  void check_order(std::size_t link, const link::RecordBatch& batch);

  FlowCourse& course_;
  const FlowWorldOptions& options_;
  std::vector<Ends> ends_;                 // by stage
  std::vector<link::RecordId> delivered_;  // by link, up to which
  std::unique_ptr<link::RecordJunction> machine_;
};

}  // namespace sluice::sim
