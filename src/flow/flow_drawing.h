#pragma once
// The graph of a flow file for a person: as text, as DOT for Graphviz, and for programs as JSON.
// Threading: pure functions.
#include <string>
#include <vector>

#include "flow/flow_file.h"

namespace sluice::flow {

/// A tree of the stages, each drawn once, where the last link into it is.
std::string draw_as_text(const FlowFile& file);

/// In the DOT language of Graphviz.
std::string draw_as_dot(const FlowFile& file);

/// The same as one line of JSON without its line end, with what this version can't run of it. No variables: they may be
/// secrets. Fields are only ever added; docs/flow-files.md lists them.
std::string draw_as_json(const FlowFile& file, const std::vector<FileMistake>& problems);

/// "5 stages and 5 links"
std::string count_of_parts(const FlowFile& file);

}  // namespace sluice::flow
