#pragma once
// How fast a flow moves, what its stages do with their time, and what holds it back: the difference between two samples of
// its counters.
//
// The bottleneck, by this rule:
//   1. A stage of records has no worker, and something waits there or in a link to it; of several the last in the direction of
//      the flow.
//   2. The last stage that runs is held back for half of its time or more: whoever reads the output of the flow.
//   3. The first stage that runs is idle for half of its time or more: the input of the flow. Not so if only stages that
//      have ended lead to it, and something is still in flight at it or on its way to it: the input is over, what is left
//      is not.
//   4. Otherwise the stage that is busy for the largest share of its time; of equals the last in the direction of the
//      flow. A stage that holds nobody back is named only if no other runs: each link to it has dropped something between
//      the two samples, or comes from such a stage.
// A stage that can't keep up is always busy; those before it are held back by what it does not take, those behind it are
// idle for what it does not give. So no other is as busy, unless what limits the flow is outside of it, which 2 and 3 are,
// or what it does not take is dropped.
// Threading: pure, no clock.
#include <cstddef>
#include <optional>
#include <vector>

#include "flow/flow_counters.h"

namespace sluice::flow {

/// Percent. They add up to 100.
struct Shares {
  int busy = 0;
  int idle = 0;
  int held_back = 0;
  bool operator==(const Shares&) const = default;
};
/// Nothing: no time was counted between the two.
std::optional<Shares> shares_between(const Activity& before, const Activity& after);

struct WorkerRates {
  double records_in = 0;  // a second, as all rates
  double records_out = 0;
  std::optional<Shares> shares;
};

struct StageRates {
  double read_bytes = 0;
  double written_bytes = 0;
  double records_in = 0;
  double records_out = 0;
  std::optional<Shares> shares;      // nothing: it does not run, or has not been looked at twice
  std::vector<WorkerRates> workers;  // as StageCounters::each_worker
};

struct LinkRates {
  double bytes_in = 0, bytes_out = 0;
  double records_in = 0, records_out = 0;
  bool drops =
      false;  // bytes, between the two samples. Records that --resume leaves out wait for nobody, and are no sign
};

/// It waits for the first of its workers, or for another, and something for it.
bool lacks_workers(const FlowCounters& flow, const StageCounters& stage);
/// What the stage before it has written and it has not read.
std::uint64_t bytes_on_their_way_to(const FlowCounters& flow, const StageCounters& stage);

struct Bottleneck {
  enum class Kind { stage, input, output };
  Kind kind = Kind::stage;
  std::size_t stage = 0;  // that rules 1 and 4 name; of the others the stage by which it shows
  bool operator==(const Bottleneck&) const = default;
};

struct FlowReport {
  FlowCounters counters;
  Duration interval{};             // between the two samples; zero: there is one only, and no rate
  std::vector<StageRates> stages;  // as counters.stages
  std::vector<LinkRates> links;    // as counters.links
  std::optional<Bottleneck> bottleneck;
};

/// Of one flow.
class FlowMeter final {
 public:
  FlowReport on_counters(FlowCounters counters);

 private:
  std::optional<FlowCounters> before_;
};

}  // namespace sluice::flow
