#pragma once
// The seats of a part on this host: the program of one stage, started as often as the part that has the stage's records
// asks for it, over the links of the seats.
// Threading: belongs to the control loop; the seats have a thread of their own (seat_host.h).
#include <expected>
#include <memory>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "exec/job_client.h"
#include "node/part_launch.h"
#include "node/part_links.h"
#include "node/part_owner.h"
#include "node/part_surroundings.h"
#include "node/seat_host.h"

namespace sluice::node {

class PartSeats final {
 public:
  PartSeats(const v1::Prepare& prepare, PartSurroundings& surroundings)
      : prepare_(prepare), surroundings_(surroundings) {}

  /// The program of the launch, which is `program`, and its pipes. Errors: errno.
  std::expected<PartStreams, int> connect(exec::Program program, exec::Launch& launch);
  /// It can be started: whoever asks over the links is served. Errors: errno.
  std::expected<void, int> start(PartLinks& links);
  /// At once. No process is started any more.
  void stop() { host_.reset(); }
  /// The part is given up: if it has not started yet, it will not.
  void give_up() {
    jobs_.reset();
    error_.reset();
  }

 private:
  const v1::Prepare& prepare_;
  PartSurroundings& surroundings_;
  std::optional<exec::JobClient> jobs_;  // until it is started
  UniqueFd error_;                       // likewise: where the processes' stderr goes
  std::optional<SeatHost> host_;
};

}  // namespace sluice::node
