#include "node/spread_jobs.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <optional>
#include <utility>

#include "flow/quoting.h"
#include "link/stoppable_thread.h"
#include "node/job_trouble.h"

namespace sluice::node {
namespace {

constexpr std::size_t kCommandColumns = 60;  // in a message

class SpreadJobs final : public JobStage {
 public:
  SpreadJobs(StageJobs jobs, SpreadJobsOptions options) : jobs_(std::move(jobs)), options_(std::move(options)) {}

  // Errors: errno.
  std::expected<void, int> start(std::vector<SpreadWorkerStreams> workers, std::function<void(JobStageEnd)> on_end) {
    for (std::uint32_t worker = 0; worker < workers.size(); ++worker) {
      auto started = start_worker(worker, workers[worker]);
      if (!started) return started;
    }
    left_ = workers.size();
    counts_.workers.resize(workers.size());
    counts_.jobs = workers.size();
    return thread_.start([this, on_end = std::move(on_end)](int stop) {
      on_end(run(stop));
      jobs_.close();
    });
  }

  void stop_starting() override {}
  void add_seat(exec::JobClient) override {}   // its records would be lost with whoever leaves
  void set_workers(std::uint32_t) override {}  // they are as many as the streams that their records come on
  JobStageCounts counts() const override {
    std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  using Kind = JobStageEnd::Kind;

  // Its input is guarded on the other host: here we, who feed it, would die with it.
  std::expected<void, int> start_worker(std::uint32_t worker, const SpreadWorkerStreams& streams) {
    exec::JobNumber job = worker + 1;
    auto started = jobs_.start(
        job, worker, {},
        {.input = streams.input.get(), .output = streams.output.get(), .input_guard = streams.output.get()});
    if (started) jobs_.release_input(job);
    return started;
  }

  JobStageEnd run(int stop) {
    while (!end_ && left_ > 0) {
      pollfd polled[] = {{.fd = stop, .events = POLLIN, .revents = 0},
                         {.fd = jobs_.descriptor(), .events = jobs_.events(), .revents = 0}};
      ::poll(polled, 2, -1);
      if (polled[0].revents != 0) return {.kind = Kind::reader_gone};
      jobs_.flush();
      bool open = jobs_.receive();
      while (auto event = jobs_.poll_event()) std::visit([this](const auto& what) { handle(what); }, *event);
      if (!open) break;
    }
    return end_ ? *end_ : JobStageEnd{.kind = Kind::ended, .status = worst_};
  }

  void breaks(int status, std::string why) {
    if (end_) return;
    end_ = JobStageEnd{.kind = Kind::broken, .status = exec::ProcessStatus::exited(status), .why = std::move(why)};
  }
  std::string command() const { return "`" + flow::on_one_line(options_.text, kCommandColumns) + "`"; }

  void handle(const exec::JobStarted&) {}
  void handle(const exec::JobsRefused&) {}  // nobody has joined

  void handle(const exec::JobFailed& failed) {
    --left_;
    if (failed.error == ECANCELED) {  // the flow is being ended
      worst_ = exec::ProcessStatus::ended_by(SIGTERM);
      return;
    }
    int status = failed.action != "execute" ? 125 : failed.error == ENOENT ? 127 : 126;
    breaks(status, fmt::format("cannot {} {}: {}", failed.action, command(), trouble(failed.error)));
  }

  void handle(const exec::JobEnded& ended) {
    --left_;
    auto status = exec::ProcessStatus::from_wait(ended.wait_status);
    {
      std::lock_guard lock(mutex_);
      counts_.cpu_us += ended.user_us + ended.system_us;
      counts_.peak_memory_bytes = std::max(counts_.peak_memory_bytes, ended.peak_memory_bytes);
    }
    bool lost = status.by_signal() && status.signal() != SIGPIPE;
    if (lost && !options_.losses_allowed)
      return breaks(status.shell_status(),
                    fmt::format("worker {} {} was ended by signal {}, or its host was lost: what it had been given is "
                                "lost, and the flow is ended (--on-loss=continue goes on)",
                                ended.job, command(), status.signal()));
    bool forgiven = lost && left_ + ended_well_ > 0;
    if (!lost) ++ended_well_;
    if (lost) {
      std::lock_guard lock(mutex_);
      counts_.workers[ended.job - 1].lost = true;
    }
    if (!forgiven && status.shell_status() > worst_.shell_status()) worst_ = status;
  }

  StageJobs jobs_;
  SpreadJobsOptions options_;
  std::size_t left_ = 0;
  std::size_t ended_well_ = 0;
  exec::ProcessStatus worst_ = exec::ProcessStatus::exited(0);
  std::optional<JobStageEnd> end_;
  mutable std::mutex mutex_;
  JobStageCounts counts_;
  link::StoppableThread thread_;  // goes first
};

}  // namespace

std::expected<std::unique_ptr<JobStage>, int> start_spread_jobs(StageJobs jobs,
                                                                std::vector<SpreadWorkerStreams> workers,
                                                                SpreadJobsOptions options,
                                                                std::function<void(JobStageEnd)> on_end) {
  auto stage = std::make_unique<SpreadJobs>(std::move(jobs), std::move(options));
  if (auto started = stage->start(std::move(workers), std::move(on_end)); !started)
    return std::unexpected(started.error());
  return std::unique_ptr<JobStage>(std::move(stage));
}

}  // namespace sluice::node
