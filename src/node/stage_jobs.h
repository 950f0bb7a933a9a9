#pragma once
// The processes of a stage, wherever they run: on this host by one spawner, or in seats on other hosts, each behind a
// socket of its own that looks like a spawner's (far_seats.h).
//
// A seat that is lost takes its processes with it: each is reported as ended by SIGKILL, and what is started later for
// its worker runs in the seat that has least to do. So a stage knows workers, and no hosts.
//
// Into a stage that says so others may come while it runs, each a seat with a worker of its own (`add`). That worker goes
// with its seat: what ran there is lost, and nothing of another runs there.
// Threading: belongs to one thread, but for `add`, which is for any.
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/job_client.h"

namespace sluice::node {

class StageJobs final {
 public:
  /// Nothing is connected.
  StageJobs() = default;
  /// All run on this host.
  explicit StageJobs(exec::JobClient here);
  /// One seat for each worker. `joins`: others may come; there may be none at first. Errors: errno.
  static std::expected<StageJobs, int> in_seats(std::vector<exec::JobClient> seats, bool joins = false);

  /// One that comes. Whoever the stage belongs to is to be woken.
  void add(exec::JobClient seat);
  struct SeatChange {
    enum class Kind {
      joined,   // it has the next number, or that of one that has joined before and was released
      leaving,  // it takes no more jobs
      lost,     // ... and has none any more: of whatever ran there the end was told, or will be
    };
    Kind kind = Kind::joined;
    std::uint32_t worker = 0;
  };
  /// To be asked before anything is started.
  std::optional<SeatChange> poll_change();
  /// Nothing is to be started in it any more, and nothing runs. Only of one that has joined.
  void release(std::uint32_t worker);
  bool is_released(std::uint32_t worker) const { return released_[worker - own_]; }
  /// Its seat was lost, or released.
  bool is_gone(std::uint32_t worker) const { return clients_[worker].descriptor() < 0; }
  bool has_joined(std::uint32_t worker) const { return comers_ && worker >= own_ && worker < clients_.size(); }

  /// As exec::JobClient has them.
  std::expected<void, int> start(exec::JobNumber job, std::uint32_t worker, std::vector<std::string> arguments,
                                 const exec::JobClient::Streams& streams);
  void release_input(exec::JobNumber job);
  void signal(exec::JobNumber job, int signal);
  void close();

  int descriptor() const;
  /// What to wait for; to be asked before each wait.
  short events();
  void flush();
  /// False: the spawner is gone or takes no more jobs; or no seat is left.
  bool receive();
  std::optional<exec::JobEvent> poll_event();

  /// They run in seats on other hosts.
  bool is_far() const { return far_; }
  /// Every seat was lost.
  bool all_seats_lost() const { return far_ && left() == 0 && !closed_ && !comers_; }

 private:
  struct Comers;

  std::size_t left() const;
  std::size_t seat_for(std::uint32_t worker) const;
  void lose(std::size_t seat);
  void take_comers();
  void watch(std::size_t seat) const;
  std::optional<exec::JobEvent> judge(std::size_t seat, exec::JobEvent event);
  bool has_own_seat() const;

  std::vector<exec::JobClient> clients_;
  std::size_t own_ = 0;             // seats that were there at first
  std::shared_ptr<Comers> comers_;  // if others may come
  std::deque<SeatChange> changes_;
  std::vector<bool> released_;  // of those that have joined
  UniqueFd ready_;              // epoll(7) of them all, if there are seats
  bool far_ = false;
  bool closed_ = false;
  std::vector<bool> awaits_output_;
  std::map<exec::JobNumber, std::size_t> running_;  // in which seat; of those that are far
  std::deque<exec::JobEvent> lost_;
};

}  // namespace sluice::node
