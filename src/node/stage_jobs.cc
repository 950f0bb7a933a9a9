#include "node/stage_jobs.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "base/require.h"

namespace sluice::node {

// Those that have come and were not taken yet.
struct StageJobs::Comers {
  std::mutex mutex;
  std::vector<exec::JobClient> seats;
};

StageJobs::StageJobs(exec::JobClient here) { clients_.push_back(std::move(here)); }

std::expected<StageJobs, int> StageJobs::in_seats(std::vector<exec::JobClient> seats, bool joins) {
  REQUIRE(!seats.empty() || joins);
  StageJobs jobs;
  jobs.far_ = true;
  if (joins) jobs.comers_ = std::make_shared<Comers>();
  jobs.ready_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!jobs.ready_) return std::unexpected(errno);
  for (const exec::JobClient& seat : seats) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(jobs.ready_.get(), EPOLL_CTL_ADD, seat.descriptor(), &event) != 0) return std::unexpected(errno);
  }
  jobs.awaits_output_.resize(seats.size());
  jobs.own_ = seats.size();
  jobs.clients_ = std::move(seats);
  return jobs;
}

// --- seats that come and go ---------------------------------------------------------------------------------------

void StageJobs::add(exec::JobClient seat) {
  if (!comers_) return;
  std::lock_guard lock(comers_->mutex);
  comers_->seats.push_back(std::move(seat));
}

std::optional<StageJobs::SeatChange> StageJobs::poll_change() {
  if (comers_ && !closed_) take_comers();
  if (changes_.empty()) return std::nullopt;
  SeatChange change = changes_.front();
  changes_.pop_front();
  return change;
}

// The number of one that was released is given again: a worker that comes back all day must not make the stage grow.
void StageJobs::take_comers() {
  std::vector<exec::JobClient> seats;
  {
    std::lock_guard lock(comers_->mutex);
    seats.swap(comers_->seats);
  }
  for (exec::JobClient& client : seats) {
    auto free = std::ranges::find(released_, true);
    std::size_t seat = own_ + static_cast<std::size_t>(free - released_.begin());
    if (free == released_.end()) {
      clients_.emplace_back();
      awaits_output_.push_back(false);
      released_.push_back(false);
    }
    clients_[seat] = std::move(client);
    awaits_output_[seat] = false;
    released_[seat - own_] = false;
    watch(seat);
    changes_.push_back({.kind = SeatChange::Kind::joined, .worker = static_cast<std::uint32_t>(seat)});
  }
}

void StageJobs::watch(std::size_t seat) const {
  epoll_event event{.events = EPOLLIN, .data = {}};
  ::epoll_ctl(ready_.get(), EPOLL_CTL_ADD, clients_[seat].descriptor(), &event);
}

void StageJobs::release(std::uint32_t worker) {
  REQUIRE(has_joined(worker));
  clients_[worker].close();
  released_[worker - own_] = true;
}

bool StageJobs::has_own_seat() const {
  return std::any_of(clients_.begin(), clients_.begin() + static_cast<std::ptrdiff_t>(own_),
                     [](const exec::JobClient& client) { return client.is_open(); });
}

// --- asking -------------------------------------------------------------------------------------------------------

std::expected<void, int> StageJobs::start(exec::JobNumber job, std::uint32_t worker, std::vector<std::string> arguments,
                                          const exec::JobClient::Streams& streams) {
  if (!far_) return clients_.front().start(job, worker, std::move(arguments), streams);
  bool has_seat = has_joined(worker) ? clients_[worker].is_open() : has_own_seat();
  if (!has_seat) return std::unexpected(ECONNRESET);
  std::size_t seat = seat_for(worker);
  running_.emplace(job, seat);
  auto started = clients_[seat].start(job, worker, std::move(arguments), streams);
  bool seat_gone = !started && (started.error() == EPIPE || started.error() == ECONNRESET);
  if (seat_gone) return {};  // its socket says so too, and the job is lost with it then
  return started;
}

std::size_t StageJobs::seat_for(std::uint32_t worker) const {
  if (worker < clients_.size() && clients_[worker].is_open()) return worker;
  std::vector<std::size_t> busy(clients_.size());
  for (const auto& [job, seat] : running_) ++busy[seat];
  std::optional<std::size_t> best;
  for (std::size_t seat = 0; seat < own_; ++seat)
    if (clients_[seat].is_open() && (!best || busy[seat] < busy[*best])) best = seat;
  INVARIANT(best.has_value());
  return *best;
}

void StageJobs::release_input(exec::JobNumber job) {
  if (!far_) return clients_.front().release_input(job);
  if (auto place = running_.find(job); place != running_.end()) clients_[place->second].release_input(job);
}

