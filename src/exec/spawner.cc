#include "exec/spawner.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <set>

#include "base/require.h"
#include "exec/message_socket.h"
#include "exec/process_start.h"
#include "exec/process_tree.h"
#include "link/pipe_observer.h"

namespace sluice::exec {
namespace {

using link::PipeObserver;
using link::ReaderState;

// While ending, children are looked for again this often even if none was seen to end: one that was born between the
// look and the signal shows up then.
constexpr int kEndingTickMs = 20;

struct Running {
  pid_t pid = 0;                  // 0: has ended
  bool output_has_reader = true;  // a file or a terminal has none that could go away
  PipeObserver output;
  UniqueFd io_counters;  // open from the start, for the moment when it is a zombie
  UniqueFd input_guard;
};

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

bool is_pipe_or_socket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) != 0 || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
}

Reader reader_of(const Running& program) {
  if (!program.output_has_reader) return Reader::open;
  switch (program.output.reader()) {
    case ReaderState::open:
      return Reader::open;
    case ReaderState::gone:
      return Reader::gone;
    case ReaderState::unknown:
      break;
  }
  return Reader::unknown;
}

class Spawner final {
 public:
  Spawner(UniqueFd socket, const EntryState& entry) : owner_(std::move(socket)), entry_(entry) {}

  int run() {
    prepare();
    while (!finished_) {
      wait();
      reap();
      serve_owner();
      if (ending_) kill_children();
      finish_if_childless();
    }
    return 0;
  }

 private:
  void prepare() {
    ::prctl(PR_SET_NAME, "sluice-spawner");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    // Blocked like all others, it still wakes a spawner that a stage has stopped. The kernel would do so only if our
    // process group became orphaned, which depends on who inherits us.
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    ::setpgid(0, 0);
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    child_signal_.reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    // Without it a spawner could not learn that a child has ended; the owner sees the closed socket and says so.
    if (!child_signal_) ::_exit(1);
  }

  void wait() {
    pollfd polled[] = {{.fd = child_signal_.get(), .events = POLLIN, .revents = 0},
                       {.fd = owner_gone_ ? -1 : owner_.descriptor(), .events = POLLIN, .revents = 0}};
    ::poll(polled, 2, ending_ ? kEndingTickMs : -1);
    signalfd_siginfo ignored;
    while (::read(child_signal_.get(), &ignored, sizeof ignored) > 0) {
    }
  }

  void serve_owner() {
    if (owner_gone_) return;
    bool open = owner_.receive();
    while (!finished_) {
      auto message = owner_.next<OwnerMessage>(reader_);
      if (!message.has_value()) open = false;
      if (!message.has_value() || !message->has_value()) break;
      std::visit([this](auto& request) { handle(request); }, **message);
    }
    if (!open) lose_owner();
  }

  void lose_owner() {
    owner_gone_ = true;
    ending_ = true;
    end_programs();
  }

  void send(const SpawnerMessage& message) {
    if (!owner_gone_ && !owner_.send(encode(message))) lose_owner();
  }

  // --- starting -------------------------------------------------------------------------------------------------

  void handle(Launch& launch) {
    REQUIRE(programs_.empty());
    own_groups_ = launch.process_group == 0;
    account_io_ = launch.account_io;
    auto failure = start_all(launch);
    // Nobody must find the outside's streams open here: a reader outside waits for the last writer to close.
    release_standard_streams();
    if (failure) {
      send(*failure);
      ending_ = true;
      return;
    }
    Started started;
    for (const Running& program : programs_) started.pids.push_back(program.pid);
    std::vector<int> observers;
    if (launch.observe_links)
      for (std::size_t i = 0; i + 1 < programs_.size(); ++i)
        if (programs_[i].output.watching()) observers.push_back(programs_[i].output.descriptor());
    // They only help to estimate; a user who has too many descriptors under way does without.
    if (owner_.send_descriptors(observers)) started.observers = static_cast<std::uint32_t>(observers.size());
    send(started);
  }

