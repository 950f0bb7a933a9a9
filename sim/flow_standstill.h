#pragma once
// Why a simulated flow stands still: stages that wait for each other in a cycle.
// Threading: none.
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "sim/flow_stage.h"
#include "sim/flow_world_options.h"
#include "sim/stage_driver.h"

namespace sluice::sim {

/// Their names, and what is full. Empty: no stages wait for each other. `drivers`: by stage.
std::string find_cycle(const FlowWorldOptions& options, const std::deque<FlowStage>& stages,
                       const std::vector<std::unique_ptr<StageDriver>>& drivers);

}  // namespace sluice::sim
