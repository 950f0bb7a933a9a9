#include "worker/sessions.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "base/require.h"

namespace sluice::worker {
namespace {

void notify(int event) {
  std::uint64_t one = 1;
  (void)!::write(event, &one, sizeof one);
}

}  // namespace

std::expected<std::unique_ptr<Sessions>, int> Sessions::make() {
  UniqueFd changed(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!changed) return std::unexpected(errno);
  return std::unique_ptr<Sessions>(new Sessions(std::move(changed)));
}

// --- the thread of run() ------------------------------------------------------------------------------------------

std::optional<int> Sessions::next() {
  std::unique_lock lock(mutex_);
  came_.wait(lock, [this] { return finished_ || !waiting_.empty(); });
  if (waiting_.empty()) return std::nullopt;
  Waiting taken = std::move(waiting_.front());
  waiting_.pop_front();
  serving_.emplace(Serving{.job = taken.job, .began = Clock::now()});
  serving_->socket.reset(::fcntl(taken.socket.get(), F_DUPFD_CLOEXEC, 3));
  cut_ = false;
  if (!serving_->socket) cut_serving(SIGKILL);  // it could not be cut later
  if (cut_) ::shutdown(taken.socket.get(), SHUT_RDWR);
  return taken.socket.release();
}

void Sessions::ended(int status) {
  std::unique_lock lock(mutex_);
  INVARIANT(serving_.has_value());
  if (!serving_->said) last_status_ = status;
  if (!serving_->said) say_ended(serving_->job, W_EXITCODE(status & 0xff, 0), serving_->began);
  serving_.reset();
  notify_if_idle(std::move(lock));
}

// --- the loop of the worker ---------------------------------------------------------------------------------------

void Sessions::open() {
  std::lock_guard lock(mutex_);
  REQUIRE(!serving_ && waiting_.empty());
  open_ = true;
  killed_ = false;
  events_.clear();
}

void Sessions::cut(int signal) {
  std::lock_guard lock(mutex_);
  for (const Waiting& each : waiting_) say_ended(each.job, signal, Clock::now());
  waiting_.clear();
  cut_serving(signal);
}

void Sessions::kill() {
  cut(SIGKILL);
  std::lock_guard lock(mutex_);
  killed_ = true;
  notify(changed_.get());
}

bool Sessions::idle() const {
  std::lock_guard lock(mutex_);
  return is_idle();
}

void Sessions::on_idle(std::function<void()> handler) {
  std::lock_guard lock(mutex_);
  on_idle_ = std::move(handler);
}

void Sessions::finish() {
  std::lock_guard lock(mutex_);
  finished_ = true;
  came_.notify_all();
}

// --- the seat -----------------------------------------------------------------------------------------------------

std::expected<void, int> Sessions::start(exec::JobNumber job, int socket) {
  UniqueFd own(::fcntl(socket, F_DUPFD_CLOEXEC, 3));
  if (!own) return std::unexpected(errno);
  std::lock_guard lock(mutex_);
  if (killed_ || !open_) return std::unexpected(EPIPE);
  waiting_.push_back({.job = job, .socket = std::move(own)});
  came_.notify_all();
  return {};
}

void Sessions::cut(exec::JobNumber job, int signal) {
  std::lock_guard lock(mutex_);
  if (serving_ && serving_->job == job) return cut_serving(signal);
  auto place = std::ranges::find(waiting_, job, &Waiting::job);
  if (place == waiting_.end()) return;
  say_ended(job, signal, Clock::now());
  waiting_.erase(place);
}

// What is still there has nobody to hear it.
void Sessions::close() {
  cut(SIGKILL);
  std::unique_lock lock(mutex_);
  open_ = false;
  notify_if_idle(std::move(lock));
}

bool Sessions::is_open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

bool Sessions::receive() {
  std::uint64_t count = 0;
  (void)!::read(changed_.get(), &count, sizeof count);
  std::lock_guard lock(mutex_);
  return !killed_;
}

std::optional<exec::JobEvent> Sessions::poll_event() {
  std::lock_guard lock(mutex_);
  if (events_.empty()) return std::nullopt;
  exec::JobEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

// --- below ----------------------------------------------------------------------------------------------------------

void Sessions::cut_serving(int signal) {
  if (!serving_ || serving_->said) return;
  cut_ = true;
  serving_->said = true;
  if (serving_->socket) ::shutdown(serving_->socket.get(), SHUT_RDWR);
  say_ended(serving_->job, signal, serving_->began);
}

// Of processor time and memory only those of the whole program are known.
void Sessions::say_ended(exec::JobNumber job, int wait_status, TimePoint began) {
  auto run = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  events_.emplace_back(exec::JobEnded{.job = job,
                                      .wait_status = wait_status,
                                      .run_us = static_cast<std::uint64_t>(run.count()),
                                      .peak_memory_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) << 10});
  notify(changed_.get());
}

void Sessions::notify_if_idle(std::unique_lock<std::mutex> lock) {
  if (!is_idle() || !on_idle_) return;
  auto handler = on_idle_;
  lock.unlock();
  handler();
}

}  // namespace sluice::worker
