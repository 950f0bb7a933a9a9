#include "cli/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/text_table.h"

namespace sluice::cli {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

flow::FlowCounters flow_at(Duration at, std::uint64_t records, flow::Activity slow) {
  flow::FlowCounters flow{.id = "0123456789abcdef0123456789abcdef",
                          .name = "nightly",
                          .text = "seq 9 | @x2 slow",
                          .state = "running",
                          .node = "n1",
                          .started_unix_ms = 1000,
                          .at = at};
  flow::StageCounters seq{.index = 0, .command = "seq 9", .kind = "filter", .nodes = {"n1"}, .workers = 1};
  seq.activity = flow::Activity{.held_back = at};
  seq.estimated = true;
  flow::StageCounters worker{.index = 1, .command = "slow", .kind = "map", .nodes = {"n1", "n2"}, .workers = 2};
  worker.activity = slow;
  worker.records = flow::StageRecords{.read = records, .in_flight = 7, .waiting = 3, .written = records - 7};
  worker.records->credit = 4;
  worker.each_worker = {{.number = 1, .node = "n1", .pid = 17, .activity = slow, .records_in = records},
                        {.number = 2, .node = "n2", .records_in = 0}};
  flow.stages = {seq, worker};
  flow::LinkCounters link{.from = 0, .to = 1, .bytes = {.in = 3000, .out = 2000, .in_flight = 1000}};
  link.records = flow::LinkCounts{.in = records, .out = records - 7, .in_flight = 7};
  flow::LinkCounters errors{
      .from = 0, .to = 1, .of_errors = true, .bytes = {.in = 300, .out = 100, .dropped = 150, .in_flight = 50}};
  flow.links = {link, errors};
  return flow;
}

flow::FlowReport report() {
  flow::FlowMeter meter;
  (void)meter.on_counters(flow_at(1s, 1000, {.busy = 1s}));
  return meter.on_counters(flow_at(2s, 3500, {.busy = 2980ms, .idle = 20ms}));
}

std::string text_of(const TopStyle& style) {
  std::string text;
  for (const std::string& line : lines_of(report(), 61'000, style)) text += line + "\n";
  return text;
}

TEST(TopView, ShowsStagesLinksAndTheBottleneck) {
  std::string text = text_of({});
  EXPECT_THAT(text, HasSubstr("01234567  nightly  running"));
  EXPECT_THAT(text, HasSubstr("seq 9 | @x2 slow"));
  EXPECT_THAT(text, testing::ContainsRegex("2  slow +n1,n2 +2 +2.50k +2.50k .* 4 +7 +99% +1% +0%"));
  EXPECT_THAT(text, testing::ContainsRegex("1 -> 2 +bytes +2.93 KiB +1.95 KiB +0 B +0 B +0.98 KiB"));
  EXPECT_THAT(text, testing::ContainsRegex("records +3.50k +3.49k +0 +0 +7"));
  EXPECT_THAT(text, testing::ContainsRegex("stderr of 1 -> 2 +bytes +300 B +100 B +150 B +0 B +50 B"));
  EXPECT_THAT(text, HasSubstr("bottleneck: stage 2 `slow`, busy 99 % of the time"));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("worker 1")), Not(HasSubstr("\033"))));
}

TEST(TopView, ShowsWorkersIfTheyAreWanted) {
  EXPECT_THAT(text_of({.workers = true}), AllOf(HasSubstr("worker 1 pid 17"), HasSubstr("worker 2 ")));
}

