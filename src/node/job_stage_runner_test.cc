#include "node/job_stage_runner.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>
#include <utility>

#include "base/pipe.h"
#include "exec/job_client.h"

namespace sluice::node {
namespace {

using namespace std::chrono_literals;
using link::LocalStream;

// Every record is one worker's, and settled one step later, unless the work is told to keep it.
class FakeWork final : public JobStageWork {
 public:
  FakeWork(JobStageFrame& frame, LocalStream into) : frame_(frame), into_(std::move(into)) {}

  bool wants_input(LinkNumber) const override { return true; }
  bool take(LinkNumber link, link::RecordBatch& records) override {
    return frame_.hand_over(link, records,
                            [this](link::RecordBatch batch, std::uint32_t lane) { on_batch(std::move(batch), lane); });
  }
  void on_batch(link::RecordBatch batch, std::uint32_t lane = 0) {
    frame_.counts().workers[lane].in_flight += batch.count();
    taken += batch.bytes();
    lanes.push_back(lane);
    ids.push_back(batch.first());
  }
  void set_workers(std::uint32_t) override {}
  void on_joined(std::uint32_t) override {}
  void on_leaving(std::uint32_t) override {}
  bool retired(std::uint32_t) const override { return false; }
  void on_source_end(LinkNumber) override { ++ended_links_; }
  bool drive() override {
    if (keeps) return false;
    for (auto& worker : frame_.counts().workers) frame_.counts().records_settled += std::exchange(worker.in_flight, 0);
    return false;
  }
  bool pass_on() override { return false; }
  std::optional<Dead> poll_dead() override { return std::nullopt; }
  void on_buried(const Dead&) override {}
  int output_descriptor() const override { return into_.descriptor(); }
  bool output_waits() const override { return false; }
  void on_reader_gone() override { ++readers_gone; }
  void close_output() override { into_ = LocalStream(); }
  bool output_is_open() const { return static_cast<bool>(into_); }
  void on_failed(const exec::JobFailed&) override {}
  void on_ended(const exec::JobEnded&) override {}
  void stop() override { ++stops; }
  void add_waits(std::vector<pollfd>&) override {}
  void on_ready(std::span<const pollfd>) override {}
  void after_wait() override {}
  std::optional<TimePoint> deadline() override { return std::nullopt; }
  std::optional<std::pair<int, std::string>> poll_broken() override { return broken; }
  bool finished() const override { return ended_links_ == frame_.taps().size(); }
  bool none_runs() const override { return true; }
  exec::ProcessStatus status() const override { return frame_.worst(); }
  void count() override {}
  link::WorkerState state_of(std::uint32_t worker) const override {
    return frame_.counts().workers[worker].in_flight > 0 ? link::WorkerState::busy : link::WorkerState::idle;
  }

  bool keeps = false;
  std::optional<std::pair<int, std::string>> broken;
  std::string taken;
  std::vector<std::uint32_t> lanes;
  std::vector<link::RecordId> ids;  // of the first of each batch
  int stops = 0, readers_gone = 0;

 private:
  JobStageFrame& frame_;
  LocalStream into_;
  std::size_t ended_links_ = 0;
};

LocalStream opened(UniqueFd descriptor, LocalStream::Direction direction) {
  return *LocalStream::open(std::move(descriptor), direction, true);
}

struct Stage {
  explicit Stage(JobStageOptions options = {}, int links = 1) : options_(std::move(options)), links_(links) {}

  void write(std::string_view bytes) {
    ASSERT_EQ(::write(input.write_end.get(), bytes.data(), bytes.size()), bytes.size());
  }
  JobStageEnd run() { return JobStageRunner(frame, work).run(stop.get(), wake.get()); }

  Pipe input = *make_pipe(), second = *make_pipe(), output = *make_pipe();
  std::pair<exec::JobClient, UniqueFd> socket = *exec::JobClient::make();
  UniqueFd stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}, wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

 private:
  JobStageOptions options_;
  int links_;

  std::vector<LocalStream> sources() {
    std::vector<LocalStream> from;
    from.push_back(opened(std::move(input.read_end), LocalStream::Direction::from));
    if (links_ == 2) from.push_back(opened(std::move(second.read_end), LocalStream::Direction::from));
    return from;
  }
  JobStageStreams streams() {
    JobStageStreams all;
    all.jobs = StageJobs(std::move(socket.first));
    return all;
  }

