#pragma once
// Runs a stage of jobs: reads its records, asks its work to go on, waits when nothing moves, and says how it has ended.
// Threading: run() is the thread of the stage.
#include <cstdint>
#include <optional>
#include <vector>

#include "node/job_stage_frame.h"
#include "node/job_stage_work.h"

namespace sluice::node {

class JobStageRunner final {
 public:
  /// Both outlive it.
  JobStageRunner(JobStageFrame& frame, JobStageWork& work)
      : frame_(frame), work_(work), told_end_(frame.taps().size()) {}

  /// `stop`: readable when it is to end at once. `wake`: an eventfd; something was asked of the frame.
  JobStageEnd run(int stop, int wake);

 private:
  bool step();
  void hear_changes();
  using LinkNumber = JobStageWork::LinkNumber;
  bool reads(LinkNumber link) const;
  bool read();
  bool read(LinkNumber link);
  bool bury();
  void judge();
  void publish();
  void see_to_reader();
  bool wait(int stop, int wake, bool blocks);
  void hear_jobs();
  int timeout_ms(bool in_background);

  JobStageFrame& frame_;
  JobStageWork& work_;
  std::vector<pollfd> polled_;
  std::optional<TimePoint> due_;  // when to look again although nothing has happened
  std::vector<bool> told_end_;    // by link
  LinkNumber first_ = 0;          // to be read
  bool told_reader_gone_ = false;
};

}  // namespace sluice::node
