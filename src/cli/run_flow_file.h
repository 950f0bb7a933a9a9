#pragma once
// `sluice run` of a flow file.
#include <expected>
#include <string>

#include "cli/run_options.h"
#include "flow/graph.h"
#include "flow/shell_text.h"

namespace sluice::cli {

/// The flow of the file that the command names, if this version can run that. `text` is what stands in the file; its name
/// for the flow holds unless the command gives another.
/// Errors: what to exit with; why was said, or the plan was shown.
std::expected<flow::FlowGraph, int> read_file_flow(const std::string& text, RunOptions& options,
                                                   flow::ShellDialect dialect);

}  // namespace sluice::cli
