#pragma once
// What `sluice top` shows of the flows of a cluster: as lines for a person, and as JSON. docs/top.md explains each column.
// Threading: pure functions.
#include <cstddef>
#include <string>
#include <vector>

#include "flow/flow_rates.h"

namespace sluice::v1 {
class FlowCounters;
}

namespace sluice::cli {

flow::FlowCounters counters_from(const v1::FlowCounters& message);

/// All flows of the cluster at one moment.
struct TopSample {
  std::vector<flow::FlowReport> flows;
  std::vector<std::string> silent_nodes;
  std::uint64_t unix_ms = 0;
};

struct TopStyle {
  std::size_t columns = 0;  // tables leave out what does not fit, other lines are cut there; 0: everything is shown
  bool colour = false;
  bool workers = false;  // each of a stage that has many
  bool short_ids = true;
};

/// Without line ends.
std::vector<std::string> lines_of(const flow::FlowReport& report, std::uint64_t unix_ms, const TopStyle& style);
/// "2 flows on 3 nodes", and who is silent.
std::vector<std::string> head_lines(const TopSample& sample, const TopStyle& style);
/// One line without its line end. Fields are only ever added.
std::string to_json(const TopSample& sample);

/// What holds the flow back, as a sentence; empty: nothing can be said.
std::string bottleneck_text(const flow::FlowReport& report);

}  // namespace sluice::cli
