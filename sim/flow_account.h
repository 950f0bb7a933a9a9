#pragma once
// The account of a simulated flow that is finished: every record that a stage wrote was taken once by whom its links
// lead to, or was dropped or lost with a reader that left; what a stage took was written or buried once.
// Threading: none.
#include <deque>
#include <string>
#include <vector>

#include "sim/flow_junction.h"
#include "sim/flow_stage.h"
#include "sim/flow_world_options.h"

namespace sluice::sim {

/// What is not so, in sentences.
std::vector<std::string> find_unaccounted(const FlowWorldOptions& options, const std::deque<FlowStage>& stages,
                                          const FlowJunction& junction);

}  // namespace sluice::sim
