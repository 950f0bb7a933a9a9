#pragma once
// The thread of a stage of jobs: opens its streams, runs its runner until it says how the stage has ended, and tells it
// to stop.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "link/local_stream.h"
#include "link/stoppable_thread.h"
#include "node/job_stage.h"

namespace sluice::node {

/// `Runner` is made of both streams, what else there is of JobStageStreams, and its options.
template <class Runner>
class JobStageThread final : public JobStage {
 public:
  /// Errors: errno; no thread can be started, no descriptor is left, or nobody reads where it writes (EPIPE).
  template <class Options>
  static std::expected<std::unique_ptr<JobStage>, int> start(JobStageStreams streams, Options options,
                                                             std::function<void(JobStageEnd)> on_end) {
    using link::LocalStream;
    auto from = LocalStream::open(std::move(streams.from), LocalStream::Direction::from, streams.from_is_ours);
    if (!from) return std::unexpected(from.error());
    auto into = LocalStream::open(std::move(streams.into), LocalStream::Direction::into, streams.into_is_ours);
    if (!into) return std::unexpected(into.error());
    auto stage = std::unique_ptr<JobStageThread>(new JobStageThread);
    stage->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stage->wake_) return std::unexpected(errno);
    stage->runner_ =
        std::make_unique<Runner>(*std::move(from), *std::move(into), std::move(streams), std::move(options));
    auto started = stage->thread_.start(
        [runner = stage->runner_.get(), wake = stage->wake_.get(), on_end = std::move(on_end)](int stop) {
          on_end(runner->run(stop, wake));  // before anybody hears that the program has ended
          runner->close_jobs();
        });
    if (!started) return std::unexpected(started.error());
    return std::unique_ptr<JobStage>(std::move(stage));
  }

  void stop_starting() override {
    runner_->stop_starting();
    wake();
  }
  void add_seat(exec::JobClient seat) override {
    runner_->add_seat(std::move(seat));
    wake();
  }
  JobStageCounts counts() const override { return runner_->counts(); }

 private:
  JobStageThread() = default;
  void wake() {
    std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }

  UniqueFd wake_;
  std::unique_ptr<Runner> runner_;  // with what it keeps open
  link::StoppableThread thread_;    // goes first
};

}  // namespace sluice::node
