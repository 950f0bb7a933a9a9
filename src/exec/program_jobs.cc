#include "exec/program_jobs.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "exec/pipe_ownership.h"
#include "exec/process_start.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

// Of events that the owner does not read: far more than the jobs that it can have asked for.
constexpr std::size_t kUnsentMax = std::size_t{4} << 20;

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

}  // namespace

ProgramJobs::ProgramJobs(Program program, UniqueFd socket, JobSurroundings surroundings, const EntryState& entry)
    : program_(std::move(program)),
      socket_(std::move(socket), MessageSocket::Sending::queues),
      surroundings_(std::move(surroundings)),
      entry_(entry) {}

short ProgramJobs::events() const { return static_cast<short>(socket_.unsent_bytes() > 0 ? POLLIN | POLLOUT : POLLIN); }

void ProgramJobs::serve() {
  if (!socket_.is_open()) return;
  bool open = socket_.flush();
  open = socket_.receive() && open;
  while (socket_.is_open()) {
    auto message = socket_.next(reader_);
    if (!message.has_value()) open = false;
    if (!message.has_value() || !message->has_value()) break;
    std::visit([this](auto& request) { handle(request); }, **message);
  }
  if (!open) close();
}

void ProgramJobs::close() { socket_ = MessageSocket(UniqueFd()); }

void ProgramJobs::handle(StartJob& request) {
  pid_t pid = 0;
  if (auto failed = start(request, pid)) return send(*failed);
  send(JobStarted{.job = request.job, .pid = pid});
}

std::optional<JobFailed> ProgramJobs::start(StartJob& request, pid_t& pid) {
  UniqueFd input = socket_.take_descriptor();
  UniqueFd output = socket_.take_descriptor();
  UniqueFd error = request.error_passed ? socket_.take_descriptor() : UniqueFd();
  UniqueFd guard = request.guarded_input ? socket_.take_descriptor() : UniqueFd();
  bool complete = input && output && (error || !request.error_passed) && (guard || !request.guarded_input);
  if (!complete) return JobFailed{request.job, EMFILE, "receive the streams of"};
  if (ending_) return JobFailed{request.job, ECANCELED, "start"};
  bool joins = program_.error == Stream::as_stdout;
  int error_number = joins ? output.get() : error ? error.get() : surroundings_.error.get();
  const RunAs* run_as = surroundings_.run_as ? &*surroundings_.run_as : nullptr;
  if (run_as != nullptr)
    for (int stream : {input.get(), output.get(), error_number}) give_pipe(stream, *run_as);
  StartOptions options{.input = input.get(),
                       .output = output.get(),
                       .error = error_number,
                       .process_group = surroundings_.process_group,
                       .directory = surroundings_.directory,
                       .environment = surroundings_.environment,
                       .entry = entry_,
                       .run_as = run_as};
  bool other_arguments = !request.arguments.empty();
  if (other_arguments) std::swap(program_.arguments, request.arguments);
  auto started = start_program(program_, options);
  if (other_arguments) std::swap(program_.arguments, request.arguments);
  if (!started) return JobFailed{request.job, started.error().error, started.error().action};
  pid = *started;
  running_[pid] = {.job = request.job, .input_guard = std::move(guard)};
  return std::nullopt;
}

void ProgramJobs::handle(ReleaseJobInput& request) {
  for (auto& [pid, running] : running_)
    if (running.job == request.job) running.input_guard.reset();
}

void ProgramJobs::handle(SignalJob& request) {
  for (const auto& [pid, running] : running_)
    if (running.job == request.job) signal_tree(pid, surroundings_.process_group == 0 ? pid : 0, request.signal);
}

void ProgramJobs::send(const JobEvent& event) {
  if (!socket_.is_open()) return;
  bool sent = socket_.send(encode(event));
  if (!sent || socket_.unsent_bytes() > kUnsentMax) close();
}

bool ProgramJobs::reap(pid_t pid) {
  auto found = running_.find(pid);
  if (found == running_.end()) return false;
  JobEnded ended{.job = found->second.job};
  rusage usage{};
  ::wait4(pid, &ended.wait_status, 0, &usage);
  ended.user_us = microseconds(usage.ru_utime);
  ended.system_us = microseconds(usage.ru_stime);
  ended.peak_memory_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  running_.erase(found);
  send(ended);
  return true;
}

void ProgramJobs::signal(int signal, bool own_groups) {
  bool ends = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT || signal == SIGKILL;
  ending_ = ending_ || ends;
  for (const auto& [pid, running] : running_) signal_tree(pid, own_groups ? pid : 0, signal);
}

std::vector<pid_t> ProgramJobs::pids() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, running] : running_) pids.push_back(pid);
  return pids;
}

}  // namespace sluice::exec
