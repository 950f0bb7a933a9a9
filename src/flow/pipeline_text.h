#pragma once
// Pipeline text, `@db1 psql | @x4 ./clean | sort`, becomes a graph (docs/pipelines.md).
// Threading: pure functions.
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flow/graph.h"
#include "flow/shell_text.h"

namespace sluice::flow {

/// `nodes` are what a word may name; `dialect` is that of the shell that will run
/// the stages.
/// Errors: a sentence for the user with the place in the text: bad syntax, a bad @ word, an empty text.
std::expected<FlowGraph, std::string> read_pipeline_text(std::string_view text, const KnownNodes& nodes,
                                                         ShellDialect dialect = {});

/// The graph of one command that is run without a shell.
FlowGraph single_command(std::vector<std::string> words);

}  // namespace sluice::flow
