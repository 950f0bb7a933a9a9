#include "flow/flow_run.h"

#include <gmock/gmock.h>

#include <csignal>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;

// A run of two stages at time zero, driven by hand.
class FlowRunTest : public testing::Test {
 protected:
  FlowRun make(FlowRunOptions options = {}) {
    options.stages = 2;
    return FlowRun(options, at(0s));
  }
  static TimePoint at(Duration since_start) { return TimePoint{} + since_start; }

  static std::vector<FlowAction> actions(FlowRun& run) {
    std::vector<FlowAction> taken;
    while (auto action = run.poll_action()) taken.push_back(*action);
    return taken;
  }
  static void end_stages(FlowRun& run, Duration when) {
    run.on_stage_ended(0, at(when));
    run.on_stage_ended(1, at(when));
  }
  using Actions = std::vector<FlowAction>;
};

const PassSignal kTerm{.signal = SIGTERM, .strays_too = true, .then_continue = true};

TEST_F(FlowRunTest, CompletesWhenNoProcessIsLeft) {
  FlowRun run = make();
  EXPECT_EQ(run.poll_deadline(), std::nullopt) << "a flow without a timeout waits for nothing but its stages";
  end_stages(run, 1s);
  EXPECT_FALSE(run.finished());
  run.on_childless();
  EXPECT_TRUE(run.finished());
  EXPECT_EQ(run.end(), FlowEnd::completed);
  EXPECT_EQ(actions(run), Actions{});
}

TEST_F(FlowRunTest, TerminalSignalIsNotPassedOn) {
  FlowRun run = make();
  run.on_signal(SIGINT, SignalSource::terminal, false, at(1s));
  EXPECT_EQ(actions(run), Actions{});
  end_stages(run, 1s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::signalled);
  EXPECT_EQ(run.signal(), SIGINT);
}

TEST_F(FlowRunTest, SignalToUsAloneIsPassedOnAndThenKillsAfterTheGrace) {
  FlowRun run = make({.grace = 2s});
  run.on_signal(SIGTERM, SignalSource::process, false, at(1s));
  EXPECT_EQ(actions(run), Actions{kTerm});
  run.on_deadline(false, at(2s));
  EXPECT_EQ(actions(run), Actions{}) << "an early call does nothing";
  EXPECT_EQ(run.poll_deadline(), at(3s));
  run.on_deadline(false, at(3s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}}));
  end_stages(run, 3s);
  run.on_childless();
  EXPECT_EQ(run.signal(), SIGTERM);
}

TEST_F(FlowRunTest, SecondInterruptFromTheTerminalKillsAtOnce) {
  FlowRun run = make();
  run.on_signal(SIGINT, SignalSource::terminal, false, at(1s));
  run.on_signal(SIGINT, SignalSource::terminal, false, at(1500ms));
  EXPECT_EQ(actions(run), Actions{KillEverything{}});
}

TEST_F(FlowRunTest, SignalSentTwiceByAProcessKeepsTheGrace) {
  FlowRun run = make();
  run.on_signal(SIGTERM, SignalSource::process, false, at(1s));
  run.on_signal(SIGTERM, SignalSource::process, false, at(1s));
  EXPECT_EQ(actions(run), (Actions{kTerm, kTerm}));
  EXPECT_EQ(run.poll_deadline(), at(3s));
}

TEST_F(FlowRunTest, SignalBelongsToTheStageThatKeepsTheTerminalRaw) {
  FlowRun run = make();
  run.on_signal(SIGINT, SignalSource::terminal, true, at(1s));
  EXPECT_EQ(run.poll_deadline(), std::nullopt);
  end_stages(run, 9s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::completed);
  EXPECT_EQ(run.withheld_signal(), SIGINT);
}

TEST_F(FlowRunTest, HangUpEndsAFlowThatKeepsTheTerminalRaw) {
  FlowRun run = make({.grace = 2s});
  run.on_signal(SIGHUP, SignalSource::terminal, true, at(1s));
  run.on_deadline(true, at(3s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}}));
  end_stages(run, 3s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::signalled);
  EXPECT_EQ(run.signal(), SIGHUP);
}

TEST_F(FlowRunTest, EscalationIsHeldBackWhileTheTerminalIsRaw) {
  FlowRun run = make();
  run.on_signal(SIGINT, SignalSource::terminal, false, at(1s));
  run.on_deadline(true, at(3s));
  EXPECT_EQ(actions(run), Actions{});
  end_stages(run, 60s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::completed) << "the stage took the signal and went on";
  EXPECT_EQ(run.withheld_signal(), SIGINT);
}

TEST_F(FlowRunTest, UserSignalsArePassedOnAndEndNothing) {
  FlowRun run = make();
  run.on_signal(SIGUSR1, SignalSource::process, false, at(1s));
  EXPECT_EQ(actions(run), (Actions{PassSignal{.signal = SIGUSR1, .strays_too = true}}));
  EXPECT_EQ(run.poll_deadline(), std::nullopt);
}

TEST_F(FlowRunTest, TimesOut) {
  FlowRun run = make({.timeout = 5s});
  EXPECT_EQ(run.poll_deadline(), at(5s));
  run.on_deadline(false, at(5s));
  EXPECT_EQ(actions(run), Actions{kTerm});
  run.on_deadline(true, at(7s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}})) << "a raw terminal does not outlast a timeout";
  end_stages(run, 7s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::timed_out);
}

