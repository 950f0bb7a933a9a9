#include "node/job_stage_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "link/stoppable_thread.h"
#include "node/job_stage_runner.h"

namespace sluice::node {
namespace {

using link::LocalStream;

class JobStageThread final : public JobStage {
 public:
  JobStageThread(std::vector<LocalStream> from, JobStageStreams streams, JobStageOptions options, std::uint32_t workers)
      : frame_(std::move(from), std::move(streams), std::move(options), workers) {}

  // Errors: errno.
  std::expected<void, int> start(LocalStream into, const MakeJobStageWork& make_work,
                                 std::function<void(JobStageEnd)> on_end) {
    wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) return std::unexpected(errno);
    work_ = make_work(frame_, std::move(into));
    return thread_.start([this, on_end = std::move(on_end)](int stop) {
      on_end(JobStageRunner(frame_, *work_).run(stop, wake_.get()));  // before anybody hears that the program has ended
      frame_.close_jobs();
    });
  }

  void stop_starting() override {
    frame_.stop_starting();
    std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  void set_workers(std::uint32_t workers) override {
    frame_.set_workers(workers);
    std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  void add_seat(exec::JobClient seat) override {
    frame_.add_seat(std::move(seat));
    std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  JobStageCounts counts() const override { return frame_.published(); }

 private:
  UniqueFd wake_;
  JobStageFrame frame_;
  std::unique_ptr<JobStageWork> work_;  // with what it keeps open
  link::StoppableThread thread_;        // goes first
};

}  // namespace

std::expected<std::unique_ptr<JobStage>, int> start_job_stage(JobStageStreams streams, JobStageOptions options,
                                                              std::uint32_t workers, const MakeJobStageWork& make_work,
                                                              std::function<void(JobStageEnd)> on_end) {
  std::vector<LocalStream> from;
  for (auto& [descriptor, is_ours] : streams.from) {
    auto link = LocalStream::open(std::move(descriptor), LocalStream::Direction::from, is_ours);
    if (!link) return std::unexpected(link.error());
    from.push_back(*std::move(link));
  }
  auto into = LocalStream::open(std::move(streams.into.descriptor), LocalStream::Direction::into, streams.into.is_ours);
  if (!into) return std::unexpected(into.error());
  auto stage = std::make_unique<JobStageThread>(std::move(from), std::move(streams), std::move(options), workers);
  if (auto started = stage->start(*std::move(into), make_work, std::move(on_end)); !started)
    return std::unexpected(started.error());
  return std::unique_ptr<JobStage>(std::move(stage));
}

}  // namespace sluice::node
