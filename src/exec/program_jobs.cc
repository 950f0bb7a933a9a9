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

void ProgramJobs::close() {
  socket_ = MessageSocket(UniqueFd());
  waiting_.clear();
}

void ProgramJobs::handle(StartJob& request) {
  Waiting waiting;
  waiting.input = socket_.take_descriptor();
  waiting.output = socket_.take_descriptor();
  if (request.error_passed) waiting.error = socket_.take_descriptor();
  if (request.guarded_input) waiting.input_guard = socket_.take_descriptor();
  waiting.request = std::move(request);
  std::uint32_t seat = waiting.request.seat;
  bool taken = std::ranges::any_of(running_, [&](const auto& each) { return each.second.seat == seat; });
  if (taken && !ending_)
    waiting_[seat].push_back(std::move(waiting));
  else
    start(waiting);
}

void ProgramJobs::start_next(std::uint32_t seat) {
  auto queue = waiting_.find(seat);
  if (queue == waiting_.end()) return;
  Waiting next = std::move(queue->second.front());
  queue->second.pop_front();
  if (queue->second.empty()) waiting_.erase(queue);
  start(next);
}

void ProgramJobs::start(Waiting& waiting) {
  pid_t pid = 0;
  auto failed = start(waiting, pid);
  if (!failed) return send(JobStarted{.job = waiting.request.job, .pid = pid});
  send(*failed);
  start_next(waiting.request.seat);
}

std::optional<JobFailed> ProgramJobs::start(Waiting& waiting, pid_t& pid) {
  StartJob& request = waiting.request;
  bool complete = waiting.input && waiting.output && (waiting.error || !request.error_passed) &&
                  (waiting.input_guard || !request.guarded_input);
  if (!complete) return JobFailed{request.job, EMFILE, "receive the streams of"};
  if (ending_) return JobFailed{request.job, ECANCELED, "start"};
  int error = program_.error == Stream::as_stdout ? waiting.output.get()
              : waiting.error                     ? waiting.error.get()
                                                  : surroundings_.error.get();
  const RunAs* run_as = surroundings_.run_as ? &*surroundings_.run_as : nullptr;
  if (run_as != nullptr)
    for (int stream : {waiting.input.get(), waiting.output.get(), error}) give_pipe(stream, *run_as);
  StartOptions options{.input = waiting.input.get(),
                       .output = waiting.output.get(),
                       .error = error,
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
  running_[pid] = {
      .job = request.job, .seat = request.seat, .since = Clock::now(), .input_guard = std::move(waiting.input_guard)};
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
  if (socket_.is_open()) events_ += encode(event);
}

void ProgramJobs::send_events() {
  if (events_.empty() || !socket_.is_open()) return;
  bool sent = socket_.send(std::exchange(events_, {}));
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
  std::uint32_t seat = found->second.seat;
  ended.run_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - found->second.since).count());
  running_.erase(found);
  start_next(seat);
  send(ended);
  return true;
}

void ProgramJobs::signal(int signal, bool own_groups) {
  bool ends = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT || signal == SIGKILL;
  ending_ = ending_ || ends;
  if (ending_)
    for (auto& [seat, queue] : std::exchange(waiting_, {}))
      for (Waiting& waiting : queue) send(JobFailed{waiting.request.job, ECANCELED, "start"});
  for (const auto& [pid, running] : running_) signal_tree(pid, own_groups ? pid : 0, signal);
}

std::vector<pid_t> ProgramJobs::pids() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, running] : running_) pids.push_back(pid);
  return pids;
}

}  // namespace sluice::exec
