#pragma once
// Which program runs a stage: the file that its first word names, or a shell if the words need one.
// Threading: pure, but for the look at the file system that finds a program.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>

#include "exec/environment.h"
#include "exec/program_lookup.h"
#include "exec/spawn_protocol.h"
#include "flow/graph.h"
#include "flow/shell.h"

namespace sluice::flow {

/// Why a stage can't run. `status` is what a shell would exit with, or 125 for our own refusal.
struct PlanProblem {
  std::size_t stage = 0;
  int status = 125;
  std::string message;
};

struct PlanContext {
  Shell shell;
  const exec::Environment& environment;
  bool inner_pipefail = true;     // for the shells of the stages
  bool exact = false;             // count every byte by a relay
  bool losses_allowed = false;    // a worker of many may be lost (--on-loss=continue)
  bool has_dead_letters = false;  // records may fail for good (--dead-letter)
  /// Where the stages will work, if not where we do: relative names are looked up there. An empty one holds nothing yet.
  std::optional<std::string> directory = std::nullopt;
};

struct ResolvedStage {
  std::string how;        // "exec /usr/bin/sort", "bash: 'echo' is its own"
  exec::Program program;  // without its streams
  bool in_shell = false;  // its last argument is the text that a shell reads
  std::optional<PlanProblem> problem;
};

class Resolver final {
 public:
  explicit Resolver(const PlanContext& context);

  /// `index` is the stage's place in the flow, for messages.
  ResolvedStage resolve(const Stage& stage, std::size_t index) const;

 private:
  std::string reason_for_shell(const Stage& stage) const;
  std::expected<std::string, exec::LookupError> find(const std::string& name) const;

  const PlanContext& context_;
  std::string_view search_path_;
  bool customised_;
};

}  // namespace sluice::flow
