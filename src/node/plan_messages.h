#pragma once
// The plan of a flow over a cluster, as its orchestrator sent it, for a person and as JSON. The columns and fields are
// those of a plan on one machine (flow/plan.h).
#include <string>

namespace sluice::v1 {
class FlowPlan;
}

namespace sluice::node {

std::string describe_plan(const v1::FlowPlan& plan);
/// One line without its line end.
std::string plan_as_json(const v1::FlowPlan& plan);

}  // namespace sluice::node
