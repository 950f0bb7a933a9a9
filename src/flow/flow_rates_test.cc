#include "flow/flow_rates.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;

StageCounters stage(std::size_t index, Activity activity) {
  StageCounters counters;
  counters.index = index;
  counters.activity = activity;
  return counters;
}

// Two samples a second apart, of stages that did this meanwhile.
FlowReport report_of(const std::vector<Activity>& activities) {
  FlowMeter meter;
  FlowCounters before{.at = 10s}, after{.at = 11s};
  for (std::size_t i = 0; i < activities.size(); ++i) {
    before.stages.push_back(stage(i, {.busy = 1s, .idle = 2s, .held_back = 3s}));
    after.stages.push_back(before.stages.back());
    *after.stages.back().activity += activities[i];
  }
  (void)meter.on_counters(before);
  return meter.on_counters(after);
}

std::optional<Bottleneck> bottleneck_of(const std::vector<Activity>& activities) {
  return report_of(activities).bottleneck;
}

// --- links --------------------------------------------------------------------------------------------------------

TEST(LinkCounts, OfTwoEndsThatCount) {
  LinkCounts counts = count_link({.sent = 100, .received = 80});
  EXPECT_EQ(counts, (LinkCounts{.in = 100, .out = 80, .in_flight = 20}));
}

TEST(LinkCounts, WhatIsInThePipesAroundItIsInFlight) {
  LinkCounts counts = count_link({.sent = 100, .received = 80, .waiting_before = 5, .waiting_behind = 7});
  EXPECT_EQ(counts, (LinkCounts{.in = 105, .out = 73, .in_flight = 32}));
}

TEST(LinkCounts, WhatCameOutWhileTheOtherEndWasAskedHasGoneIn) {
  LinkCounts counts = count_link({.sent = 100, .received = 150});
  EXPECT_EQ(counts, (LinkCounts{.in = 150, .out = 150}));
}

TEST(LinkCounts, WhatIsDroppedBetweenTheEndsIsNotInFlight) {
  EXPECT_EQ(count_link({.sent = 100, .received = 60, .waiting_behind = 10, .dropped = 30}),
            (LinkCounts{.in = 100, .out = 50, .dropped = 30, .in_flight = 20}));
  EXPECT_EQ(count_link({.sent = 100, .received = 80, .dropped = 30}),
            (LinkCounts{.in = 110, .out = 80, .dropped = 30}));
  EXPECT_EQ(count_link({.sent = 100, .dropped = 30}), (LinkCounts{.in = 100, .out = 70, .dropped = 30}));
}

TEST(LinkCounts, OfAPipeWhoseWriterIsKnown) {
  EXPECT_EQ(count_link({.sent = 100, .waiting_behind = 30}), (LinkCounts{.in = 100, .out = 70, .in_flight = 30}));
  // More waits than was written as far as it was told: its writer was asked first.
  EXPECT_EQ(count_link({.sent = 10, .waiting_behind = 30}), (LinkCounts{.in = 10, .out = 0, .in_flight = 10}));
}

TEST(LinkCounts, OfAPipeWhoseReaderIsKnown) {
  EXPECT_EQ(count_link({.received = 100, .waiting_before = 30}), (LinkCounts{.in = 130, .out = 100, .in_flight = 30}));
}

TEST(LinkCounts, AlwaysBalanced) {
  std::mt19937_64 random(7);
  auto some = [&] { return random() % 3 == 0 ? 0 : random() % 1000; };
  for (int i = 0; i < 20'000; ++i) {
    LinkEnds ends{.sent = some(), .received = some(), .waiting_before = some(), .waiting_behind = some()};
    if (random() % 3 == 0) ends.sent.reset();
    if (random() % 3 == 0 && ends.sent) ends.received.reset();
    EXPECT_TRUE(count_link(ends).balanced());
  }
}

// --- time ---------------------------------------------------------------------------------------------------------

