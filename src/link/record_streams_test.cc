// Spreading and gathering between real pipes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <set>
#include <thread>

#include "base/pipe.h"
#include "link/record_gather.h"
#include "link/record_spread.h"

namespace sluice::link {
namespace {

using namespace std::chrono_literals;
using Kind = RecordStreamEnd::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kDeadline = 60s;

struct Ended {
  std::promise<RecordStreamEnd> promise;
  std::function<void(RecordStreamEnd)> tell() {
    return [this](RecordStreamEnd end) { promise.set_value(std::move(end)); };
  }
  RecordStreamEnd wait() {
    auto future = promise.get_future();
    EXPECT_EQ(future.wait_for(kDeadline), std::future_status::ready);
    return future.get();
  }
};

// Writes all and closes, on a thread of its own.
std::thread write_all(UniqueFd into, std::string text) {
  return std::thread([into = std::move(into), text = std::move(text)] {
    for (std::string_view rest = text; !rest.empty();) {
      ssize_t put = ::write(into.get(), rest.data(), rest.size());
      if (put <= 0) return;
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
  });
}

std::future<std::string> read_all(UniqueFd from) {
  return std::async(std::launch::async, [from = std::move(from)] {
    std::string text;
    char buffer[65536];
    for (ssize_t got = 0; (got = ::read(from.get(), buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(got));
    return text;
  });
}

std::string numbers(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
  return text;
}

std::multiset<std::string> lines_of(const std::string& text) {
  std::multiset<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find('\n', at);
    lines.insert(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

class RecordStreams : public testing::Test {
 protected:
  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }
  static Pipe pipe() { return make_pipe().value(); }
};

TEST_F(RecordStreams, EachRecordGoesToOneWorkerWhole) {
  constexpr int kWorkers = 4;
  Pipe source = pipe();
  std::vector<UniqueFd> into;
  std::vector<std::future<std::string>> outputs;
  for (int i = 0; i < kWorkers; ++i) {
    Pipe worker = pipe();
    into.push_back(std::move(worker.write_end));
    outputs.push_back(read_all(std::move(worker.read_end)));
  }
  std::string text = numbers(200'000);
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, ended.tell());
  ASSERT_TRUE(spread);
  std::thread writer = write_all(std::move(source.write_end), text);
  EXPECT_EQ(ended.wait().kind, Kind::ended);
  writer.join();
  std::string together;
  std::uint64_t given = 0;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    std::string got = outputs[i].get();
    EXPECT_FALSE(got.empty());
    EXPECT_EQ(lines_of(got).size(), spread->given(i));
    given += spread->given(i);
    together += got;
  }
  EXPECT_EQ(given, 200'000u);
  EXPECT_EQ(lines_of(together), lines_of(text));
}

TEST_F(RecordStreams, FewRecordsReachEveryWorker) {
  Pipe source = pipe(), one = pipe(), two = pipe();
  ASSERT_EQ(::write(source.write_end.get(), "1\n2\n", 4), 4);
  std::vector<UniqueFd> into;
  into.push_back(std::move(one.write_end));
  into.push_back(std::move(two.write_end));
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, ended.tell());
  source.write_end.reset();
  EXPECT_EQ(ended.wait().kind, Kind::ended);
  EXPECT_EQ(read_all(std::move(one.read_end)).get(), "1\n");
  EXPECT_EQ(read_all(std::move(two.read_end)).get(), "2\n");
}

TEST_F(RecordStreams, AStoppedWorkerHoldsUpNobodyElse) {
  Pipe source = pipe(), stopped = pipe(), reading = pipe();
  std::vector<UniqueFd> into;
  into.push_back(std::move(stopped.write_end));
  into.push_back(std::move(reading.write_end));
  auto output = read_all(std::move(reading.read_end));
  std::string text = numbers(500'000);
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, ended.tell());
  std::thread writer = write_all(std::move(source.write_end), text);
  writer.join();  // the tap is not closed though one worker reads nothing
  EXPECT_LE(spread->given(0), 8u) << "it is given little before it takes something";
  auto rest = read_all(std::move(stopped.read_end));
  EXPECT_EQ(ended.wait().kind, Kind::ended);
  std::string late = rest.get();
  EXPECT_LT(late.size(), text.size() / 2) << "all but its pipe and what may be in flight to it";
  EXPECT_EQ(lines_of(output.get() + late), lines_of(text));
}

TEST_F(RecordStreams, AWorkerThatClosesEarlyLeavesTheRestToOthers) {
  Pipe source = pipe(), closing = pipe(), reading = pipe();
  std::vector<UniqueFd> into;
  into.push_back(std::move(closing.write_end));
  into.push_back(std::move(reading.write_end));
  closing.read_end.reset();
  auto output = read_all(std::move(reading.read_end));
  std::string text = numbers(10'000);
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, ended.tell());
  std::thread writer = write_all(std::move(source.write_end), text);
  EXPECT_EQ(ended.wait().kind, Kind::ended);
  writer.join();
  EXPECT_EQ(lines_of(output.get()), lines_of(text));
}

TEST_F(RecordStreams, WhenNoWorkerReadsTheSourceIsClosed) {
  Pipe source = pipe(), worker = pipe();
  std::vector<UniqueFd> into;
  into.push_back(std::move(worker.write_end));
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, ended.tell());
  worker.read_end.reset();
  EXPECT_EQ(ended.wait().kind, Kind::reader_gone);
  EXPECT_EQ(::write(source.write_end.get(), "x\n", 2), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(RecordStreams, ARecordThatIsTooLongFailsAndTheWorkersStdinStaysOpen) {
  Pipe source = pipe(), worker = pipe();
  std::vector<UniqueFd> into;
  into.push_back(std::move(worker.write_end));
  RecordSpreadOptions options;
  options.cut.record_max = 10;
  Ended ended;
  auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), options, ended.tell());
  std::thread writer = write_all(std::move(source.write_end), "much longer than ten\n");
  RecordStreamEnd end = ended.wait();
  writer.join();
  EXPECT_EQ(end.kind, Kind::failed);
  EXPECT_THAT(end.why, HasSubstr("longer than 10 bytes"));
  pollfd look{.fd = worker.read_end.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&look, 1, 0), 0) << "no end of file";
  { RecordSpread over = *std::move(spread); }
  EXPECT_EQ(::poll(&look, 1, 0), 1);
}

TEST_F(RecordStreams, GatheredRecordsStayWhole) {
  constexpr int kWorkers = 3;
  std::vector<UniqueFd> from;
  std::vector<std::thread> writers;
  std::string all;
  for (int i = 0; i < kWorkers; ++i) {
    Pipe worker = pipe();
    from.push_back(std::move(worker.read_end));
    std::string text;
    for (int line = 0; line < 50'000; ++line)
      text += std::string(static_cast<std::size_t>(line % 50), static_cast<char>('a' + i)) + "\n";
    all += text;
    writers.push_back(write_all(std::move(worker.write_end), text));
  }
  Pipe sink = pipe();
  Ended ended;
  auto output = read_all(std::move(sink.read_end));
  auto gather = RecordGather::start(std::move(from), std::move(sink.write_end), {}, ended.tell());
  ASSERT_TRUE(gather);
  EXPECT_EQ(ended.wait().kind, Kind::ended);
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(lines_of(output.get()), lines_of(all));
  EXPECT_EQ(gather->taken(0), 50'000u);
}

TEST_F(RecordStreams, ARecordThatIsTooLongFailsTheGatherAndItsOutputStaysOpen) {
  Pipe worker = pipe(), sink = pipe();
  std::vector<UniqueFd> from;
  from.push_back(std::move(worker.read_end));
  RecordGatherOptions options;
  options.cut.record_max = 10;
  Ended ended;
  auto gather = RecordGather::start(std::move(from), std::move(sink.write_end), options, ended.tell());
  ASSERT_TRUE(gather);
  std::thread writer = write_all(std::move(worker.write_end), "much longer than ten\n");
  RecordStreamEnd end = ended.wait();
  writer.join();
  EXPECT_EQ(end.kind, Kind::failed);
  EXPECT_THAT(end.why, HasSubstr("worker 1: "));
  pollfd look{.fd = sink.read_end.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&look, 1, 0), 0) << "no end of file";
  { RecordGather over = *std::move(gather); }
  EXPECT_EQ(::poll(&look, 1, 0), 1);
}

TEST_F(RecordStreams, WhenNobodyReadsTheWorkersAreClosed) {
  Pipe worker = pipe(), sink = pipe();
  std::vector<UniqueFd> from;
  from.push_back(std::move(worker.read_end));
  Ended ended;
  auto gather = RecordGather::start(std::move(from), std::move(sink.write_end), {}, ended.tell());
  ASSERT_TRUE(gather);
  sink.read_end.reset();
  EXPECT_EQ(ended.wait().kind, Kind::reader_gone);
  EXPECT_EQ(::write(worker.write_end.get(), "x\n", 2), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(RecordStreams, AStopEndsWhatIsWaiting) {
  Pipe source = pipe(), worker = pipe(), sink = pipe(), input = pipe();
  std::vector<UniqueFd> into, from;
  into.push_back(std::move(worker.write_end));
  from.push_back(std::move(input.read_end));
  Ended spread_ended, gather_ended;
  {
    auto spread = RecordSpread::start(std::move(source.read_end), std::move(into), {}, spread_ended.tell());
    auto gather = RecordGather::start(std::move(from), std::move(sink.write_end), {}, gather_ended.tell());
    ASSERT_TRUE(spread && gather);
  }
  EXPECT_EQ(spread_ended.wait().kind, Kind::reader_gone);
  EXPECT_EQ(gather_ended.wait().kind, Kind::reader_gone);
}

}  // namespace
}  // namespace sluice::link
