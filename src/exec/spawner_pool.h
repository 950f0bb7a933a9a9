#pragma once
// The spawners of a node: one for each flow part that runs, and a few idle ones that wait for the next.
//
// A spawner serves one launch after another, because forking one costs more than running a small program does. What it
// has left below it is gone before it is used again: it is idle only when it has no child. None waits for another: a
// lease is usable at once, whatever the zygote is doing; a Launch that is sent before the spawner exists reaches it when
// it does.
//
//   (fork) --> warming --Hello--> idle <--> leased --> gone: the lease ended while something ran, or it was lost
//
// With cgroups of version 2 every spawner is born into one of its own. Entering one of version 1 takes long, so there a
// lease that finds no idle spawner gets one without, and one with a cgroup is warmed for the next.
// Threading: belongs to one thread. Leases must end before the pool.
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "exec/cgroup.h"
#include "exec/spawner_client.h"
#include "exec/zygote_client.h"

namespace sluice::exec {

class SpawnerPool;

/// A spawner for one launch after another, until the lease ends. A lease that ends when its spawner is idle gives it back;
/// else its launch loses its owner: it is ended, or goes on if it is kept.
class SpawnerLease final {
 public:
  SpawnerLease(SpawnerLease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        client_(std::exchange(other.client_, nullptr)),
        token_(other.token_) {}
  SpawnerLease& operator=(SpawnerLease&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(client_, other.client_);
    std::swap(token_, other.token_);
    return *this;
  }
  ~SpawnerLease();

  SpawnerClient& operator*() const { return *client_; }
  SpawnerClient* operator->() const { return client_; }

  /// Makes the spawner go on if a program has stopped it: before a request that must not wait for that.
  void wake();
  /// Kills the spawner, its programs and its cgroup: when it does not answer EndAll, which a program may have seen to.
  void kill();

 private:
  friend class SpawnerPool;
  SpawnerLease(SpawnerPool* pool, SpawnerClient* client, std::uint64_t token)
      : pool_(pool), client_(client), token_(token) {}
  SpawnerPool* pool_;
  SpawnerClient* client_;
  std::uint64_t token_;
};

/// Something for the log. The lease of a spawner that is lost hears of it from its own client.
struct PoolEvent {
  enum class Kind {
    fork_failed,   // `error` is an errno
    spawner_lost,  // killed, or crashed: `wait_status`
    zygote_lost,   // no new spawner can be had; those that run go on
  };
  Kind kind = Kind::fork_failed;
  pid_t pid = 0;
  int wait_status = 0;
  int error = 0;
  bool was_leased = false;
};

class SpawnerPool final {
 public:
  struct Options {
    std::size_t idle_max = 4;                // more are ended when they are given back: each holds some 100 kB
    std::size_t reserve = 1;                 // as many are kept warm ahead of need
    std::optional<CgroupPlace> cgroup_home;  // see make_cgroup_home; none: no cgroups
  };

  SpawnerPool(ZygoteClient zygote, Options options);
  ~SpawnerPool();
  SpawnerPool(const SpawnerPool&) = delete;
  SpawnerPool& operator=(const SpawnerPool&) = delete;

  /// Readable when `on_readable` has work. It is the pool's alone and can be watched as a whole.
  int descriptor() const { return watched_.get(); }
  void on_readable();

  /// An idle spawner, or one that is being forked. Never waits. Errors: why there is none, for the user.
  std::expected<SpawnerLease, std::string> acquire();

  /// Ends idle spawners until `count` are left: what a burst has left behind is memory.
  void shrink_idle(std::size_t count);

  std::optional<PoolEvent> poll_event();

  std::size_t idle_count() const { return idle_.size(); }
  std::size_t leased_count() const { return leased_; }
  pid_t zygote_pid() const { return zygote_.pid(); }
  bool has_zygote() const { return !zygote_lost_; }

 private:
  friend class SpawnerLease;
  enum class State { warming, idle, leased };
  struct Slot {
    std::unique_ptr<SpawnerClient> client;
    State state = State::leased;
    pid_t pid = 0;  // as the zygote says
  };
  using Token = std::uint64_t;

  std::expected<Token, int> fork_slot(State state, bool with_cgroup);
  std::optional<Token> take_idle();
  void give_back(Token token);
  void refill();
  void read_zygote();
  void read_warming();
  void handle(const SpawnerForked& forked);
  void handle(const ForkFailed& failed);
  void handle(const SpawnerEnded& ended);
  void lose_zygote();
  void remove(Token token);
  void clean_up_after(const SpawnerClient& client) const;
  void watch(int descriptor) const;
  void watch_zygote_for_room() const;
  void unwatch(int descriptor) const;
  void signal(Token token, int signal);

  ZygoteClient zygote_;
  Options options_;
  UniqueFd watched_;  // epoll(7): the zygote and the warming spawners
  std::map<Token, Slot> slots_;
  std::vector<Token> idle_;  // the last one is used first: its memory is the warmest
  std::deque<PoolEvent> events_;
  Token last_token_ = 0;
  std::size_t leased_ = 0;
  bool zygote_lost_ = false;
};

}  // namespace sluice::exec
