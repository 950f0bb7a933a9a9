#pragma once
// The page /metrics of a node, in Prometheus' text format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). It tells of the flows that this node orchestrates, wherever
// their stages run, so that the sum over all nodes counts each once. docs/top.md lists the names.
// Threading: pure.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice::v1 {
class ReadCountersResponse;
}

namespace sluice::node {

struct NodeFacts {
  std::string id;
  std::string name;
  std::string version;
  double start_unix_s = 0;
  double uptime_s = 0;
  std::map<std::string, std::size_t> members;  // by state: alive, suspect, left, dead
};

std::string metrics_page(const NodeFacts& node, const v1::ReadCountersResponse& counters);

/// A label's value between its quotes: backslashes, quotes and line ends are escaped, bytes that are no UTF-8 replaced.
std::string escaped_label(std::string_view value);

}  // namespace sluice::node
