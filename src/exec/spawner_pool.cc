#include "exec/spawner_pool.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/require.h"

namespace sluice::exec {
namespace {

constexpr std::size_t kEventsMax = 1024;

// A spawner that was killed while it was idle. It sends nothing of its own, so whatever is there is the end.
bool is_closed(int socket) {
  char byte;
  ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

}  // namespace

// --- leases --------------------------------------------------------------------------------------------------------

SpawnerLease::~SpawnerLease() {
  if (pool_ != nullptr) pool_->give_back(token_);
}

void SpawnerLease::wake() { pool_->signal(token_, SIGCONT); }
void SpawnerLease::kill() { pool_->signal(token_, SIGKILL); }

// --- the pool ------------------------------------------------------------------------------------------------------

SpawnerPool::SpawnerPool(ZygoteClient zygote, Options options)
    : zygote_(std::move(zygote)), options_(std::move(options)), watched_(::epoll_create1(EPOLL_CLOEXEC)) {
  watch(zygote_.descriptor());
  refill();
}

SpawnerPool::~SpawnerPool() { REQUIRE(leased_ == 0); }

void SpawnerPool::watch(int descriptor) const {
  epoll_event event{};
  event.events = EPOLLIN;
  ::epoll_ctl(watched_.get(), EPOLL_CTL_ADD, descriptor, &event);
}

// A zygote that was stopped does not read: what waits for it is sent when it does.
void SpawnerPool::watch_zygote_for_room() const {
  epoll_event event{};
  event.events = EPOLLIN;
  if (zygote_.wants_write()) event.events |= EPOLLOUT;
  ::epoll_ctl(watched_.get(), EPOLL_CTL_MOD, zygote_.descriptor(), &event);
}

void SpawnerPool::unwatch(int descriptor) const { ::epoll_ctl(watched_.get(), EPOLL_CTL_DEL, descriptor, nullptr); }

std::expected<SpawnerLease, std::string> SpawnerPool::acquire() {
  auto token = take_idle();
  if (!token) {
    if (zygote_lost_)
      return std::unexpected("the process that forks for this node (sluice-zygote) was killed; restart the node");
    bool fast = options_.cgroup_home && options_.cgroup_home->version == CgroupVersion::v2;
    auto forked = fork_slot(State::leased, fast);
    if (!forked)
      return std::unexpected(std::string("cannot ask for a spawner: ") + std::strerror(forked.error()) +
                             "; raise the limit of open files (ulimit -n)");
    token = *forked;
  }
  Slot& slot = slots_.at(*token);
  slot.state = State::leased;
  ++leased_;
  refill();
  return SpawnerLease(this, slot.client.get(), *token);
}

std::optional<SpawnerPool::Token> SpawnerPool::take_idle() {
  while (!idle_.empty()) {
    Token token = idle_.back();
    idle_.pop_back();
    if (!is_closed(slots_.at(token).client->descriptor())) return token;
    remove(token);
  }
  return std::nullopt;
}

std::expected<SpawnerPool::Token, int> SpawnerPool::fork_slot(State state, bool with_cgroup) {
  Token token = ++last_token_;
  auto socket = zygote_.fork_spawner(token, with_cgroup ? options_.cgroup_home->directory : std::string());
  if (!socket) return std::unexpected(socket.error());
  if (zygote_.wants_write()) watch_zygote_for_room();
  Slot slot{.client = std::make_unique<SpawnerClient>(SpawnerClient::connected(std::move(*socket))), .state = state};
  if (state == State::warming) watch(slot.client->descriptor());
  slots_.emplace(token, std::move(slot));
  return token;
}

void SpawnerPool::refill() {
  auto warming = static_cast<std::size_t>(
      std::ranges::count_if(slots_, [](const auto& entry) { return entry.second.state == State::warming; }));
  while (!zygote_lost_ && idle_.size() + warming < options_.reserve) {
    if (!fork_slot(State::warming, options_.cgroup_home.has_value())) return;
    ++warming;
  }
}

void SpawnerPool::give_back(Token token) {
  Slot& slot = slots_.at(token);
  INVARIANT(slot.state == State::leased);
  INVARIANT(leased_ > 0);
  --leased_;
  // On version 1 one that had to do without a cgroup makes room for one that has it.
  bool second_rate = options_.cgroup_home && slot.client->is_ready() && slot.client->cgroup().empty();
  bool wanted = idle_.size() < (second_rate ? options_.reserve : options_.idle_max);
  if (!slot.client->is_idle() || !wanted) return remove(token);
  slot.state = State::idle;
  idle_.push_back(token);
}

void SpawnerPool::shrink_idle(std::size_t count) {
  while (idle_.size() > count) {
    Token oldest = idle_.front();
    idle_.erase(idle_.begin());
    remove(oldest);
  }
}

void SpawnerPool::remove(Token token) {
  auto slot = slots_.find(token);
  if (slot->second.state == State::warming) unwatch(slot->second.client->descriptor());
  if (zygote_lost_ && slot->second.client->is_lost()) clean_up_after(*slot->second.client);
  slots_.erase(slot);
}

// What the zygote would do. Without it this is all that reaches what a killed spawner has left.
void SpawnerPool::clean_up_after(const SpawnerClient& client) const {
  if (client.cgroup().empty()) return;
  if (kill_cgroup(client.cgroup())) (void)remove_cgroup(client.cgroup());
}

void SpawnerPool::on_readable() {
  if (zygote_.wants_write()) {
    zygote_.flush();
    watch_zygote_for_room();
  }
  read_warming();
  read_zygote();
}

void SpawnerPool::read_warming() {
  std::vector<Token> warming;
  for (const auto& [token, slot] : slots_)
    if (slot.state == State::warming) warming.push_back(token);
  for (Token token : warming) {
    Slot& slot = slots_.at(token);
    bool lost = !slot.client->poll_event();
    if (lost) {
      remove(token);
    } else if (slot.client->is_ready()) {
      unwatch(slot.client->descriptor());
      slot.state = State::idle;
      idle_.insert(idle_.begin(), token);
    }
  }
}

void SpawnerPool::read_zygote() {
  while (!zygote_lost_) {
    auto event = zygote_.poll_event();
    if (!event) return lose_zygote();
    if (!event->has_value()) return;
    std::visit([this](const auto& what) { handle(what); }, **event);
  }
}

void SpawnerPool::handle(const SpawnerForked& forked) {
  if (auto slot = slots_.find(forked.token); slot != slots_.end()) slot->second.pid = forked.pid;
}

// Its client sees the closed socket.
void SpawnerPool::handle(const ForkFailed& failed) {
  auto slot = slots_.find(failed.token);
  bool leased = slot != slots_.end() && slot->second.state == State::leased;
  if (events_.size() < kEventsMax)
    events_.push_back({.kind = PoolEvent::Kind::fork_failed, .error = failed.error, .was_leased = leased});
}

void SpawnerPool::handle(const SpawnerEnded& ended) {
  auto slot = std::ranges::find_if(slots_, [&](const auto& entry) { return entry.second.pid == ended.pid; });
  bool known = slot != slots_.end();
  bool leased = known && slot->second.state == State::leased;
  if (ended.wait_status != 0 && events_.size() < kEventsMax)
    events_.push_back({.kind = PoolEvent::Kind::spawner_lost,
                       .pid = ended.pid,
                       .wait_status = ended.wait_status,
                       .was_leased = leased});
  if (!known || leased) return;
  // Not replaced before the next lease: one that dies at its birth would be forked again and again.
  std::erase(idle_, slot->first);
  remove(slot->first);
}

void SpawnerPool::lose_zygote() {
  unwatch(zygote_.descriptor());
  zygote_lost_ = true;
  if (events_.size() < kEventsMax) events_.push_back({.kind = PoolEvent::Kind::zygote_lost});
}

void SpawnerPool::signal(Token token, int signal) {
  const Slot& slot = slots_.at(token);
  if (slot.pid == 0) read_zygote();  // it may have said the number by now
  pid_t pid = slot.pid != 0 ? slot.pid : slot.client->pid();
  if (pid == 0) return;
  if (!zygote_lost_) {
    zygote_.signal_spawner(pid, signal);
    if (zygote_.wants_write()) watch_zygote_for_room();
  } else {
    // While its socket is open it lives, and the number is its own.
    if (!slot.client->is_lost()) ::kill(pid, signal);
    if (signal == SIGKILL) clean_up_after(*slot.client);
  }
}

std::optional<PoolEvent> SpawnerPool::poll_event() {
  if (events_.empty()) return std::nullopt;
  PoolEvent event = events_.front();
  events_.pop_front();
  return event;
}

}  // namespace sluice::exec
