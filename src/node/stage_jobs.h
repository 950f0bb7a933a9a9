#pragma once
// The processes of a stage, wherever they run: on this host by one spawner, or in seats on other hosts, each behind a
// socket of its own that looks like a spawner's (far_seats.h).
//
// A seat that is lost takes its processes with it: each is reported as ended by SIGKILL, and what is started later for
// its worker runs in the seat that has least to do. So a stage knows workers, and no hosts.
// Threading: belongs to one thread.
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
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
  /// One seat for each worker. Errors: errno.
  static std::expected<StageJobs, int> in_seats(std::vector<exec::JobClient> seats);

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
  bool all_seats_lost() const { return far_ && left() == 0 && !closed_; }

 private:
  std::size_t left() const;
  std::size_t seat_for(std::uint32_t worker) const;
  void lose(std::size_t seat);

  std::vector<exec::JobClient> clients_;
  UniqueFd ready_;  // epoll(7) of them all, if there are seats
  bool far_ = false;
  bool closed_ = false;
  std::vector<bool> awaits_output_;
  std::map<exec::JobNumber, std::size_t> running_;  // in which seat; of those that are far
  std::deque<exec::JobEvent> lost_;
};

}  // namespace sluice::node