 public:
  JobStageFrame frame{sources(), streams(), options_, 2};
  FakeWork work{frame, opened(std::move(output.write_end), LocalStream::Direction::into)};
};

TEST(JobStageRunner, TakesAllRecordsAndThenEnds) {
  Stage stage;
  stage.write("a\nb\n");
  stage.input.write_end.reset();
  JobStageEnd end = stage.run();
  EXPECT_EQ(end.kind, JobStageEnd::Kind::ended);
  EXPECT_TRUE(end.status.success());
  EXPECT_EQ(stage.work.taken, "a\nb\n");
  EXPECT_FALSE(stage.work.output_is_open());
  EXPECT_EQ(stage.frame.published().input_bytes, 4u);
}

TEST(JobStageRunner, AddsUpWhatItHasReadWhileAWorkerKeepsSome) {
  Stage stage;
  stage.work.keeps = true;
  stage.write("a\nb\nc\n");
  std::thread runs([&] { stage.run(); });
  while (stage.frame.published().records_read < 3) std::this_thread::yield();
  JobStageCounts counts = stage.frame.published();
  EXPECT_EQ(counts.workers[0].in_flight, 3u);
  EXPECT_EQ(counts.records_settled + counts.dead + counts.workers[0].in_flight + counts.waiting, counts.records_read);
  // It is busy now, and time goes on in that state alone.
  JobStageCounts later = stage.frame.published();
  while (later.workers[0].times.total() == counts.workers[0].times.total()) later = stage.frame.published();
  EXPECT_GT(later.workers[0].times.busy, counts.workers[0].times.busy);
  EXPECT_EQ(later.workers[0].times.idle, counts.workers[0].times.idle);
  EXPECT_EQ(later.workers[1].times.busy, Duration{});
  EXPECT_EQ(later.workers[0].times.total(), later.workers[1].times.total());
  stage.input.write_end.reset();
  runs.join();
}

TEST(JobStageRunner, GivesTheSameKeyToTheSameWorker) {
  JobStageOptions options;
  options.by = *flow::RecordKey::read("1");
  Stage stage(std::move(options));
  stage.write("x,1\ny,2\nx,3\n");
  stage.input.write_end.reset();
  stage.run();
  ASSERT_EQ(stage.work.lanes.size(), 3u);
  EXPECT_EQ(stage.work.lanes[0], stage.work.lanes[2]);
}

TEST(JobStageRunner, ReadsEachLinkAndNumbersItsRecordsAsTheyCome) {
  Stage stage({}, 2);
  stage.write("a\nb\n");
  stage.input.write_end.reset();
  ASSERT_EQ(::write(stage.second.write_end.get(), "c\n", 2), 2);
  stage.second.write_end.reset();
  EXPECT_EQ(stage.run().kind, JobStageEnd::Kind::ended);
  EXPECT_EQ(stage.work.taken, "a\nb\nc\n");
  EXPECT_EQ(stage.work.ids, (std::vector<link::RecordId>{1, 3}));
  JobStageCounts counts = stage.frame.published();
  ASSERT_EQ(counts.links.size(), 2u);
  EXPECT_EQ(counts.links[0].records_read, 2u);
  EXPECT_EQ(counts.links[1].bytes, 2u);
  EXPECT_EQ(counts.input_bytes, 6u);
}

TEST(JobStageRunner, EndsAsAWriterDoesWhoseReaderHasLeft) {
  Stage stage;
  stage.output.read_end.reset();
  JobStageEnd end = stage.run();
  EXPECT_EQ(end.kind, JobStageEnd::Kind::reader_gone);
  EXPECT_EQ(end.status, exec::ProcessStatus::ended_by(SIGPIPE));
  EXPECT_EQ(stage.work.readers_gone, 1);
  EXPECT_GE(stage.work.stops, 1);
  pollfd tap{.fd = stage.input.write_end.get(), .events = POLLOUT, .revents = 0};
  ::poll(&tap, 1, 0);
  EXPECT_TRUE(tap.revents & POLLERR) << "it is closed";
}

TEST(JobStageRunner, KeepsItsOutputOpenWhenItIsBroken) {
  Stage stage;
  stage.work.broken = std::pair(3, "it failed");
  JobStageEnd end = stage.run();
  EXPECT_EQ(end.kind, JobStageEnd::Kind::broken);
  EXPECT_EQ(end.status, exec::ProcessStatus::exited(3));
  EXPECT_EQ(end.why, "it failed");
  EXPECT_TRUE(stage.work.output_is_open());
}

TEST(JobStageRunner, EndsWhenTheFlowDoesAndNothingRuns) {
  Stage stage;
  stage.frame.stop_starting();
  EXPECT_EQ(stage.run().kind, JobStageEnd::Kind::ended);
}

TEST(JobStageRunner, EndsAtOnceWhenItIsToldTo) {
  Stage stage;
  std::uint64_t one = 1;
  ASSERT_EQ(::write(stage.stop.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  EXPECT_EQ(stage.run().kind, JobStageEnd::Kind::reader_gone);
}

}  // namespace
}  // namespace sluice::node