void StageJobs::signal(exec::JobNumber job, int signal) {
  if (!far_) return clients_.front().signal(job, signal);
  if (auto place = running_.find(job); place != running_.end()) clients_[place->second].signal(job, signal);
}

void StageJobs::close() {
  closed_ = true;
  for (exec::JobClient& client : clients_) client.close();
}

// --- hearing ------------------------------------------------------------------------------------------------------

int StageJobs::descriptor() const {
  if (far_) return ready_.get();
  return clients_.empty() ? -1 : clients_.front().descriptor();
}

short StageJobs::events() {
  if (!far_) {
    bool writes = !clients_.empty() && clients_.front().wants_write();
    return static_cast<short>(writes ? POLLIN | POLLOUT : POLLIN);
  }
  for (std::size_t seat = 0; seat < clients_.size(); ++seat) {
    bool wants = clients_[seat].is_open() && clients_[seat].wants_write();
    if (!clients_[seat].is_open() || wants == awaits_output_[seat]) continue;
    awaits_output_[seat] = wants;
    epoll_event event{.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN, .data = {}};
    ::epoll_ctl(ready_.get(), EPOLL_CTL_MOD, clients_[seat].descriptor(), &event);
  }
  return POLLIN;
}

void StageJobs::flush() {
  for (exec::JobClient& client : clients_)
    if (client.is_open() && client.wants_write()) client.flush();
}

bool StageJobs::receive() {
  if (!far_) return clients_.front().receive();
  for (std::size_t seat = 0; seat < clients_.size(); ++seat)
    if (clients_[seat].is_open() && !clients_[seat].receive()) lose(seat);
  return left() > 0 || (comers_ && !closed_);
}

// What it said before is heard first.
void StageJobs::lose(std::size_t seat) {
  while (auto event = clients_[seat].poll_event()) {
    std::visit(
        [this](const auto& what) {
          using What = std::decay_t<decltype(what)>;
          bool ends = std::is_same_v<What, exec::JobFailed> || std::is_same_v<What, exec::JobEnded>;
          if constexpr (requires { what.job; })
            if (ends) running_.erase(what.job);
        },
        *event);
    if (auto told = judge(seat, *std::move(event))) lost_.push_back(*std::move(told));
  }
  clients_[seat].close();
  for (auto next = running_.begin(); next != running_.end();) {
    auto place = next++;
    if (place->second != seat) continue;
    lost_.push_back(exec::JobEnded{.job = place->first, .wait_status = SIGKILL});
    running_.erase(place);
  }
  if (!comers_) return;
  auto gone = [this](std::size_t worker) {
    changes_.push_back({.kind = SeatChange::Kind::lost, .worker = static_cast<std::uint32_t>(worker)});
  };
  if (seat >= own_) return gone(seat);
  if (has_own_seat()) return;
  for (std::size_t worker = 0; worker < own_; ++worker) gone(worker);
}

// One that has joined and can't run what it was started with is nobody's mistake but its own.
std::optional<exec::JobEvent> StageJobs::judge(std::size_t seat, exec::JobEvent event) {
  if (std::holds_alternative<exec::JobsRefused>(event)) {
    changes_.push_back({.kind = SeatChange::Kind::leaving, .worker = static_cast<std::uint32_t>(seat)});
    return std::nullopt;
  }
  auto* failed = std::get_if<exec::JobFailed>(&event);
  if (failed == nullptr || seat < own_ || failed->error == ECANCELED) return event;
  changes_.push_back({.kind = SeatChange::Kind::leaving, .worker = static_cast<std::uint32_t>(seat)});
  return exec::JobEnded{.job = failed->job, .wait_status = SIGKILL};
}

std::optional<exec::JobEvent> StageJobs::poll_event() {
  if (!far_) return clients_.front().poll_event();
  if (!lost_.empty()) {
    exec::JobEvent event = std::move(lost_.front());
    lost_.pop_front();
    return event;
  }
  for (std::size_t seat = 0; seat < clients_.size(); ++seat) {
    while (clients_[seat].is_open()) {
      auto event = clients_[seat].poll_event();
      if (!event) break;
      if (auto* ended = std::get_if<exec::JobEnded>(&*event)) running_.erase(ended->job);
      if (auto* failed = std::get_if<exec::JobFailed>(&*event)) running_.erase(failed->job);
      if (auto told = judge(seat, *std::move(event))) return told;
    }
  }
  return std::nullopt;
}

std::size_t StageJobs::left() const {
  return static_cast<std::size_t>(std::ranges::count_if(clients_, &exec::JobClient::is_open));
}

}  // namespace sluice::node
