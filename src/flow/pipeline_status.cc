#include "flow/pipeline_status.h"

#include <csignal>
#include <ranges>

#include "base/require.h"

namespace sluice::flow {

bool failed(const StageEnd& end, PipefailRule rule) {
  if (end.status.success()) return false;
  // A shell as the stage reports the SIGPIPE of its own child as 141, the same number.
  bool ended_by_pipe = end.status.shell_status() == 128 + SIGPIPE;
  return !(rule == PipefailRule::lenient && ended_by_pipe && end.reader_done);
}

StageEnd worse(const StageEnd& one, const StageEnd& other) {
  bool one_failed = failed(one, PipefailRule::lenient), other_failed = failed(other, PipefailRule::lenient);
  if (one_failed != other_failed) return one_failed ? one : other;
  return other.status.shell_status() > one.status.shell_status() ? other : one;
}

int pipeline_status(std::span<const StageEnd> ends, PipefailRule rule) {
  REQUIRE(!ends.empty());
  if (rule == PipefailRule::last) return ends.back().status.shell_status();
  for (const StageEnd& end : ends | std::views::reverse)
    if (failed(end, rule)) return end.status.shell_status();
  return 0;
}

}  // namespace sluice::flow
