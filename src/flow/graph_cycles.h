#pragma once
// Cycles of a graph, for whoever must tell a person about them.
// Threading: pure functions.
#include <cstddef>
#include <vector>

#include "flow/graph.h"

namespace sluice::flow {

struct Cycle {
  std::vector<std::size_t> stages;  // in the order of the links, without the first again at the end
  std::size_t closing_link = 0;     // from the last of them to the first
};

/// Cycles that, cut at their closing links, leave a graph without any. Not all of them: there may be exponentially
/// many.
std::vector<Cycle> find_cycles(std::size_t stages, const std::vector<Link>& links);

}  // namespace sluice::flow
