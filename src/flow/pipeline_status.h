#pragma once
// The exit status of a pipeline from those of its stages.
#include <span>
#include <string_view>

#include "exec/process_status.h"

namespace sluice::flow {

enum class PipefailRule {
  lenient,  // the default: as `strict`, but the end of a stage whose reader was done before it is no failure
  strict,   // bash's `set -o pipefail`: that of the rightmost stage that did not exit with 0
  last,     // a plain shell's: that of the last stage (POSIX XCU 2.9.2)
};

struct StageEnd {
  exec::ProcessStatus status;
  // Nobody read the stage's output any more when it ended, so SIGPIPE was the pipeline's way to end it.
  bool reader_done = false;
};

/// Whether `end` makes the pipeline fail. Under `last` it is asked of the last stage only.
bool failed(const StageEnd& end, PipefailRule rule);

/// Of two workers of one stage: a failure rather than none, then the higher status.
StageEnd worse(const StageEnd& one, const StageEnd& other);

/// `ends` are in the order of the stages.
int pipeline_status(std::span<const StageEnd> ends, PipefailRule rule);

}  // namespace sluice::flow
