#include "exec/launched_programs.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/require.h"
#include "exec/pipe_ownership.h"
#include "exec/process_start.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

using link::PipeObserver;
using link::ReaderState;

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

bool is_pipe_or_socket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) != 0 || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
}

}  // namespace

// --- starting ------------------------------------------------------------------------------------------------------

std::optional<LaunchFailed> LaunchedPrograms::start(const Launch& launch, MessageSocket& passed, LaunchKeeper* keeper) {
  REQUIRE(programs_.empty());
  own_groups_ = launch.process_group == 0;
  account_io_ = launch.account_io;
  UniqueFd from_previous;
  for (ProgramIndex i = 0; i < launch.programs.size(); ++i)
    if (auto failed = launch.programs[i].by_job ? take_jobs(launch, i, passed)
                                                : start_one(launch, i, passed, keeper, from_previous))
      return failed;
  return std::nullopt;
}

std::optional<LaunchFailed> LaunchedPrograms::take_jobs(const Launch& launch, ProgramIndex index,
                                                        MessageSocket& passed) {
  Running& running = programs_.emplace_back();
  UniqueFd socket = passed.take_descriptor();
  if (!socket) return LaunchFailed{index, EMFILE, "receive the streams of"};
  UniqueFd error(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!error) error.reset(::open("/dev/null", O_WRONLY | O_CLOEXEC));  // we were started without one
  if (!error) return LaunchFailed{index, errno, "keep the stderr of"};
  JobSurroundings surroundings{.environment = launch.environment,
                               .directory = launch.directory,
                               .process_group = launch.process_group,
                               .run_as = launch.run_as,
                               .error = std::move(error)};
  running.jobs =
      std::make_unique<ProgramJobs>(launch.programs[index], std::move(socket), std::move(surroundings), entry_);
  return std::nullopt;
}

std::optional<LaunchFailed> LaunchedPrograms::start_one(const Launch& launch, ProgramIndex index, MessageSocket& passed,
                                                        LaunchKeeper* keeper, UniqueFd& from_previous) {
  const Program& program = launch.programs[index];
  Running& running = programs_.emplace_back();
  Streams streams;
  if (program.input != Stream::passed) streams.input = std::move(from_previous);
  if (auto failed = connect(program, index, passed, keeper, streams)) return failed;
  if (program.guarded_input) {
    running.input_guard = passed.take_descriptor();
    if (!running.input_guard) return LaunchFailed{index, EMFILE, "receive the streams of"};
  }
  int input = streams.input ? streams.input.get() : STDIN_FILENO;
  int output = streams.output ? streams.output.get() : STDOUT_FILENO;
  int error = streams.error ? streams.error.get() : program.error == Stream::as_stdout ? output : STDERR_FILENO;
  remember_input(input);
  running.output_has_reader = is_pipe_or_socket(output);
  running.output = PipeObserver::watch(output);
  const RunAs* run_as = launch.run_as ? &*launch.run_as : nullptr;
  if (run_as != nullptr)
    for (int stream : {input, output, error}) give_pipe(stream, *run_as);
  StartOptions options{.input = input,
                       .output = output,
                       .error = error,
                       .process_group = launch.process_group,
                       .directory = launch.directory,
                       .environment = launch.environment,
                       .entry = entry_,
                       .run_as = run_as};
  auto pid = start_program(program, options);
  if (!pid) return LaunchFailed{index, pid.error().error, pid.error().action};
  running.pid = *pid;
  if (account_io_) running.io_counters = open_process_io(*pid);
  from_previous = std::move(streams.next_input);
  return std::nullopt;
}

std::optional<LaunchFailed> LaunchedPrograms::connect(const Program& program, ProgramIndex index, MessageSocket& passed,
                                                      LaunchKeeper* keeper, Streams& streams) {
  std::optional<LaunchFailed> failed;
  auto take = [&](UniqueFd& stream) {
    stream = passed.take_descriptor();
    if (!stream) failed = LaunchFailed{index, EMFILE, "receive the streams of"};
  };
  auto capture = [&](UniqueFd& stream, OutputKind kind) {
    auto pipe = keeper != nullptr ? keeper->capture({index, kind}) : std::unexpected(EINVAL);
    if (pipe)
      stream = std::move(*pipe);
    else
      failed = LaunchFailed{index, pipe.error(), "make a pipe"};
  };
  if (program.input == Stream::passed) take(streams.input);
  if (program.output == Stream::passed) take(streams.output);
  if (program.output == Stream::captured) capture(streams.output, OutputKind::output);
  if (program.output == Stream::neighbour) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return LaunchFailed{index, errno, "make a pipe"};
    streams.next_input.reset(ends[0]);
    streams.output.reset(ends[1]);
  }
  if (program.error == Stream::passed) take(streams.error);
  if (program.error == Stream::captured) capture(streams.error, OutputKind::error);
  return failed;
}

void LaunchedPrograms::remember_input(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) == 0) own_inputs_.insert(status.st_ino);
}

void LaunchedPrograms::clear() {
  REQUIRE(all_ended());
  programs_.clear();
  own_inputs_.clear();
}

bool LaunchedPrograms::all_ended() const {
  return std::ranges::all_of(programs_, [](const Running& program) { return program.pid == 0 && !program.jobs; });
}

std::vector<std::int32_t> LaunchedPrograms::pids() const {
  std::vector<std::int32_t> pids;
  for (const Running& program : programs_) pids.push_back(program.pid);
  return pids;
}

