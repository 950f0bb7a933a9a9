#pragma once
// The stderr of the stages of a flow over several hosts, line by line, each with the mark of its stage (`--mark-stderr`).
// Memory: one line of each stage. Threading: a value.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "flow/graph.h"
#include "link/line_marker.h"

namespace sluice::v1 {
class FlowPlan;
}

namespace sluice::node {

class StageMarks final {
 public:
  explicit StageMarks(const flow::FlowGraph& graph);

  /// The hosts say in it which stages a shell runs: those are marked by its name, as on one host.
  void on_plan(const v1::FlowPlan& plan);
  /// The marked form of every line that `bytes` complete; nothing for a stage that the flow does not have.
  std::string on_bytes(std::uint32_t stage, std::string_view bytes);
  /// What was not ended by a line end.
  std::string on_end();

 private:
  std::vector<std::string> names_, programs_;
  std::map<std::uint32_t, link::LineMarker> lines_;
};

}  // namespace sluice::node
