#pragma once
// Completion of a verb's arguments: which words may stand where the cursor is.
//
// The shell's script asks `sluice __complete WORD...`. That calls the verb with kCompleteArgument in front of its words; where
// the verb would read its options, they are completed instead, so that no list of them can grow old.
#include <cstddef>
#include <string>
#include <vector>

#include "cli/verbs.h"

namespace sluice::cli {

/// A candidate that begins with ':' asks the shell to complete by itself: ":files", ":folders".
using Candidates = std::vector<std::string>;

inline constexpr const char* kCompleteArgument = "__complete";
bool asks_for_completion(const Arguments& arguments);

/// What the operands of a verb are.
enum class OperandKind { unknown, file, node, flow, running_flow, ended_flow, context, pipeline };

struct OptionHelp {
  std::string name;  // "--json", "-f"
  std::string type;  // "FILE", "a|b"; empty: it takes no value
};

struct VerbHelp {
  std::vector<OptionHelp> options;
  std::size_t operands_max = 0;
  OperandKind operands = OperandKind::unknown;
};

/// `words` are those behind the verb; the last one is being typed, and may be empty.
Candidates complete_arguments(const VerbHelp& verb, const Arguments& words);

/// Prints those that begin with what is typed, `typed` being the last word as the shell handed it over.
int print_candidates(const Candidates& candidates, std::string typed);

}  // namespace sluice::cli
