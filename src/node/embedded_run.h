#pragma once
// `sluice run` without a daemon: a node inside the caller's own process that runs one flow and leaves nothing behind.
//
// It owns one spawner, the parent of every stage. The loop below is all there is: one thread, poll(2), no timer beyond
// what the flow asks for.
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/entry_state.h"
#include "exec/environment.h"
#include "exec/spawner_client.h"
#include "flow/flow_run.h"
#include "flow/pipeline_status.h"
#include "flow/plan.h"
#include "node/record_settings.h"

namespace sluice::node {

enum class ProgressMode { none, automatic, plain, json };

struct RunRequest {
  flow::Plan plan;
  exec::Environment environment;
  std::string directory;  // empty: where the caller is, even if that folder has been removed
  std::string name;       // of the flow
  flow::PipefailRule pipefail = flow::PipefailRule::lenient;
  Duration grace = std::chrono::seconds(2);
  std::optional<Duration> timeout;
  std::optional<Duration> stall_timeout =
      std::chrono::seconds(10);  // of a flow all of whose stages wait for each other
  bool keep = false;
  ProgressMode progress = ProgressMode::automatic;
  bool json_summary = false;
  bool mark_stderr = false;
  bool quiet = false;
  bool exact = false;
  RecordSettings records;
};

struct RunResult {
  int status = 0;
  int signal = 0;  // not 0: the caller is to die by it
};

/// Our own exit statuses in place of the pipeline's (as env(1), timeout(1) and docker-run(1) have them).
inline constexpr int kTimedOut = 124;
inline constexpr int kRefused = 125;

/// Runs the plan, which must have no problems, on the caller's stdin, stdout and stderr. Messages go to stderr.
RunResult run_embedded(RunRequest request, exec::SpawnerClient spawner, const exec::EntryState& entry);

/// Writes "sluice: MESSAGE" and a line end to stderr in one piece. Errors are nobody's business: there is no other
/// place.
void say(const std::string& message);

/// Writes all of `text` to stdout. 0; or 1 when it said why that can't be done. A reader that has gone is no failure.
int print_to_stdout(std::string_view text);

/// Writes `line` and a line end to stderr in one piece, as it is.
void write_stderr_line(const std::string& line);

}  // namespace sluice::node
