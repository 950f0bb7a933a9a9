#pragma once
// The programs of one launch, as their spawner has them: started, signalled, surveyed and reaped.
// Threading: belongs to the spawner's one thread; every signal is blocked there.
#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/entry_state.h"
#include "exec/launch_keeper.h"
#include "exec/message_socket.h"
#include "exec/program_jobs.h"
#include "exec/spawn_protocol.h"
#include "link/pipe_observer.h"

namespace sluice::exec {

class LaunchedPrograms final {
 public:
  explicit LaunchedPrograms(const EntryState& entry) : entry_(entry) {}

  /// Starts all, or reports the first that could not be; what was started before it runs then, and is to be ended.
  /// Passed descriptors are taken from `passed`, captured streams go to `keeper` (null: there may be none).
  std::optional<LaunchFailed> start(const Launch& launch, MessageSocket& passed, LaunchKeeper* keeper);

  bool empty() const { return programs_.empty(); }
  /// Forgets those of a launch that has ended.
  void clear();
  bool all_ended() const;
  std::vector<std::int32_t> pids() const;
  /// Descriptors that watch the kernel pipes between the programs.
  std::vector<int> observers() const;

  void signal(const SendSignal& request);
  /// SIGKILL for every program and all below it.
  void end_all();
  void release_input(ProgramIndex program);
  Survey survey() const;

  /// The sockets on which owners ask for jobs.
  void add_polled(std::vector<pollfd>& polled) const;
  void send_job_events();
  void serve_jobs(std::span<const pollfd> polled);
  /// A program whose last job is over and whose owner wants no more: it has ended.
  std::optional<Exited> poll_jobs_over();
  /// Waits for the job that has ended with this number. False: it is none.
  bool reap_job(pid_t pid);

  /// Waits for the program that has ended with this number; nothing if it is none of ours.
  std::optional<Exited> reap(pid_t pid);

 private:
  struct Running {
    pid_t pid = 0;                  // 0: has ended
    bool output_has_reader = true;  // a file or a terminal has none that could go away
    link::PipeObserver output;
    UniqueFd io_counters;  // open from the start, for the moment when it is a zombie
    UniqueFd input_guard;
    std::unique_ptr<ProgramJobs> jobs;  // of a program that is started by job; null: it is none, or has ended
  };
  struct Streams {
    UniqueFd input, output, error;
    UniqueFd next_input;  // of the program behind
  };

  std::optional<LaunchFailed> start_one(const Launch& launch, ProgramIndex index, MessageSocket& passed,
                                        LaunchKeeper* keeper, UniqueFd& from_previous);
  std::optional<LaunchFailed> take_jobs(const Launch& launch, ProgramIndex index, MessageSocket& passed);
  std::optional<LaunchFailed> connect(const Program& program, ProgramIndex index, MessageSocket& passed,
                                      LaunchKeeper* keeper, Streams& streams);
  void remember_input(int fd);
  void signal_program(Running& program, int signal);
  std::vector<pid_t> stray_roots() const;
  void add_to(Survey& survey, pid_t pid) const;
  bool drains_foreign_pipe(pid_t pid) const;
  static Reader reader_of(const Running& program);

  const EntryState& entry_;
  std::vector<Running> programs_;
  std::set<ino_t> own_inputs_;  // what the programs have as stdin; inodes of pipes are not used twice
  bool own_groups_ = true;
  bool account_io_ = false;
};

}  // namespace sluice::exec
