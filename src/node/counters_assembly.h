#pragma once
// What the hosts of a flow have told of its parts, put together: the counters of its stages and of the links between them.
//
// A link is counted where it can be. Stages that take records count what they read and write, the ends of links between hosts
// what passes them, and the places where links of a graph meet what each has taken, passed on and dropped; what lies in pipes
// is seen. Between two programs that share a pipe nobody counts: what went in is what the processes of the first say to have
// written, anywhere, which is an estimate. What a stage has counted belongs to its link if it has one, or tells them apart.
// Threading: pure functions.
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flow/graph.h"
#include "flow/placement.h"

namespace sluice::v1 {
class Flow;
class FlowCounters;
class Moved;
class StageText;
}  // namespace sluice::v1

namespace sluice::node {

struct AssemblyInput {
  const flow::FlowGraph& whole;
  const flow::PartGraph& graph;
  const std::vector<std::string>& host_names;  // of each part
  std::vector<v1::Moved> moved;                // of each part; without stages: it has not answered
  std::function<const v1::StageText&(std::size_t stage)> text_of;
  std::function<std::optional<std::size_t>(const std::string& id)> find_link;
  std::size_t stages = 0;
};

/// Which flow it is, and when this is counted: now.
void fill_counters(const v1::Flow& flow, v1::FlowCounters& counters);
/// Fills in the stages and the links.
void assemble(const AssemblyInput& input, v1::FlowCounters& counters);

}  // namespace sluice::node
