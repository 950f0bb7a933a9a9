#pragma once
// What an orchestrator writes down of a flow that outlives it, so that another daemon of its node knows the parts again: the
// request and the cluster as it was, from which the layout follows, and what was drawn by chance or came later.
// Threading: pure functions.
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "flow/placement.h"
#include "node/flow_layout.h"

namespace sluice::v1 {
class FlowMemory;
}

namespace sluice::node {

/// Its nodes, and the workers that have joined.
void remember_layout(const FlowLayout& layout, v1::FlowMemory& memory);
/// Errors: a sentence; an id of it is none.
std::expected<std::vector<flow::NodeChoice>, std::string> nodes_from(const v1::FlowMemory& memory);
/// Places the stages as they were placed, with the workers that joined. Errors: a sentence.
std::expected<void, std::string> lay_out_again(const v1::FlowMemory& memory, FlowLayout& layout);

}  // namespace sluice::node
