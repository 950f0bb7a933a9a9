#include "node/stage_jobs.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/require.h"

namespace sluice::node {

StageJobs::StageJobs(exec::JobClient here) { clients_.push_back(std::move(here)); }

std::expected<StageJobs, int> StageJobs::in_seats(std::vector<exec::JobClient> seats) {
  REQUIRE(!seats.empty());
  StageJobs jobs;
  jobs.far_ = true;
  jobs.ready_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!jobs.ready_) return std::unexpected(errno);
  for (const exec::JobClient& seat : seats) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(jobs.ready_.get(), EPOLL_CTL_ADD, seat.descriptor(), &event) != 0) return std::unexpected(errno);
  }
  jobs.awaits_output_.resize(seats.size());
  jobs.clients_ = std::move(seats);
  return jobs;
}

// --- asking -------------------------------------------------------------------------------------------------------

std::expected<void, int> StageJobs::start(exec::JobNumber job, std::uint32_t worker, std::vector<std::string> arguments,
                                          const exec::JobClient::Streams& streams) {
  if (!far_) return clients_.front().start(job, worker, std::move(arguments), streams);
  if (left() == 0) return std::unexpected(ECONNRESET);
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
  for (std::size_t seat = 0; seat < clients_.size(); ++seat)
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
  return left() > 0;
}

// What it said before is heard first.
void StageJobs::lose(std::size_t seat) {
  while (auto event = clients_[seat].poll_event()) {
    std::visit(
        [this](const auto& what) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(what)>, exec::JobStarted>) running_.erase(what.job);
        },
        *event);
    lost_.push_back(*std::move(event));
  }
  clients_[seat].close();
  for (auto next = running_.begin(); next != running_.end();) {
    auto place = next++;
    if (place->second != seat) continue;
    lost_.push_back(exec::JobEnded{.job = place->first, .wait_status = SIGKILL});
    running_.erase(place);
  }
}

std::optional<exec::JobEvent> StageJobs::poll_event() {
  if (!far_) return clients_.front().poll_event();
  if (!lost_.empty()) {
    exec::JobEvent event = std::move(lost_.front());
    lost_.pop_front();
    return event;
  }
  for (exec::JobClient& client : clients_) {
    if (!client.is_open()) continue;
    auto event = client.poll_event();
    if (!event) continue;
    if (auto* ended = std::get_if<exec::JobEnded>(&*event)) running_.erase(ended->job);
    if (auto* failed = std::get_if<exec::JobFailed>(&*event)) running_.erase(failed->job);
    return event;
  }
  return std::nullopt;
}

std::size_t StageJobs::left() const {
  return static_cast<std::size_t>(std::ranges::count_if(clients_, &exec::JobClient::is_open));
}

}  // namespace sluice::node
