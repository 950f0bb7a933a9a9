#pragma once
// A program of a launch that its owner starts as often as it likes, each start being a *job*: `@each` needs thousands of
// processes, and a lost worker of `@map` a new one. The owner asks on a socket of its own (spawn_protocol.h), so that
// whoever moves records need not go through whoever looks after the flow.
//
//   taking jobs --socket closed, by the owner or by close()--> closed: the last jobs run --none left--> over
// Threading: belongs to the spawner's one thread; every signal is blocked there.
#include <sys/types.h>

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "exec/entry_state.h"
#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

/// What every job of a launch has.
struct JobSurroundings {
  std::vector<std::string> environment;
  std::string directory;
  pid_t process_group = 0;
  std::optional<RunAs> run_as;
  UniqueFd error;  // the spawner's own stderr, which it lets go of for itself
};

class ProgramJobs final {
 public:
  ProgramJobs(Program program, UniqueFd socket, JobSurroundings surroundings, const EntryState& entry);

  /// The socket and what to wait for on it; nothing once it is closed.
  int descriptor() const { return socket_.descriptor(); }
  short events() const;
  /// Does what the owner asks for.
  void serve();
  /// Tells the owner what has happened since. Once a turn of the loop: an end and the start behind it wake the owner once.
  void send_events();

  /// Waits for the job that has ended with this number, and says so. False: it is none of ours.
  bool reap(pid_t pid);
  bool has(pid_t pid) const { return running_.contains(pid); }
  /// To every job. After one that asks for their end no other is started: JobFailed says ECANCELED.
  void signal(int signal, bool own_groups);
  /// Takes no more.
  void close();
  bool over() const { return !socket_.is_open() && running_.empty(); }
  std::vector<pid_t> pids() const;

 private:
  struct Running {
    JobNumber job = 0;
    std::uint32_t seat = 0;
    TimePoint since{};
    UniqueFd input_guard;
  };
  // Asked for, with its streams, behind another of its seat.
  struct Waiting {
    StartJob request;
    UniqueFd input, output, error, input_guard;
  };

  void handle(StartJob& request);
  void handle(ReleaseJobInput& request);
  void handle(SignalJob& request);
  void start(Waiting& waiting);
  std::optional<JobFailed> start(Waiting& waiting, pid_t& pid);
  void start_next(std::uint32_t seat);
  void send(const JobEvent& event);

  Program program_;
  MessageSocket socket_;
  MessageReader<JobRequest> reader_;
  JobSurroundings surroundings_;
  const EntryState& entry_;
  std::map<pid_t, Running> running_;
  std::map<std::uint32_t, std::deque<Waiting>> waiting_;  // by seat
  std::string events_;                                    // to be sent
  bool ending_ = false;
};

}  // namespace sluice::exec