TEST_F(FlowRunTest, TimesOutAlsoAfterAStageTookASignal) {
  FlowRun run = make({.timeout = 5s});
  run.on_signal(SIGINT, SignalSource::terminal, false, at(1s));
  run.on_deadline(true, at(3s));  // the terminal is raw: the signal was the stage's
  EXPECT_EQ(run.poll_deadline(), at(5s));
  run.on_deadline(true, at(5s));
  EXPECT_EQ(actions(run), Actions{kTerm});
  EXPECT_EQ(run.end(), FlowEnd::timed_out);
}

TEST_F(FlowRunTest, AFlowThatCannotGoOnIsEndedAndKilledAfterTheGrace) {
  FlowRun run = make({});
  run.on_broken(at(1s));
  EXPECT_EQ(actions(run), Actions{kTerm});
  run.on_broken(at(2s));
  EXPECT_EQ(actions(run), Actions{});
  run.on_deadline(false, at(3s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}}));
  end_stages(run, 3s);
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::broken);
}

TEST_F(FlowRunTest, SignalOutweighsTheTimeout) {
  FlowRun run = make({.timeout = 5s});
  run.on_deadline(false, at(5s));
  run.on_signal(SIGTERM, SignalSource::process, false, at(6s));
  EXPECT_EQ(run.end(), FlowEnd::signalled);
}

TEST_F(FlowRunTest, EndsWhatStagesLeftRunning) {
  FlowRun run = make();
  end_stages(run, 1s);
  run.on_deadline(false, at(1s));
  EXPECT_EQ(actions(run), Actions{AskForStragglers{}});
  std::vector<Straggler> left = {{.pid = 9, .name = "sleep"}};
  run.on_stragglers(left, at(1s));
  EXPECT_EQ(actions(run), Actions{}) << "it has a moment to end by itself";
  run.on_deadline(false, at(1200ms));
  EXPECT_EQ(actions(run), Actions{AskForStragglers{}});
  run.on_stragglers(left, at(1200ms));
  EXPECT_EQ(actions(run), (Actions{kTerm, TellEndingStragglers{left}}));
  run.on_deadline(false, at(4s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}}));
  run.on_childless();
  EXPECT_EQ(run.end(), FlowEnd::completed);
}

TEST_F(FlowRunTest, AwaitsAStragglerThatDrainsItsPipe) {
  FlowRun run = make({.grace = 2s});
  end_stages(run, 0s);
  std::vector<Straggler> left = {{.pid = 8, .name = "sleep"}, {.pid = 9, .name = "gzip", .drains_pipe = true}};
  for (int second = 0; second <= 60; ++second) {
    run.on_deadline(false, at(second * 1s));
    EXPECT_EQ(actions(run), Actions{AskForStragglers{}});
    run.on_stragglers(left, at(second * 1s));
    Actions told = second == 2 ? Actions{TellAwaitingStragglers{{left[1]}}} : Actions{};
    EXPECT_EQ(actions(run), told) << "said once, when the grace is over; second " << second;
  }
  run.on_stragglers({left[0]}, at(61s));
  EXPECT_EQ(actions(run), (Actions{kTerm, TellEndingStragglers{{left[0]}}})) << "the other has drained its pipe";
}

TEST_F(FlowRunTest, TheTimeoutHoldsForStragglersToo) {
  FlowRun run = make({.timeout = 5s});
  end_stages(run, 0s);
  run.on_deadline(false, at(0s));
  run.on_stragglers({{.pid = 9, .name = "gzip", .drains_pipe = true}}, at(4s));
  actions(run);
  run.on_deadline(false, at(5s));
  EXPECT_THAT(actions(run), testing::Contains(FlowAction(kTerm)));
  EXPECT_EQ(run.end(), FlowEnd::timed_out);
}

TEST_F(FlowRunTest, KeepSparesWhatStagesLeft) {
  FlowRun run = make({.keep = true});
  end_stages(run, 1s);
  EXPECT_EQ(actions(run), Actions{LeaveStragglers{}});
  EXPECT_TRUE(run.finished());
}

TEST_F(FlowRunTest, KeepSparesNothingAfterASignal) {
  FlowRun run = make({.grace = 2s, .keep = true});
  run.on_signal(SIGTERM, SignalSource::process, false, at(1s));
  actions(run);
  end_stages(run, 1s);
  EXPECT_FALSE(run.finished());
  run.on_deadline(false, at(3s));
  EXPECT_EQ(actions(run), (Actions{KillEverything{}, TellKilling{}}));
}

TEST_F(FlowRunTest, SaysOnceWhatSurvivesSigkill) {
  FlowRun run = make();
  run.on_signal(SIGTERM, SignalSource::process, false, at(0s));
  run.on_deadline(false, at(2s));
  actions(run);
  run.on_deadline(false, at(4s));
  EXPECT_EQ(actions(run), Actions{AskForStragglers{}});
  std::vector<Straggler> stuck = {{.pid = 9, .name = "sudo"}};
  run.on_stragglers(stuck, at(4s));
  run.on_stragglers(stuck, at(5s));
  EXPECT_EQ(actions(run), Actions{TellUnkillable{stuck}});
}

}  // namespace
}  // namespace sluice::flow
