#include "flow/graph.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::flow {

std::string title_of_stage(std::string_view name, std::size_t index) {
  return name.empty() ? fmt::format("stage {}", index + 1) : fmt::format("stage '{}'", name);
}

std::string label_of(std::string_view name, std::size_t index) {
  return name.empty() ? std::to_string(index + 1) : std::string(name);
}

std::string source_of(std::string_view name, std::size_t index, bool of_errors) {
  return (of_errors ? "stderr of " : "") + label_of(name, index);
}

std::string slow_text(const SlowPolicy& slow) {
  switch (slow.kind) {
    case SlowPolicy::Kind::block:
      return {};
    case SlowPolicy::Kind::drop:
      return "drop";
    case SlowPolicy::Kind::spill:
      return "spill " + format_bytes(slow.spill_max);
  }
  return {};
}

FlowEnds ends_of(const FlowGraph& graph) {
  if (graph.ends) return *graph.ends;
  std::vector<bool> follows(graph.stages.size()), leads_on(graph.stages.size());
  for (const Link& link : graph.links) {
    follows[link.to] = true;
    if (!link.of_errors) leads_on[link.from] = true;
  }
  FlowEnds ends;
  if (std::ranges::count(follows, false) == 1)
    ends.reads_stdin = static_cast<std::size_t>(std::ranges::find(follows, false) - follows.begin());
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    if (graph.stages[i].reads_stdin) ends.reads_stdin = i;
    if (!leads_on[i]) ends.write_stdout.push_back(i);
  }
  return ends;
}

std::optional<std::size_t> left_neighbour(const FlowGraph& graph, std::size_t stage) {
  std::optional<std::size_t> of_errors;
  for (const Link& link : graph.links) {
    if (link.to != stage) continue;
    if (!link.of_errors) return link.from;
    if (!of_errors) of_errors = link.from;
  }
  return of_errors;
}

std::vector<Link> links_of_row(std::size_t stages) {
  std::vector<Link> links;
  for (std::size_t i = 1; i < stages; ++i) links.push_back({.from = i - 1, .to = i});
  return links;
}

bool is_row(const std::vector<Link>& links, std::size_t stages) {
  if (links.size() + 1 != stages) return false;
  for (std::size_t i = 0; i < links.size(); ++i) {
    const Link& link = links[i];
    bool leads_to_next = link.from == i && link.to == i + 1 && !link.of_errors;
    if (!leads_to_next || link.slow.kind != SlowPolicy::Kind::block) return false;
  }
  return true;
}

}  // namespace sluice::flow
