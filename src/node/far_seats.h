#pragma once
// The seats of one stage on other hosts, seen from the host where its records are: each worker's seat has a socket that
// takes jobs as a spawner does (exec/job_client.h), and what is asked there is done on the other host
// (seat_host.h), over two byte links.
//
// A process far away is given no more of its input than a window beyond what is in its pipe. The window is short at
// first, so that little waits in front of one that is slow, and grows for one that is fast. When a link of a seat
// breaks, its socket closes: whoever asked learns that what ran there is lost.
// It has a thread of its own.
// Threading: made and destroyed by one thread.
#include <expected>
#include <memory>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::node {

/// One seat: the pipes that its links carry, and the socket that its jobs are asked for on.
struct FarSeatEnds {
  UniqueFd requests;  // to write
  UniqueFd replies;   // to read
  UniqueFd jobs;      // the other end of a JobClient
};

class FarSeats final {
 public:
  /// `joins`: others may be added, and there may be none at first. Errors: errno; no thread can be started.
  static std::expected<FarSeats, int> start(std::vector<FarSeatEnds> seats, bool joins = false);
  /// One that has come while it runs. Requires: `joins`.
  void add(FarSeatEnds seat);
  FarSeats(FarSeats&&) noexcept;
  FarSeats& operator=(FarSeats&&) = delete;
  /// Stops it; what still runs is lost.
  ~FarSeats();

 private:
  struct Running;
  explicit FarSeats(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::node
