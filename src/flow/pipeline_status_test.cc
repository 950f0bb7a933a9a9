#include "flow/pipeline_status.h"

#include <gtest/gtest.h>

#include <csignal>
#include <vector>

namespace sluice::flow {
namespace {

using exec::ProcessStatus;

StageEnd exits(int code, bool reader_done = false) { return {ProcessStatus::exited(code), reader_done}; }
StageEnd dies(int signal, bool reader_done = false) { return {ProcessStatus::ended_by(signal), reader_done}; }

struct Case {
  std::vector<StageEnd> ends;
  int lenient, strict, last;
};

TEST(PipelineStatus, FollowsTheRule) {
  const Case cases[] = {
      {{exits(0)}, 0, 0, 0},
      {{exits(3), exits(0)}, 3, 3, 0},
      {{exits(3), exits(4), exits(0)}, 4, 4, 0},
      {{exits(0), exits(5)}, 5, 5, 5},
      {{dies(SIGKILL), exits(0)}, 137, 137, 0},
      {{dies(SIGPIPE, true), exits(0)}, 0, 141, 0},
      {{exits(141, true), exits(0)}, 0, 141, 0},
      {{dies(SIGPIPE, false), exits(0)}, 141, 141, 0},
      {{exits(2), dies(SIGPIPE, true), exits(0)}, 2, 141, 0},
      {{exits(0), dies(SIGPIPE, true)}, 0, 141, 141},
      {{exits(1, true), exits(0)}, 1, 1, 0},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(pipeline_status(c.ends, PipefailRule::lenient), c.lenient);
    EXPECT_EQ(pipeline_status(c.ends, PipefailRule::strict), c.strict);
    EXPECT_EQ(pipeline_status(c.ends, PipefailRule::last), c.last);
  }
}

TEST(PipelineStatus, OfTwoWorkersAFailureCountsAndThenTheHigherStatus) {
  auto status_of = [](const StageEnd& one, const StageEnd& other) { return worse(one, other).status.shell_status(); };
  EXPECT_EQ(status_of(exits(0), exits(1)), 1);
  EXPECT_EQ(status_of(exits(3), exits(1)), 3);
  EXPECT_EQ(status_of(dies(SIGPIPE, true), exits(1)), 1) << "141 after the reader was done is no failure";
  EXPECT_EQ(status_of(exits(1), dies(SIGPIPE, true)), 1);
}

}  // namespace
}  // namespace sluice::flow