  std::optional<LaunchFailed> start_all(const Launch& launch) {
    UniqueFd from_previous;
    for (ProgramIndex i = 0; i < launch.programs.size(); ++i) {
      const Program& program = launch.programs[i];
      UniqueFd input = program.input == Stream::passed ? owner_.take_descriptor() : std::move(from_previous);
      UniqueFd output, next_input;
      if (program.output == Stream::neighbour) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return LaunchFailed{i, errno, "make a pipe"};
        next_input.reset(ends[0]);
        output.reset(ends[1]);
      } else if (program.output == Stream::passed) {
        output = owner_.take_descriptor();
      }
      UniqueFd error = program.error == Stream::passed ? owner_.take_descriptor() : UniqueFd();
      Running& running = programs_.emplace_back();
      if (program.guarded_input) running.input_guard = owner_.take_descriptor();
      int output_fd = output ? output.get() : STDOUT_FILENO;
      remember_input(input ? input.get() : STDIN_FILENO);
      running.output_has_reader = is_pipe_or_socket(output_fd);
      running.output = PipeObserver::watch(output_fd);
      StartOptions options{.input = input ? input.get() : STDIN_FILENO,
                           .output = output_fd,
                           .error = error                                ? error.get()
                                    : program.error == Stream::as_stdout ? output_fd
                                                                         : STDERR_FILENO,
                           .process_group = launch.process_group,
                           .directory = launch.directory,
                           .environment = launch.environment,
                           .entry = entry_};
      auto pid = start_program(program, options);
      if (!pid) return LaunchFailed{i, pid.error().error, pid.error().action};
      running.pid = *pid;
      if (account_io_) running.io_counters = open_process_io(*pid);
      from_previous = std::move(next_input);
    }
    return std::nullopt;
  }

  void remember_input(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) == 0) own_inputs_.insert(status.st_ino);
  }

  static void release_standard_streams() {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int stream : {0, 1, 2}) {
      if (null)
        ::dup3(null.get(), stream, O_CLOEXEC);
      else
        ::close(stream);  // out of descriptors: no program is started any more, so the numbers are not reused
    }
  }

  // --- signals and the end --------------------------------------------------------------------------------------

  void handle(SendSignal& request) {
    std::vector<int> signals = {request.signal};
    if (request.then_continue) signals.push_back(SIGCONT);
    for (int signal : signals) {
      if (request.strays_too) signal_strays(signal);
      // The reader before its writer: a program must not take the end of its dying neighbour for the end of its input.
      for (auto index = request.programs.rbegin(); index != request.programs.rend(); ++index)
        if (*index < programs_.size()) signal_program(programs_[*index], signal);
    }
  }

  void signal_program(const Running& program, int signal) {
    if (program.pid != 0) signal_tree(program.pid, own_groups_ ? program.pid : 0, signal);
  }

  std::vector<pid_t> stray_roots() const {
    std::set<pid_t> live;
    for (const Running& program : programs_) live.insert(program.pid);
    std::vector<pid_t> roots;
    for (pid_t child : children_of(::getpid()))
      if (!live.contains(child)) roots.push_back(child);
    return roots;
  }

  void signal_strays(int signal) {
    for (pid_t stray : stray_roots()) signal_tree(stray, 0, signal);
  }

  void handle(ReleaseInput& request) {
    if (request.program < programs_.size()) programs_[request.program].input_guard.reset();
  }

  void handle(RequestSurvey&) {
    Survey survey;
    for (pid_t root : stray_roots()) {
      add_to(survey, root);
      for (pid_t pid : descendants_of(root)) add_to(survey, pid);
    }
    send(survey);
  }

  void add_to(Survey& survey, pid_t pid) const {
    ProcessStat stat;
    if (!read_process_stat(pid, stat) || stat.state == 'Z' || stat.state == 'X') return;
    ++survey.total;
    if (survey.strays.size() >= kStraysMax) return;
    bool drains_pipe = stat.session == ::getsid(0) && drains_foreign_pipe(pid);
    survey.strays.push_back({.pid = pid, .name = stat.name, .drains_pipe = drains_pipe});
  }

  // A stray that inherited the stdin of its stage reads a link of the flow: it is not on its behalf that it runs.
  bool drains_foreign_pipe(pid_t pid) const {
    std::string input = "/proc/" + std::to_string(pid) + "/fd/0";
    struct stat status {};
    if (::stat(input.c_str(), &status) != 0 || !S_ISFIFO(status.st_mode)) return false;
    return !own_inputs_.contains(status.st_ino) && link::pipe_has_writer(input.c_str()) == false;
  }

  void handle(EndAll&) {
    ending_ = true;
    end_programs();
  }

  void handle(Detach&) { finished_ = true; }

  void end_programs() {
    for (auto program = programs_.rbegin(); program != programs_.rend(); ++program) signal_program(*program, SIGKILL);
  }

  // Each round's orphans become our children and are found by the next.
  static void kill_children() {
    for (pid_t child : children_of(::getpid())) ::kill(child, SIGKILL);
  }

  // --- reaping --------------------------------------------------------------------------------------------------

  void reap() {
    while (true) {
      siginfo_t info{};
      // The process is looked at before it is waited for: afterwards its counters are gone.
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
      auto program = std::find_if(programs_.begin(), programs_.end(),
                                  [&](const Running& running) { return running.pid == info.si_pid; });
      if (program == programs_.end())
        ::waitpid(info.si_pid, nullptr, 0);
      else
        reap_program(*program);
    }
  }

  void reap_program(Running& program) {
    Exited exited{.program = static_cast<ProgramIndex>(&program - programs_.data())};
    ProcessIo io;
    exited.io_known = account_io_ && (read_process_io(program.io_counters, io) || read_process_io(program.pid, io));
    exited.io_read_bytes = io.read_bytes;
    exited.io_write_bytes = io.write_bytes;
    rusage usage{};
    ::wait4(program.pid, &exited.wait_status, 0, &usage);
    exited.user_us = microseconds(usage.ru_utime);
    exited.system_us = microseconds(usage.ru_stime);
    exited.peak_memory_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    exited.output_reader = reader_of(program);
    program.pid = 0;
    program.output = PipeObserver();
    program.io_counters.reset();
    send(exited);
  }

  void finish_if_childless() {
    bool all_ended =
        std::all_of(programs_.begin(), programs_.end(), [](const Running& program) { return program.pid == 0; });
    if (!all_ended || (programs_.empty() && !ending_)) return;
    siginfo_t info{};
    bool childless = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
    if (!childless) return;
    send(Childless{});
    finished_ = true;
  }

  MessageSocket owner_;
  MessageReader<OwnerMessage> reader_;
  const EntryState& entry_;
  UniqueFd child_signal_;
  std::vector<Running> programs_;
  std::set<ino_t> own_inputs_;  // what the programs have as stdin; inodes of pipes are not used twice
  bool own_groups_ = true;
  bool account_io_ = false;
  bool owner_gone_ = false;
  bool ending_ = false;
  bool finished_ = false;
};

}  // namespace

int run_spawner(UniqueFd socket, const EntryState& entry) { return Spawner(std::move(socket), entry).run(); }

}  // namespace sluice::exec
