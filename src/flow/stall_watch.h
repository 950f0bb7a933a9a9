#pragma once
// Finds out that a flow stands still because its stages wait for each other, and says how.
//
// A stage that joins records of several links holds those of one until their counterparts come over another. When what
// copies records to both links waits for the first, whose records the joint can't take any more, the counterparts never
// come: nobody in that cycle can go on, whatever time it is given. Who works, or waits for something outside of the flow,
// can go on by itself, and so can who waits for it: a flow that is slow or idle has no such cycle.
// A stage that joins may also hold records of all links whose counterparts are not among them. Whether it does, or works on
// them, only its program knows: that it settles nothing is said, and ends nothing.
// Invariant: a cycle is told of only if all of its parties have waited for the patience, and for the same as now.
// Order for the shell: look several times within the patience. What was not looked at for half of it begins anew: the flow
// may have been stopped meanwhile, as by Ctrl-Z.
// Threading: pure; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"

namespace sluice::flow {

/// A stage, or what copies the output of one to several links.
struct StallParty {
  enum class Waits {
    nothing,  // it can go on by itself, or nobody knows
    one,      // it can go on when one of the others does
    all,      // it can go on when all of them have
  };
  struct Other {
    std::size_t party = 0;
    std::string why;  // "facebook waits for merger"
    bool operator==(const Other&) const = default;
  };

  Waits waits = Waits::nothing;
  std::vector<Other> others{};
  bool joins = false;       // it holds records of some links, and waits for their counterparts of others
  std::uint64_t moved = 0;  // changes whenever anything has
  std::string advice{};     // what lets it go on: of a joint, and of one that copies
  std::string
      suspicion{};  // of one that may work, or wait for counterparts: "merger holds 10 records of a and 10 of b"
  bool operator==(const StallParty&) const = default;
};

struct StallFinding {
  bool stalled = false;  // else it is a suspicion
  std::string sentence;
};

class StallWatch final {
 public:
  explicit StallWatch(Duration patience) : patience_(patience) {}

  /// How they stand now, always the same ones. Says once that nobody in a cycle can go on any more, and a suspicion once for each
  /// time that nothing moves.
  std::optional<StallFinding> on_look(std::vector<StallParty> parties, TimePoint now);

 private:
  std::vector<bool> stuck(TimePoint now) const;
  std::optional<std::vector<std::size_t>> cycle_through(std::size_t joint, const std::vector<bool>& stuck) const;
  std::string tell(const std::vector<std::size_t>& cycle) const;
  std::optional<StallFinding> suspect(TimePoint now);
  const StallParty::Other& step(std::size_t from, std::size_t to) const;

  Duration patience_;
  std::vector<StallParty> parties_;
  TimePoint looked_{};
  std::vector<TimePoint> since_;  // when each was first seen as it stands
  std::vector<bool> suspected_;   // that was told since then
};

}  // namespace sluice::flow
