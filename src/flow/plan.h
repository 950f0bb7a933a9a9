#pragma once
// The plan of a flow: what would be started where, how, and why. Nothing runs that the plan does not show.
//
// A graph goes through passes, each of which decides one thing: place (where a stage runs), resolve (which program, in
// a shell or not), join (what carries each link). A pass that finds a stage impossible notes a problem and goes on, so
// that
// `--dry-run` shows the whole plan beside every problem.
// Threading: pure, but for the look at the file system that finds a program.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exec/environment.h"
#include "exec/spawn_protocol.h"
#include "flow/graph.h"
#include "flow/graph_wiring.h"
#include "flow/record_command.h"
#include "flow/record_key.h"
#include "flow/resolve.h"

namespace sluice::flow {

enum class LinkCarrier {
  kernel_pipe,  // the two programs share it; no byte passes through us
  relay,        // two pipes with a splicing relay between them that counts (--exact)
  records,      // whole records, to or from a stage of many workers
  byte_link,    // to or from another host
  junction,     // it meets other links, or does not block: see the wiring
};

struct PlannedLink {
  Link link;
  LinkCarrier carrier = LinkCarrier::kernel_pipe;
};

/// What a stage does with records.
enum class RecordMode {
  none,    // it takes bytes
  spread,  // its workers share the records of its input
  map,     // they answer each with one
  each,    // a fresh process for every record, or every `records_a_process`
  worker,  // its workers are linked with the library, and say which records are done
};

struct PlannedStage {
  std::string name{};      // of a flow file's
  std::size_t number = 0;  // its place in the flow, of which the plan may be a part
  bool elsewhere = false;  // a link to another host stands for it
  std::string command;
  std::vector<std::string> at_words;
  std::string place;         // "here"
  std::string place_reason;  // "beside stage 1"
  std::string how;           // "exec /usr/bin/sort", "bash: 'echo' is a builtin"
  RecordMode mode = RecordMode::none;
  std::uint32_t workers = 0;  // 0: it is one process, and takes bytes
  std::uint32_t records_a_process = 1;
  bool ordered = false;
  std::optional<RecordKey> by;
  RecordCommand record_command;   // of `each`
  std::uint32_t concurrency = 0;  // of `worker`, as the next
  Restart restart = Restart::never;
  std::optional<std::uint32_t> retries;  // in place of the flow's, as the next
  std::optional<double> records_per_second;
  RecordFraming framing = RecordFraming::lines;
  std::string role{};          // workers that are started by hand join it under this name
  bool by_hand_alone = false;  // it has no others: `workers` is 1, and none of them is its own
  exec::Program program;       // streams are set by the join pass
};

struct Plan {
  std::vector<PlannedStage> stages;
  std::vector<PlannedLink> links;
  Wiring wiring{};
  std::vector<PlanProblem> problems;
  bool losses_allowed = false;  // --on-loss=continue
  bool has_dead_letters = false;
};

/// Workers that the flow starts.
inline std::uint32_t own_workers(const PlannedStage& stage) { return stage.by_hand_alone ? 0 : stage.workers; }

/// It is one program of the launch that is started by job.
inline bool runs_by_job(const PlannedStage& stage) {
  return stage.mode == RecordMode::map || stage.mode == RecordMode::each || stage.mode == RecordMode::worker;
}

/// A stage as a promise sees it.
struct PromisedStage {
  RecordMode mode = RecordMode::none;
  bool ordered = false;
  bool on_every_node = false;
};
struct PromiseContext {
  bool losses_allowed = false;
  bool has_dead_letters = false;
  bool over_hosts = false;
};
/// What a flow promises, for people: what its weakest stage does. Requires: not empty.
std::string promise_of(const std::vector<PromisedStage>& stages, const PromiseContext& context);

/// How a stage goes about records.
RecordMode mode_of(const StageWords& words);
/// "4 workers, a process for each record: ", or nothing.
std::string describe_workers(const StageWords& words);

/// In place of how a program of the flow's would be started.
inline constexpr const char* kByHand = "started by hand";

/// Tells a worker that its stdin is the socket of its stage (docs/protocol-workers.md).
inline constexpr const char* kWorkerVariable = "SLUICE_WORKER_FD=0";

Plan make_plan(const FlowGraph& graph, const PlanContext& context);

/// "stage 3", or "stage 'merger'".
inline std::string title_of(const Plan& plan, std::size_t stage) {
  return title_of_stage(plan.stages[stage].name, plan.stages[stage].number);
}

/// "3", or "merger".
inline std::string label_of(const Plan& plan, std::size_t stage) {
  return label_of(plan.stages[stage].name, plan.stages[stage].number);
}

/// Where a link leaves it: "merger", or "stderr of merger".
inline std::string source_of(const Plan& plan, std::size_t stage, bool of_errors) {
  return source_of(plan.stages[stage].name, plan.stages[stage].number, of_errors);
}

/// The plan for a person. The last line is a line, too.
std::string describe_plan(const Plan& plan);

/// The same as one line of JSON without its line end. Fields are only ever added; docs/pipelines.md lists them.
std::string to_json(const Plan& plan);

}  // namespace sluice::flow
