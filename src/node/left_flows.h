#pragma once
// Flows in the background that an earlier daemon has left to their spawners. They have no orchestrator, and need none: all
// their programs are on this host. For their counters the programs are looked at, as long as somebody asks.
// Threading: belongs to the control loop; reads /proc, never waits.
#include <cstdint>
#include <map>
#include <string>

#include "base/time.h"
#include "node/part_progress.h"

namespace sluice::v1 {
class Flow;
class FlowCounters;
}  // namespace sluice::v1

namespace sluice::node {

class LeftFlows final {
 public:
  /// Requires that the flow runs, and that all of it is on this host.
  void count(const v1::Flow& flow, v1::FlowCounters& counters, TimePoint now);
  /// Looks at the programs of those for which somebody has asked lately. False: nobody has.
  bool look(TimePoint now);

 private:
  struct Looked {
    std::map<std::uint32_t, PartProgress> parts;
    TimePoint asked_at{};
  };
  std::map<std::string, Looked> flows_;
};

}  // namespace sluice::node