std::vector<int> LaunchedPrograms::observers() const {
  std::vector<int> observers;
  for (std::size_t i = 0; i + 1 < programs_.size(); ++i)
    if (programs_[i].output.watching()) observers.push_back(programs_[i].output.descriptor());
  return observers;
}

// --- signals -------------------------------------------------------------------------------------------------------

void LaunchedPrograms::signal(const SendSignal& request) {
  std::vector<int> signals = {request.signal};
  if (request.then_continue) signals.push_back(SIGCONT);
  for (int signal : signals) {
    if (request.strays_too)
      for (pid_t stray : stray_roots()) signal_tree(stray, 0, signal);
    // The reader before its writer: a program must not take the end of its dying neighbour for the end of its input.
    for (auto index = request.programs.rbegin(); index != request.programs.rend(); ++index)
      if (*index < programs_.size()) signal_program(programs_[*index], signal);
  }
}

void LaunchedPrograms::signal_program(Running& program, int signal) {
  if (program.pid != 0) signal_tree(program.pid, own_groups_ ? program.pid : 0, signal);
  if (program.jobs) program.jobs->signal(signal, own_groups_);
}

void LaunchedPrograms::end_all() {
  for (Running& program : programs_)
    if (program.jobs) program.jobs->close();
  for (auto program = programs_.rbegin(); program != programs_.rend(); ++program) signal_program(*program, SIGKILL);
}

void LaunchedPrograms::release_input(ProgramIndex program) {
  if (program < programs_.size()) programs_[program].input_guard.reset();
}

// --- what outlived its program -------------------------------------------------------------------------------------

std::vector<pid_t> LaunchedPrograms::stray_roots() const {
  std::set<pid_t> live;
  for (const Running& program : programs_) {
    live.insert(program.pid);
    if (program.jobs)
      for (pid_t job : program.jobs->pids()) live.insert(job);
  }
  std::vector<pid_t> roots;
  for (pid_t child : children_of(::getpid()))
    if (!live.contains(child)) roots.push_back(child);
  return roots;
}

Survey LaunchedPrograms::survey() const {
  Survey survey;
  for (pid_t root : stray_roots()) {
    add_to(survey, root);
    for (pid_t pid : descendants_of(root)) add_to(survey, pid);
  }
  return survey;
}

void LaunchedPrograms::add_to(Survey& survey, pid_t pid) const {
  ProcessStat stat;
  if (!read_process_stat(pid, stat) || stat.state == 'Z' || stat.state == 'X') return;
  ++survey.total;
  if (survey.strays.size() >= kStraysMax) return;
  bool drains_pipe = stat.session == ::getsid(0) && drains_foreign_pipe(pid);
  survey.strays.push_back({.pid = pid, .name = stat.name, .drains_pipe = drains_pipe});
}

// A stray that inherited the stdin of its stage reads a link of the flow: it is not on its behalf that it runs.
bool LaunchedPrograms::drains_foreign_pipe(pid_t pid) const {
  std::string input = "/proc/" + std::to_string(pid) + "/fd/0";
  struct stat status {};
  if (::stat(input.c_str(), &status) != 0 || !S_ISFIFO(status.st_mode)) return false;
  return !own_inputs_.contains(status.st_ino) && link::pipe_has_writer(input.c_str()) == false;
}

// --- jobs ----------------------------------------------------------------------------------------------------------

void LaunchedPrograms::add_polled(std::vector<pollfd>& polled) const {
  for (const Running& program : programs_)
    if (program.jobs && program.jobs->descriptor() >= 0)
      polled.push_back({.fd = program.jobs->descriptor(), .events = program.jobs->events(), .revents = 0});
}

void LaunchedPrograms::serve_jobs(std::span<const pollfd> polled) {
  for (const pollfd& each : polled)
    for (Running& program : programs_)
      if (each.revents != 0 && program.jobs && program.jobs->descriptor() == each.fd) program.jobs->serve();
}

void LaunchedPrograms::send_job_events() {
  for (Running& program : programs_)
    if (program.jobs) program.jobs->send_events();
}

std::optional<Exited> LaunchedPrograms::poll_jobs_over() {
  for (Running& program : programs_) {
    if (!program.jobs || !program.jobs->over()) continue;
    program.jobs.reset();
    return Exited{.program = static_cast<ProgramIndex>(&program - programs_.data())};
  }
  return std::nullopt;
}

bool LaunchedPrograms::reap_job(pid_t pid) {
  return std::ranges::any_of(programs_, [&](Running& program) { return program.jobs && program.jobs->reap(pid); });
}

// --- reaping -------------------------------------------------------------------------------------------------------

std::optional<Exited> LaunchedPrograms::reap(pid_t pid) {
  auto program = std::ranges::find(programs_, pid, &Running::pid);
  if (program == programs_.end()) return std::nullopt;
  Exited exited{.program = static_cast<ProgramIndex>(program - programs_.begin())};
  // The process is looked at before it is waited for: afterwards its counters are gone.
  ProcessIo io;
  exited.io_known = account_io_ && (read_process_io(program->io_counters, io) || read_process_io(pid, io));
  exited.io_read_bytes = io.read_bytes;
  exited.io_write_bytes = io.write_bytes;
  rusage usage{};
  ::wait4(pid, &exited.wait_status, 0, &usage);
  exited.user_us = microseconds(usage.ru_utime);
  exited.system_us = microseconds(usage.ru_stime);
  exited.peak_memory_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  exited.output_reader = reader_of(*program);
  program->pid = 0;
  program->output = PipeObserver();
  program->io_counters.reset();
  return exited;
}

Reader LaunchedPrograms::reader_of(const Running& program) {
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

}  // namespace sluice::exec
