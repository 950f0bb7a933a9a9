#pragma once
// What the stages and junctions of a flow wait for, as flow/stall_watch wants to know it.
//
// Of a program that reads and writes pipes nobody knows whether it works or waits: it counts as one that can go on.
// Threading: pure functions.
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "flow/plan.h"
#include "flow/stall_watch.h"
#include "node/job_stage.h"
#include "node/junction_streams.h"

namespace sluice::node {

/// Where a link into a stage comes from: from another stage, all of whose output it carries, or from a junction.
struct LinkSource {
  std::optional<std::size_t> writer;
  std::size_t junction = 0;
  std::size_t output = 0;  // of the junction
};
/// By stage, in the order of its links.
using LinkSources = std::map<std::size_t, std::vector<LinkSource>>;

struct FlowStanding {
  std::map<std::size_t, JobStageCounts> stages;  // that move their records themselves
  std::vector<JunctionStreams::Standing> junctions;
};

/// A stage that joins records could have to wait for itself: only then is there anything to watch.
bool can_stall(const flow::Plan& plan);
/// The stages of the plan, and then the inputs of its junctions. A stage that is elsewhere waits for whoever writes to it
/// here, or reads from it.
std::vector<flow::StallParty> stall_parties(const flow::Plan& plan, const LinkSources& sources,
                                            const FlowStanding& standing);
std::size_t stall_party_count(const flow::Plan& plan);

}  // namespace sluice::node