TEST(ActivityEstimate, WhatIsSeenCountsForTheTimeSinceTheLookBefore) {
  TimePoint start(100s);
  ActivityEstimate estimate(start);
  estimate.on_look(Doing::busy, start + 2s);
  estimate.on_look(Doing::idle, start + 3s);
  estimate.on_look(Doing::held_back, start + 3s);
  estimate.on_look(Doing::held_back, start + 7s);
  EXPECT_EQ(estimate.activity(), (Activity{.busy = 2s, .idle = 1s, .held_back = 4s}));
}

TEST(ActivityEstimate, AnEarlierTimeChangesNothing) {
  ActivityEstimate estimate(TimePoint(100s));
  estimate.on_look(Doing::busy, TimePoint(90s));
  EXPECT_EQ(estimate.activity(), Activity());
}

TEST(Shares, AddUpToAHundred) {
  EXPECT_EQ(shares_between({}, {.busy = 1s, .idle = 1s, .held_back = 1s}),
            (Shares{.busy = 34, .idle = 33, .held_back = 33}));
  EXPECT_EQ(shares_between({}, {.busy = 997ms, .idle = 1ms, .held_back = 2ms}),
            (Shares{.busy = 100, .idle = 0, .held_back = 0}));
  EXPECT_EQ(shares_between({}, {.idle = 1ns}), (Shares{.busy = 0, .idle = 100, .held_back = 0}));
}