TEST(TopView, LinesAreCutAtTheEdge) {
  for (const std::string& line : lines_of(report(), 61'000, {.columns = 40})) EXPECT_LE(width_of(line), 40u) << line;
}

// Values as wide as they come, of a stage before, the one that holds the flow back, and its links.
flow::FlowReport wide_report() {
  flow::FlowReport wide = report();
  for (std::size_t i = 0; i < 2; ++i) {
    wide.counters.stages[i].command = "sh -c 'while read -r n; do sleep 0.01; echo $n; done'";
    wide.counters.stages[i].nodes = {"db1.example", "db2.example", "db3.example"};
    wide.stages[i].read_bytes = wide.stages[i].written_bytes = 1.2 * 1024 * 1024;
  }
  wide.counters.stages[0].running = false;
  wide.counters.stages[1].records->in_flight = 12'600;
  *wide.counters.stages[1].records->credit = 12'600;
  wide.stages[1].records_in = wide.stages[1].records_out = 12'600;
  wide.counters.links[0].to.reset();
  wide.counters.links[0].estimated = true;
  wide.counters.links[0].bytes = {.in = 3 << 20, .out = 2 << 20, .in_flight = 1 << 20};
  wide.counters.links.pop_back();
  return wide;
}

// The headings of the stages, a row of each, the headings of the links, a row in bytes and one in records, and the end.
std::vector<std::string> lines_within(std::size_t columns, const flow::FlowReport& report) {
  std::vector<std::string> lines = lines_of(report, 61'000, {.columns = columns});
  for (const std::string& line : lines) EXPECT_LE(width_of(line), columns) << line;
  lines.erase(lines.begin());  // the title
  return lines;
}

TEST(TopView, AtEightyColumnsTheBytesOfStagesAreLeftOut) {
  EXPECT_THAT(lines_within(80, wide_report()),
              ElementsAre("  #  STAGE       NODES    RUN   IN/s  OUT/s  CREDIT  IN FLIGHT  BUSY  IDLE  HELD",
                          "  1  sh -c 'wh…  db1.…  ended      -      -       -          -    0%    0%  100%",
                          "  2  sh -c 'wh…  db1.…      2  12.6k  12.6k   12.6k      12.6k   99%    1%    0%",
                          "  LINK         OF                      IN       OUT  DROPPED  DEAD  IN FLIGHT",
                          "  1 -> stdout  bytes, estimated  3.00 MiB  2.00 MiB      0 B   0 B   1.00 MiB",
                          "               records              3.50k     3.49k        0     0          7",
                          "  bottleneck: stage 2 `sh -c 'while read -r n; do …`, busy 99 % of the time"));
}

TEST(TopView, AtAHundredColumnsTheWordsHaveTheRoom) {
  std::vector<std::string> lines = lines_within(100, wide_report());
  EXPECT_EQ(lines[0],
            "  #  STAGE                         NODES      RUN   IN/s  OUT/s  CREDIT  IN FLIGHT  BUSY  IDLE  HELD");
  EXPECT_EQ(lines[2],
            "  2  sh -c 'while read -r n; do …  db1.ex…      2  12.6k  12.6k   12.6k      12.6k   99%    1%    0%");
}

TEST(TopView, AtSixtyColumnsTheRatesAndTheCreditAreLeftOut) {
  EXPECT_THAT(lines_within(60, wide_report()),
              ElementsAre("  #  STAGE         NODES    RUN  IN FLIGHT  BUSY  IDLE  HELD",
                          "  1  sh -c 'whil…  db1.…  ended          -    0%    0%  100%",
                          "  2  sh -c 'whil…  db1.…      2      12.6k   99%    1%    0%",
                          "  LINK         OF                    OUT  DROPPED  IN FLIGHT",
                          "  1 -> stdout  bytes, est.      2.00 MiB      0 B   1.00 MiB",
                          "               records             3.49k        0          7",
                          "  bottleneck: stage 2 `sh -c 'while…`, busy 99 % of the time"));
}

TEST(TopView, AtFortyFiveColumnsWhatStagesDoIsStillSeen) {
  std::vector<std::string> lines = lines_within(45, wide_report());
  EXPECT_EQ(lines[0], "  #  STAGE        IN FLIGHT  BUSY  IDLE  HELD");
  EXPECT_EQ(lines[3], "  LINK         OF                OUT  IN FLI…");
}

TEST(TopView, WhereThereIsRoomNothingIsShortened) {
  EXPECT_EQ(lines_of(wide_report(), 61'000, {.columns = 160})[1], lines_of(wide_report(), 61'000, {})[1]);
  EXPECT_THAT(lines_of(wide_report(), 61'000, {})[1],
              testing::ContainsRegex("# +STAGE +NODES +WORKERS +REC IN/s +REC OUT/s +READ +WRITTEN +CREDIT +IN FLIGHT "
                                     "+BUSY +IDLE +HELD"));
}

TEST(TopView, AColumnThatIsThereStaysWhenItsValuesGrow) {
  flow::FlowReport small = wide_report();
  small.stages[1].read_bytes = small.stages[1].written_bytes = small.stages[1].records_in = 0;
  small.stages[1].records_out = 0;
  small.counters.stages[0].running = true;
  for (std::size_t columns = 40; columns < 200; ++columns)
    EXPECT_EQ(lines_of(small, 61'000, {.columns = columns})[1],
              lines_of(wide_report(), 61'000, {.columns = columns})[1]);
}

TEST(TopView, WorkersKeepTheirNumbers) {
  flow::FlowReport many = wide_report();
  many.counters.stages[1].each_worker[1].number = 12;
  many.counters.stages[1].each_worker[1].pid = 4711;
  std::vector<std::string> lines = lines_of(many, 61'000, {.columns = 80, .workers = true});
  EXPECT_THAT(lines[4], HasSubstr(" worker 1 "));
  EXPECT_THAT(lines[5], HasSubstr(" worker 12 "));
}

TEST(TopView, ANarrowSentenceOfTheBottleneckLosesOnlyTheCommand) {
  flow::FlowReport report = wide_report();
  report.bottleneck = flow::Bottleneck{.kind = flow::Bottleneck::Kind::output, .stage = 0};
  EXPECT_THAT(
      lines_within(80, report).back(),
      testing::MatchesRegex("  bottleneck: who reads the output: stage 1 `s.*` is held back 100 % of the time"));
}

TEST(TopView, ACommandDoesNotMoveTheCursor) {
  flow::FlowReport evil = report();
  evil.counters.text = evil.counters.stages[0].command = "printf '\033[2J'\nrm";
  for (const std::string& line : lines_of(evil, 61'000, {}))
    EXPECT_THAT(line, AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\n"))));
}

TEST(TopView, WithoutASecondSampleThereIsNoShare) {
  flow::FlowMeter meter;
  flow::FlowReport first = meter.on_counters(flow_at(1s, 1000, {.busy = 1s}));
  EXPECT_EQ(bottleneck_text(first), "");
  auto json = nlohmann::json::parse(to_json({.flows = {first}}));
  EXPECT_TRUE(json["flows"][0]["stages"][0]["busy_percent"].is_null());
  EXPECT_TRUE(json["flows"][0]["bottleneck"].is_null());
}

TEST(TopView, JsonHasEverything) {
  auto json = nlohmann::json::parse(to_json({.flows = {report()}, .silent_nodes = {"n3"}, .unix_ms = 61'002}));
  EXPECT_EQ(json["time"], "1970-01-01T00:01:01.002Z");
  EXPECT_EQ(json["silent_nodes"][0], "n3");
  auto flow = json["flows"][0];
  EXPECT_EQ(flow["interval_ms"], 1000.0);
  EXPECT_EQ(flow["bottleneck"]["kind"], "stage");
  EXPECT_EQ(flow["bottleneck"]["stage"], 2);
  auto stage = flow["stages"][1];
  EXPECT_EQ(stage["busy_percent"], 99);
  EXPECT_EQ(stage["records_read_per_second"], 2500.0);
  EXPECT_EQ(stage["credit"], 4);
  EXPECT_EQ(stage["each_worker"][0]["pid"], 17);
  EXPECT_TRUE(stage["each_worker"][1]["pid"].is_null());
  EXPECT_TRUE(stage["each_worker"][1]["busy_percent"].is_null());
  EXPECT_TRUE(flow["stages"][0]["records_read"].is_null());
  EXPECT_EQ(flow["links"][0]["from"], 1);
  EXPECT_EQ(flow["links"][0]["stderr"], false);
  EXPECT_EQ(flow["links"][0]["records"]["in_flight"], 7);
  EXPECT_EQ(flow["links"][1]["stderr"], true);
}

TEST(TopView, NamesWhatIsOutsideOfTheFlow) {
  flow::FlowReport report = sluice::cli::report();
  report.bottleneck = flow::Bottleneck{.kind = flow::Bottleneck::Kind::input, .stage = 0};
  EXPECT_EQ(bottleneck_text(report), "the input: stage 1 `seq 9` waits for it 0 % of the time");
  report.bottleneck->kind = flow::Bottleneck::Kind::output;
  EXPECT_EQ(bottleneck_text(report), "who reads the output: stage 1 `seq 9` is held back 100 % of the time");
}

TEST(TopView, TellsOfNodesThatAreSilent) {
  EXPECT_THAT(head_lines({.silent_nodes = {"n2", "n3"}}, {}),
              ElementsAre("sluice top: no flow runs", "no answer from n2 n3; their flows are missing here"));
}

}  // namespace
}  // namespace sluice::cli
