// Records that meet between real pipes.
#include "link/junction_pump.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <future>
#include <set>
#include <thread>

#include "base/pipe.h"
#include "link/spill_file.h"

namespace sluice::link {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using Kind = RecordStreamEnd::Kind;
using testing::HasSubstr;

constexpr auto kDeadline = 60s;

std::thread write_all(UniqueFd into, std::string text) {
  return std::thread([into = std::move(into), text = std::move(text)] {
    for (std::string_view rest = text; !rest.empty();) {
      ssize_t put = ::write(into.get(), rest.data(), rest.size());
      if (put <= 0) return;
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
  });
}

std::string read_to_end(const UniqueFd& from) {
  std::string text;
  char buffer[65536];
  for (ssize_t got = 0; (got = ::read(from.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

std::future<std::string> read_all(UniqueFd from) {
  return std::async(std::launch::async, [from = std::move(from)] { return read_to_end(from); });
}

std::string numbered(const char* mark, int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += mark + std::to_string(i) + "\n";
  return text;
}

class JunctionPumps : public testing::Test {
 protected:
  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }

  // A pipe into the pump; returns the end to write to.
  UniqueFd input(PumpInput options = {}) {
    Pipe pipe = make_pipe().value();
    options.from = std::move(pipe.read_end);
    options.name = "input " + std::to_string(plan_.inputs.size());
    plan_.inputs.push_back(std::move(options));
    return std::move(pipe.write_end);
  }
  UniqueFd output() {
    Pipe pipe = make_pipe().value();
    plan_.outputs.push_back({.into = std::move(pipe.write_end), .name = "output"});
    return std::move(pipe.read_end);
  }
  void link(std::size_t from, std::size_t to, SlowRule slow = SlowRule::block, std::uint64_t capacity = 0) {
    PumpLink link{.link = {.input = from, .output = to, .slow = slow},
                  .name = "link " + std::to_string(plan_.links.size())};
    if (capacity > 0) link.link.store = std::make_unique<SpillFile>(SpillFile::open("/tmp", capacity).value());
    plan_.links.push_back(std::move(link));
  }
  JunctionPump start() {
    return JunctionPump::start(
               std::move(plan_), [this](std::size_t output) { over_.insert(output); },
               [this](RecordStreamEnd end) { end_.set_value(std::move(end)); })
        .value();
  }
  // Whatever the pump does meanwhile.
  static JunctionPump::Counts balanced_counts(const JunctionPump& pump, std::size_t link) {
    JunctionPump::Counts counts = pump.counts(link);
    EXPECT_GE(counts.bytes.in, counts.bytes.out + counts.bytes.dropped);
    EXPECT_GE(counts.records.in, counts.records.out + counts.records.dropped);
    return counts;
  }
  template <class Condition>
  static void wait_until(Condition&& condition) {
    auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!condition() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  }
  static void expect_nothing_under_way(const JunctionPump::Counts& counts) {
    EXPECT_EQ(counts.bytes.in, counts.bytes.out + counts.bytes.dropped);
    EXPECT_EQ(counts.records.in, counts.records.out + counts.records.dropped);
  }
  RecordStreamEnd wait() {
    auto future = end_.get_future();
    EXPECT_EQ(future.wait_for(kDeadline), std::future_status::ready);
    return future.get();
  }

  PumpPlan plan_;
  std::set<std::size_t> over_;  // to be looked at when the pump has ended
  std::promise<RecordStreamEnd> end_;
};

TEST_F(JunctionPumps, CopiesBytesAsTheyAre) {
  std::string text = "no line end, and a zero\0 byte"s;
  for (int i = 0; i < 300'000; ++i) text.push_back(static_cast<char>(i * 7));
  UniqueFd from = input();
  auto one = read_all(output()), other = read_all(output());
  link(0, 0);
  link(0, 1, SlowRule::spill, 100'000);
  JunctionPump pump = start();
  std::thread writer = write_all(std::move(from), text);
  EXPECT_EQ(one.get(), text);
  EXPECT_EQ(other.get(), text);
  writer.join();
  EXPECT_EQ(wait().kind, Kind::ended);
  EXPECT_EQ(over_, (std::set<std::size_t>{0, 1}));
  EXPECT_EQ(pump.counts(0).bytes.out, text.size());
  EXPECT_FALSE(pump.counts(0).records_known);
}

TEST_F(JunctionPumps, MergesWholeRecordsOfMany) {
  constexpr int kEach = 20'000;
  std::vector<std::thread> writers;
  std::vector<UniqueFd> from;
  for (int i = 0; i < 3; ++i) from.push_back(input());
  auto merged = read_all(output());
  for (std::size_t i = 0; i < 3; ++i) link(i, 0);
  JunctionPump pump = start();
  std::multiset<std::string> expected, found;
  for (int i = 0; i < 3; ++i) {
    std::string text = numbered(std::string(100, static_cast<char>('a' + i)).c_str(), kEach);
    writers.push_back(write_all(std::move(from[static_cast<std::size_t>(i)]), text));
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
      expected.insert(text.substr(at, text.find('\n', at) - at));
  }
  std::string text = merged.get();
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    found.insert(text.substr(at, text.find('\n', at) - at));
  EXPECT_EQ(found, expected);
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(wait().kind, Kind::ended);
  EXPECT_EQ(pump.counts(0).records.out, kEach);
}

TEST_F(JunctionPumps, WritesOtherFramingsAsTheyWere) {
  UniqueFd json = input({.from = {}, .name = {}, .cut = {.framing = RecordFraming::json}});
  UniqueFd sized = input({.from = {}, .name = {}, .cut = {.framing = RecordFraming::len}});
  auto merged = read_all(output());
  link(0, 0);
  link(1, 0);
  JunctionPump pump = start();
  write_all(std::move(json), R"({"a": 1} [2])").join();
  write_all(std::move(sized), std::string("\0\0\0\2xy", 6)).join();
  EXPECT_THAT(merged.get(), testing::AnyOf("{\"a\": 1}\n[2]\n\0\0\0\2xy"s, "\0\0\0\2xy{\"a\": 1}\n[2]\n"s,
                                           "{\"a\": 1}\n\0\0\0\2xy[2]\n"s));
  EXPECT_EQ(wait().kind, Kind::ended);
  for (std::size_t number : {0, 1}) expect_nothing_under_way(pump.counts(number));
  EXPECT_EQ(pump.counts(0).bytes.in, std::strlen("{\"a\": 1}\n[2]\n"));
  EXPECT_EQ(pump.counts(1).bytes.in, 6u);
}

TEST_F(JunctionPumps, StreamThatEndsWithinALineStaysSoIfItIsTheLast) {
  for (bool is_last : {true, false}) {
    UniqueFd from = input(), other = input();
    auto merged = read_all(output());
    link(0, 0);
    link(1, 0);
    JunctionPump pump = start();
    if (is_last) other.reset();
    write_all(std::move(from), "whole\na part").join();
    if (!is_last) {
      while (pump.counts(0).records.out < 2) std::this_thread::yield();
      write_all(std::move(other), "behind\n").join();
    }
    EXPECT_EQ(merged.get(), is_last ? "whole\na part" : "whole\na part\nbehind\n");
    EXPECT_EQ(wait().kind, Kind::ended);
    for (std::size_t number : {0, 1}) expect_nothing_under_way(pump.counts(number));
    EXPECT_EQ(pump.counts(0).bytes.in, std::strlen("whole\na part"));
    EXPECT_EQ(pump.counts(1).bytes.in, is_last ? 0 : std::strlen("\nbehind\n")) << "with what was owed";
    end_ = {};
    plan_ = {};
  }
}

TEST_F(JunctionPumps, ReaderThatLeavesEndsNobodyElse) {
  UniqueFd from = input();
  UniqueFd leaves = output();
  auto stays = read_all(output());
  link(0, 0);
  link(0, 1);
  JunctionPump pump = start();
  leaves.reset();
  std::string text = numbered("", 100'000);
  write_all(std::move(from), text).join();
  EXPECT_EQ(stays.get(), text);
  EXPECT_EQ(wait().kind, Kind::ended);
}

TEST_F(JunctionPumps, WriterHearsThatNobodyReads) {
  UniqueFd from = input();
  output().reset();
  output().reset();
  link(0, 0);
  link(0, 1);
  JunctionPump pump = start();
  EXPECT_EQ(wait().kind, Kind::reader_gone);
  EXPECT_EQ(::write(from.get(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(JunctionPumps, DropsForTheSlowOneAndCounts) {
  UniqueFd from = input();
  UniqueFd slow = output();
  auto quick = read_all(output());
  link(0, 0, SlowRule::drop);
  link(0, 1);
  JunctionPump pump = start();
  constexpr int kCount = 2'000'000;
  std::string text = numbered("", kCount);
  std::thread writer = write_all(std::move(from), text);
  wait_until([&] {
    EXPECT_EQ(balanced_counts(pump, 1).bytes.dropped, 0u);
    return balanced_counts(pump, 0).bytes.in >= text.size();
  });
  EXPECT_EQ(quick.get().size(), text.size());
  writer.join();
  JunctionPump::Counts before = pump.counts(0);
  EXPECT_GT(before.bytes.dropped, 0u);
  EXPECT_GT(before.bytes.in, before.bytes.out + before.bytes.dropped) << "what waits for the slow one";
  std::string kept = read_to_end(slow);
  EXPECT_EQ(wait().kind, Kind::ended);
  auto lines = static_cast<std::uint64_t>(std::ranges::count(kept, '\n'));
  EXPECT_EQ(pump.counts(0).records.out, lines);
  EXPECT_EQ(pump.counts(0).records.dropped + lines, kCount);
  EXPECT_EQ(pump.counts(0).dropped_by_rule, pump.counts(0).records.dropped);
  EXPECT_EQ(pump.counts(0).bytes.in, text.size());
  EXPECT_EQ(pump.counts(0).bytes.out, kept.size());
  for (std::size_t number : {0, 1}) expect_nothing_under_way(pump.counts(number));
}

// The last line has no end, and is dropped as it is.
TEST_F(JunctionPumps, DropsOfAStreamThatEndsWithinALineAreCounted) {
  UniqueFd from = input();
  UniqueFd slow = output();
  link(0, 0, SlowRule::drop);
  JunctionPump pump = start();
  std::string text = numbered("", 1'000'000) + "and";
  write_all(std::move(from), text).join();
  wait_until([&] { return balanced_counts(pump, 0).bytes.in >= text.size(); });
  std::string kept = read_to_end(slow);
  EXPECT_EQ(wait().kind, Kind::ended);
  EXPECT_THAT(kept, testing::EndsWith("\n"));
  JunctionPump::Counts counts = pump.counts(0);
  EXPECT_EQ(counts.bytes.in, text.size());
  EXPECT_EQ(counts.bytes.dropped, text.size() - kept.size());
  expect_nothing_under_way(counts);
}

TEST_F(JunctionPumps, WhatWaitsForAReaderThatLeavesCountsAsDropped) {
  UniqueFd from = input();
  UniqueFd leaves = output();
  auto stays = read_all(output());
  link(0, 0, SlowRule::spill, 100 << 20);
  link(0, 1, SlowRule::spill, 100 << 20);
  JunctionPump pump = start();
  std::string text = numbered("", 500'000);
  write_all(std::move(from), text).join();
  EXPECT_EQ(stays.get(), text);
  JunctionPump::Counts before = pump.counts(0);
  EXPECT_EQ(before.bytes.in, text.size());
  EXPECT_GT(before.bytes.in, before.bytes.out);
  EXPECT_EQ(before.bytes.dropped, 0u);
  leaves.reset();
  EXPECT_EQ(wait().kind, Kind::ended);
  JunctionPump::Counts counts = pump.counts(0);
  EXPECT_EQ(counts.bytes.in, text.size());
  EXPECT_GT(counts.bytes.dropped, 0u);
  EXPECT_EQ(counts.dropped_by_rule, 0u);
  expect_nothing_under_way(counts);
}

TEST_F(JunctionPumps, OfSharedRecordsALinkIsWhatItWasGiven) {
  UniqueFd from = input({.from = {}, .name = {}, .cut = {}, .shares = true});
  auto one = read_all(output()), other = read_all(output());
  link(0, 0);
  link(0, 1);
  JunctionPump pump = start();
  std::string text = numbered("", 200'000);
  std::thread writer = write_all(std::move(from), text);
  wait_until([&] { return balanced_counts(pump, 0).bytes.in + balanced_counts(pump, 1).bytes.in >= text.size(); });
  std::string got = one.get();
  EXPECT_EQ(got.size() + other.get().size(), text.size());
  writer.join();
  EXPECT_EQ(wait().kind, Kind::ended);
  EXPECT_EQ(pump.counts(0).bytes.in, got.size());
  EXPECT_EQ(pump.counts(0).records.in + pump.counts(1).records.in, 200'000u);
  for (std::size_t number : {0, 1}) expect_nothing_under_way(pump.counts(number));
}

TEST_F(JunctionPumps, SpillHoldsWhatTheSlowOneCannotTake) {
  UniqueFd from = input();
  UniqueFd slow = output();
  auto quick = read_all(output());
  link(0, 0, SlowRule::spill, 100 << 20);
  link(0, 1);
  JunctionPump pump = start();
  std::string text = numbered("", 2'000'000);
  std::thread writer = write_all(std::move(from), text);
  EXPECT_EQ(quick.get().size(), text.size()) << "before anybody has read the other";
  writer.join();
  EXPECT_EQ(read_to_end(slow), text);
  EXPECT_EQ(wait().kind, Kind::ended);
  EXPECT_GT(pump.counts(0).spilled_most, 1u << 20);
}

TEST_F(JunctionPumps, StopsThoughItNeverWaits) {
  plan_.inputs.push_back({.from = UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), .name = "zeros"});
  plan_.outputs.push_back({.into = UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), .name = "null"});
  link(0, 0);
  {
    JunctionPump pump = start();
    while (pump.bytes_read(0) < 10 << 20) std::this_thread::yield();
  }
  EXPECT_EQ(wait().kind, Kind::reader_gone);
}

TEST_F(JunctionPumps, FailureIsToldAndKeepsTheReadersWaiting) {
  UniqueFd from = input({.from = {}, .name = {}, .cut = {.record_max = 10}});
  UniqueFd other = input();
  UniqueFd into = output();
  link(0, 0);
  link(1, 0);
  {
    JunctionPump pump = start();
    write_all(std::move(from), "far too long a record\n").join();
    RecordStreamEnd end = wait();
    EXPECT_EQ(end.kind, Kind::failed);
    EXPECT_THAT(end.why, HasSubstr("input 0: record 1 or one soon after it is longer than 10 bytes"));
    ::fcntl(into.get(), F_SETFL, O_NONBLOCK);
    char byte = 0;
    EXPECT_EQ(::read(into.get(), &byte, 1), -1) << "no end of file yet";
  }
  EXPECT_EQ(read_to_end(into), "");
}

}  // namespace
}  // namespace sluice::link