TEST(Shares, AddUpToAHundredWhateverWasCounted) {
  std::mt19937_64 random(11);
  auto some = [&] { return Duration(random() % (random() % 2 ? 10 : 1'000'000'000)); };
  for (int i = 0; i < 20'000; ++i) {
    Activity before{some(), some(), some()}, after{some(), some(), some()};
    auto shares = shares_between(before, after);
    if (!shares) continue;
    EXPECT_EQ(shares->busy + shares->idle + shares->held_back, 100);
    EXPECT_TRUE(shares->busy >= 0 && shares->idle >= 0 && shares->held_back >= 0);
  }
}

TEST(Shares, OfNoTimeThereAreNone) { EXPECT_EQ(shares_between({.busy = 1s}, {.busy = 1s}), std::nullopt); }

// --- rates --------------------------------------------------------------------------------------------------------

TEST(FlowMeter, TheFirstSampleHasNoRates) {
  FlowMeter meter;
  FlowReport report = meter.on_counters({.at = 1s, .stages = {stage(0, {.busy = 1s})}});
  EXPECT_EQ(report.interval, 0s);
  EXPECT_EQ(report.stages[0].shares, std::nullopt);
  EXPECT_EQ(report.bottleneck, std::nullopt);
}

TEST(FlowMeter, RatesAreOfTheTimeBetweenTwoSamples) {
  FlowMeter meter;
  StageCounters before = stage(0, {}), after = stage(0, {.busy = 2s});
  before.written_bytes = 1000;
  after.written_bytes = 3000;
  before.records = StageRecords{.read = 10, .written = 10};
  after.records = StageRecords{.read = 50, .written = 30};
  before.each_worker = {{.number = 1, .records_in = 5}, {.number = 2, .records_in = 5}};
  after.each_worker = {{.number = 1, .records_in = 45}, {.number = 2, .records_in = 5}};
  LinkCounters link_before{.to = 0, .bytes = {.in = 10, .out = 10}},
      link_after{.to = 0, .bytes = {.in = 30, .out = 20}};
  (void)meter.on_counters({.at = 5s, .stages = {before}, .links = {link_before}});
  FlowReport report = meter.on_counters({.at = 7s, .stages = {after}, .links = {link_after}});
  EXPECT_EQ(report.interval, 2s);
  EXPECT_EQ(report.stages[0].written_bytes, 1000);
  EXPECT_EQ(report.stages[0].records_in, 20);
  EXPECT_EQ(report.stages[0].records_out, 10);
  EXPECT_EQ(report.stages[0].workers[0].records_in, 20);
  EXPECT_EQ(report.stages[0].workers[1].records_in, 0);
  EXPECT_EQ(report.links[0].bytes_in, 10);
  EXPECT_EQ(report.links[0].bytes_out, 5);
}

TEST(FlowMeter, AStageThatHasEndedHasNoShares) {
  FlowMeter meter;
  StageCounters ended = stage(0, {.busy = 2s});
  ended.running = false;
  (void)meter.on_counters({.at = 1s, .stages = {stage(0, {.busy = 1s})}});
  EXPECT_EQ(meter.on_counters({.at = 2s, .stages = {ended}}).stages[0].shares, std::nullopt);
}

// --- the bottleneck -----------------------------------------------------------------------------------------------

TEST(Bottleneck, IsTheStageThatOthersWaitFor) {
  EXPECT_EQ(bottleneck_of({{.busy = 10ms, .held_back = 990ms}, {.busy = 1s}, {.busy = 5ms, .idle = 995ms}}),
            (Bottleneck{.stage = 1}));
}

TEST(Bottleneck, IsTheTapIfEverybodyWaitsForIt) {
  EXPECT_EQ(bottleneck_of({{.busy = 1s}, {.busy = 10ms, .idle = 990ms}, {.idle = 1s}}), (Bottleneck{.stage = 0}));
}

TEST(Bottleneck, OfEqualsIsTheLast) {
  EXPECT_EQ(bottleneck_of({{.busy = 1s}, {.busy = 1s}, {.idle = 1s}}), (Bottleneck{.stage = 1}));
}

TEST(Bottleneck, OfAStageOfManyWorkersCountsTheirAverage) {
  // Four workers, of which one is always busy.
  EXPECT_EQ(bottleneck_of({{.busy = 600ms, .held_back = 400ms}, {.busy = 1s, .idle = 3s}}), (Bottleneck{.stage = 0}));
}

TEST(Bottleneck, IsTheReaderOfTheOutputThatHoldsTheLastStageBack) {
  EXPECT_EQ(bottleneck_of({{.busy = 300ms, .held_back = 700ms}, {.busy = 500ms, .held_back = 500ms}}),
            (Bottleneck{.kind = Bottleneck::Kind::output, .stage = 1}));
}

TEST(Bottleneck, IsTheInputThatTheFirstStageWaitsFor) {
  EXPECT_EQ(bottleneck_of({{.busy = 400ms, .idle = 600ms}, {.busy = 900ms, .idle = 100ms}}),
            (Bottleneck{.kind = Bottleneck::Kind::input, .stage = 0}));
}

// `source -> worker`, whose worker has gone.
FlowCounters without_worker(Duration at, std::uint64_t waiting) {
  FlowCounters flow{.at = at};
  flow.stages = {stage(0, {.held_back = at}), stage(1, {.idle = 5s})};
  flow.stages[1].records = StageRecords{.read = 10, .in_flight = waiting, .waiting = waiting};
  return flow;
}

TEST(Bottleneck, IsTheStageThatHasNoWorkerForWhatWaitsThere) {
  FlowMeter meter;
  (void)meter.on_counters(without_worker(10s, 7));
  EXPECT_EQ(meter.on_counters(without_worker(11s, 7)).bottleneck, (Bottleneck{Bottleneck::Kind::stage, 1}));
  FlowCounters with_worker = without_worker(12s, 7);
  with_worker.stages[1].workers = 1;
  EXPECT_EQ(meter.on_counters(with_worker).bottleneck, (Bottleneck{Bottleneck::Kind::output, 0}));
  EXPECT_EQ(meter.on_counters(without_worker(13s, 0)).bottleneck, (Bottleneck{Bottleneck::Kind::output, 0}));
}

TEST(Bottleneck, IsTheStageThatHasNoWorkerForWhatWaitsInALinkToIt) {
  auto sample = [](Duration at, std::uint64_t on_their_way) {
    FlowCounters flow = without_worker(at, 0);
    flow.links = {{.from = 0, .to = 1, .bytes = {.in = on_their_way, .in_flight = on_their_way}}};
    return flow;
  };
  FlowMeter meter;
  (void)meter.on_counters(sample(10s, 7));
  EXPECT_EQ(meter.on_counters(sample(11s, 7)).bottleneck, (Bottleneck{Bottleneck::Kind::stage, 1}));
  EXPECT_EQ(meter.on_counters(sample(12s, 0)).bottleneck, (Bottleneck{Bottleneck::Kind::output, 0}));
}

TEST(Bottleneck, StagesThatHaveEndedDoNotCount) {
  FlowMeter meter;
  FlowCounters before{.at = 1s, .stages = {stage(0, {.busy = 5s}), stage(1, {})}}, after = before;
  after.at = 2s;
  after.stages[0].running = false;
  *after.stages[0].activity += {.busy = 1s};
  *after.stages[1].activity += {.busy = 200ms, .idle = 800ms};
  (void)meter.on_counters(before);
  EXPECT_EQ(meter.on_counters(after).bottleneck, (Bottleneck{.kind = Bottleneck::Kind::input, .stage = 1}));
}

// --- the bottleneck of a graph -----------------------------------------------------------------------------------

struct Dropping {
  std::size_t from = 0, to = 0;
  bool drops = false;
};

// Two samples of a graph. The first stage is the source.
std::optional<Bottleneck> bottleneck_of(const std::vector<Activity>& activities, const std::vector<Dropping>& links) {
  FlowMeter meter;
  FlowCounters before{.at = 10s}, after{.at = 11s};
  for (std::size_t i = 0; i < activities.size(); ++i) {
    before.stages.push_back(stage(i, {}));
    after.stages.push_back(stage(i, activities[i]));
  }
  for (const Dropping& link : links) {
    LinkCounters counters{.from = link.from, .to = link.to, .bytes = {.in = 90, .out = 40, .dropped = 50}};
    before.links.push_back(counters);
    if (link.drops) counters.bytes = {.in = 100, .out = 49, .dropped = 51};
    after.links.push_back(counters);
  }
  (void)meter.on_counters(before);
  return meter.on_counters(after).bottleneck;
}

constexpr Activity kWaits{.busy = 100ms, .held_back = 900ms}, kBusy{.busy = 1s}, kIdle{.busy = 100ms, .idle = 900ms};

TEST(Bottleneck, IsNotAReaderWhoseLinkDropsWhatItDoesNotTake) {
  EXPECT_EQ(bottleneck_of({kWaits, kBusy, kBusy}, {{0, 1}, {0, 2, true}}), (Bottleneck{.stage = 1}));
  EXPECT_EQ(bottleneck_of({{.busy = 600ms, .held_back = 400ms}, kBusy, kIdle}, {{0, 1, true}, {0, 2}}),
            (Bottleneck{.stage = 0}));
}

TEST(Bottleneck, IsAReaderWhoseLinkDroppedOnlyInThePast) {
  EXPECT_EQ(bottleneck_of({kWaits, kBusy, kBusy}, {{0, 1}, {0, 2}}), (Bottleneck{.stage = 2}));
}

TEST(Bottleneck, IsAReaderForOneOfWhoseLinksTheirWriterWaits) {
  EXPECT_EQ(bottleneck_of({kBusy, kWaits, kBusy}, {{0, 1}, {0, 2, true}, {1, 2}}), (Bottleneck{.stage = 2}));
}

TEST(Bottleneck, IsNoStageForWhichOnlyOneWaitsWhoseLinkDrops) {
  // 0 -> 1, and 0 -> 2 -> 3, of which the first drops.
  EXPECT_EQ(bottleneck_of({kWaits, kBusy, kWaits, kBusy}, {{0, 1}, {0, 2, true}, {2, 3}}), (Bottleneck{.stage = 1}));
  // Also if they are not in the order of the flow.
  EXPECT_EQ(bottleneck_of({kWaits, kBusy, kBusy, kIdle}, {{0, 1}, {3, 2}, {0, 3, true}}), (Bottleneck{.stage = 1}));
}

TEST(Bottleneck, IsAReaderWhoseLinkDropsIfNothingElseRuns) {
  FlowMeter meter;
  FlowCounters before{.at = 1s, .stages = {stage(0, {}), stage(1, {})}}, after = before;
  before.links = {{.from = 0, .to = 1}};
  after.links = {{.from = 0, .to = 1, .bytes = {.in = 9, .dropped = 9}}};
  after.at = 2s;
  after.stages[0].running = false;
  after.stages[1].activity = kBusy;
  (void)meter.on_counters(before);
  EXPECT_EQ(meter.on_counters(after).bottleneck, (Bottleneck{.stage = 1}));
}

TEST(Bottleneck, IsAStageThatLeavesOutWhatAnEarlierRunHadDone) {
  FlowMeter meter;
  FlowCounters before{.at = 1s, .stages = {stage(0, {}), stage(1, {})}}, after = before;
  before.links = {{.from = 0, .to = 1, .records = LinkCounts()}};
  after.links = {{.from = 0, .to = 1, .bytes = {.in = 9, .out = 9}, .records = LinkCounts{.in = 9, .dropped = 9}}};
  after.at = 2s;
  after.stages[0].activity = {.busy = 500ms, .held_back = 500ms};
  after.stages[1].activity = kBusy;
  (void)meter.on_counters(before);
  EXPECT_EQ(meter.on_counters(after).bottleneck, (Bottleneck{.stage = 1}));
}

// --- the bottleneck of a flow whose input is over ----------------------------------------------------------------

struct Left {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;  // in the link
  bool reads_stdin = false;
};

// `source -> stage`, whose source has ended, and whose stage is mostly idle: one of its four workers has the rest.
std::optional<Bottleneck> bottleneck_of(const Left& left) {
  FlowMeter meter;
  FlowCounters before{.at = 1s, .stages = {stage(0, {.busy = 5s}), stage(1, {})}};
  before.stages[0].running = false;
  before.stages[1].records = StageRecords{.read = 10, .in_flight = left.records};
  before.links = {{.from = 0, .to = 1, .bytes = {.in = left.bytes, .in_flight = left.bytes}}};
  if (left.reads_stdin) before.links.push_back({.to = 1});
  FlowCounters after = before;
  after.at = 2s;
  after.stages[1].activity = {.busy = 1s, .idle = 3s};
  (void)meter.on_counters(before);
  return meter.on_counters(after).bottleneck;
}

TEST(Bottleneck, IsNotTheInputThatIsOverWhileSomethingOfItIsLeft) {
  EXPECT_EQ(bottleneck_of(Left{.records = 1}), (Bottleneck{.stage = 1}));
  EXPECT_EQ(bottleneck_of(Left{.bytes = 1}), (Bottleneck{.stage = 1}));
  EXPECT_EQ(bottleneck_of(Left{}), (Bottleneck{.kind = Bottleneck::Kind::input, .stage = 1}));
  EXPECT_EQ(bottleneck_of(Left{.records = 1, .reads_stdin = true}),
            (Bottleneck{.kind = Bottleneck::Kind::input, .stage = 1}));
}

TEST(Bottleneck, IsTheInputOfAFirstStageThatHasSomethingInFlight) {
  FlowMeter meter;
  FlowCounters before{.at = 1s, .stages = {stage(0, {})}}, after = before;
  after.at = 2s;
  after.stages[0].activity = {.busy = 1s, .idle = 3s};
  after.stages[0].records = StageRecords{.read = 10, .in_flight = 1};
  (void)meter.on_counters(before);
  EXPECT_EQ(meter.on_counters(after).bottleneck, (Bottleneck{.kind = Bottleneck::Kind::input, .stage = 0}));
}

}  // namespace
}  // namespace sluice::flow
