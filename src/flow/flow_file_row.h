#pragma once
// What of a flow file is more than one row of stages, which is all that runs in the background.
// Threading: pure functions.
#include <vector>

#include "flow/flow_file.h"

namespace sluice::flow {

/// Each thing that a row has none of, in the order of their places; empty: it is one.
std::vector<FileMistake> beyond_a_row(const FlowFile& file);

}  // namespace sluice::flow
