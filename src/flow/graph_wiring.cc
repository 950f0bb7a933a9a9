#include "flow/graph_wiring.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace sluice::flow {
namespace {

// Where a link begins (stdout or stderr of a stage) or ends (stdin of a stage, or the flow's stdout), by number.
class Ports final {
 public:
  explicit Ports(std::size_t stages) : stages_(stages), parent_(3 * stages + 1), links_(3 * stages + 1) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  std::size_t output(std::size_t stage, bool of_errors) const { return 2 * stage + (of_errors ? 1 : 0); }
  std::size_t input(std::size_t stage) const { return 2 * stages_ + stage; }
  std::size_t flow_output() const { return 3 * stages_; }

  void count(std::size_t from, std::size_t to) {
    ++links_[from];
    ++links_[to];
  }
  std::size_t links(std::size_t port) const { return links_[port]; }

  void join(std::size_t one, std::size_t other) { parent_[root(one)] = root(other); }
  std::size_t root(std::size_t port) {
    while (parent_[port] != port) port = parent_[port] = parent_[parent_[port]];
    return port;
  }

 private:
  std::size_t stages_;
  std::vector<std::size_t> parent_;
  std::vector<std::size_t> links_;
};

class WiringWork final {
 public:
  explicit WiringWork(const FlowGraph& graph) : graph_(graph), ports_(graph.stages.size()) {}

  Wiring run() {
    find_flow_ends();
    for (const Link& link : graph_.links) ports_.count(output_of(link), ports_.input(link.to));
    for (const Link& link : graph_.links) {
      bool alone = ports_.links(output_of(link)) == 1 && ports_.links(ports_.input(link.to)) == 1;
      // What comes from another host is one stream, whatever it was there.
      bool of_errors = link.of_errors && !graph_.stages[link.from].elsewhere;
      wiring_.plain.push_back(alone && !of_errors && link.slow.kind == SlowPolicy::Kind::block);
      if (!wiring_.plain.back()) ports_.join(output_of(link), ports_.input(link.to));
    }
    for (std::size_t stage : merged_into_stdout_) ports_.join(ports_.output(stage, false), ports_.flow_output());
    make_junctions();
    return std::move(wiring_);
  }

 private:
  std::size_t output_of(const Link& link) const { return ports_.output(link.from, link.of_errors); }

  void find_flow_ends() {
    FlowEnds ends = ends_of(graph_);
    wiring_.reads_stdin = ends.reads_stdin;
    if (ends.write_stdout.size() == 1)
      wiring_.writes_stdout = ends.write_stdout.front();
    else
      merged_into_stdout_ = std::move(ends.write_stdout);
  }

  void make_junctions() {
    for (std::size_t i = 0; i < graph_.links.size(); ++i) {
      const Link& link = graph_.links[i];
      if (!wiring_.plain[i]) add(link.from, link.of_errors, link.to, link.slow);
    }
    for (std::size_t stage : merged_into_stdout_) add(stage, false, std::nullopt, {});
  }

  void add(std::size_t from, bool of_errors, std::optional<std::size_t> to, const SlowPolicy& slow) {
    std::size_t output = ports_.output(from, of_errors);
    auto [number, is_new] = junction_of_root_.try_emplace(ports_.root(output), wiring_.junctions.size());
    if (is_new) wiring_.junctions.emplace_back();
    Junction& junction = wiring_.junctions[number->second];
    auto [input, first_from] = place_.try_emplace(output, junction.inputs.size());
    if (first_from) junction.inputs.push_back(input_of(from, of_errors));
    auto [into, first_into] =
        place_.try_emplace(to ? ports_.input(*to) : ports_.flow_output(), junction.outputs.size());
    if (first_into) junction.outputs.push_back({.stage = to});
    junction.paths.push_back({.input = input->second, .output = into->second, .slow = slow});
  }

  Junction::Input input_of(std::size_t stage, bool of_errors) const {
    Junction::Input input{.stage = stage, .of_errors = of_errors};
    if (of_errors) return input;  // messages are lines, and everybody is to have them
    input.share = graph_.stages[stage].share;
    input.framing = graph_.stages[stage].words.framing.value_or(RecordFraming::lines);
    return input;
  }

  const FlowGraph& graph_;
  Ports ports_;
  Wiring wiring_;
  std::vector<std::size_t> merged_into_stdout_;
  std::map<std::size_t, std::size_t> junction_of_root_;
  std::map<std::size_t, std::size_t> place_;  // of a port in its junction
};

}  // namespace

bool Wiring::output_at_junction(std::size_t stage) const {
  return std::ranges::any_of(junctions, [&](const Junction& junction) {
    return std::ranges::any_of(junction.inputs,
                               [&](const auto& input) { return input.stage == stage && !input.of_errors; });
  });
}

Wiring wire(const FlowGraph& graph) { return WiringWork(graph).run(); }

}  // namespace sluice::flow
