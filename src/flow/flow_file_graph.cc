#include "flow/flow_file_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <queue>

#include "flow/graph_cycles.h"
#include "flow/graph_wiring.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// The key that stands for the @ word with which the reason begins.
TextPlace place_of_word(const FileStage& stage, std::string_view reason) {
  for (const auto& [key, place] : stage.keys)
    if (reason.starts_with("'@" + key)) return place;
  bool of_framing = stage.keys.contains("framing") && reason.find("records are told apart") != std::string_view::npos;
  return of_framing ? stage.keys.find("framing")->second : stage.place;
}

class Refusals final {
 public:
  explicit Refusals(const FlowFile& file) : file_(file) {}

  std::vector<FileMistake> find() {
    for (const FileStage& stage : file_.stages) refuse_keys(stage);
    refuse_cycles();
    return found_.take();
  }

 private:
  void refuse_restart(const FileStage& stage) {
    auto key = stage.keys.find("restart");
    if (key == stage.keys.end() || stage.restart == Restart::never || stage.worker) return;
    const char* why =
        "what a program had read, and not passed on, would be lost if it were started anew; a worker that is linked "
        "with the library can be (worker: ./PROGRAM), and lost processes of 'map' and 'each' are";
    found_.add(key->second, fmt::format("'restart' of stage '{}': {}", stage.name, why));
  }

  void refuse_keys(const FileStage& stage) {
    refuse_restart(stage);
    for (const char* name : {"retries", "rate"}) {
      auto key = stage.keys.find(name);
      bool takes = std::string_view(name) == "rate" ? takes_records(stage.stage.words)
                                                    : stage.stage.words.map || stage.stage.words.each || stage.worker;
      if (key != stage.keys.end() && !takes)
        found_.add(key->second,
                   fmt::format("'{}' of stage '{}' has no records to go by; add 'each: true' or 'map: true'", name,
                               stage.name));
    }
    if (auto reason = not_yet_built(stage.stage.words))
      found_.add(place_of_word(stage, *reason), fmt::format("stage '{}': {}", stage.name, *reason));
  }

  void refuse_cycles() {
    std::vector<Link> links;
    for (const FileLink& link : file_.links) links.push_back({link.from, link.to});
    for (const Cycle& cycle : find_cycles(file_.stages.size(), links)) {
      const FileLink& closing = file_.links[cycle.closing_link];
      found_.add(closing.place,
                 fmt::format("the link '{} -> {}' closes a cycle, which this version can't run: a program does not say "
                             "when it holds no record any more, so nobody could tell when the flow has ended",
                             file_.stages[closing.from].name, file_.stages[closing.to].name));
    }
  }

  const FlowFile& file_;
  FileMistakes found_;
};

// Variables are set by the shell of the stage: the programs of a flow have one environment in common, here and elsewhere.
Stage with_environment(const FileStage& file_stage) {
  Stage stage = file_stage.stage;
  stage.name = file_stage.name;
  stage.share = file_stage.share;
  stage.reads_stdin = file_stage.reads_stdin;
  stage.retries = file_stage.retries;
  stage.records_per_second = file_stage.records_per_second;
  stage.concurrency = file_stage.concurrency.value_or(0);
  stage.restart = file_stage.restart;
  if (file_stage.environment.empty()) return stage;
  std::string variables = "export";
  for (const auto& [name, value] : file_stage.environment)
    variables += fmt::format(" {}={}", name, value.empty() ? "''" : quote_word(value));
  // A command that was to run without a shell is the program's, even if the shell has one of that name.
  stage.shell_text = fmt::format("{}; {}{}", variables, stage.without_shell ? "exec " : "", stage.shell_text);
  stage.plain_words.reset();
  stage.without_shell = false;
  return stage;
}

// By place in the order of the graph: the stage of the file. Requires: no cycle.
std::vector<std::size_t> order_of(const FlowFile& file) {
  std::vector<std::vector<std::size_t>> leaving(file.stages.size());
  std::vector<std::size_t> awaited(file.stages.size());
  for (const FileLink& link : file.links) {
    leaving[link.from].push_back(link.to);
    ++awaited[link.to];
  }
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < awaited.size(); ++i)
    if (awaited[i] == 0) ready.push(i);
  std::vector<std::size_t> order;
  while (!ready.empty()) {
    order.push_back(ready.top());
    ready.pop();
    for (std::size_t next : leaving[order.back()])
      if (--awaited[next] == 0) ready.push(next);
  }
  return order;
}

// Only a stage whose records meet others' says with `framing` where they end; that is known of the whole graph.
std::vector<FileMistake> judge_framings(const FlowFile& file, const FlowGraph& graph,
                                        const std::vector<std::size_t>& order) {
  FileMistakes found;
  Wiring wiring = wire(graph);
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    auto reason = not_yet_runnable(graph.stages[i].words);
    const FileStage& stage = file.stages[order[i]];
    if (reason && !wiring.output_at_junction(i))
      found.add(place_of_word(stage, *reason), fmt::format("stage '{}': {}", stage.name, *reason));
  }
  return found.take();
}

}  // namespace

std::expected<FlowGraph, std::vector<FileMistake>> graph_of(const FlowFile& file) {
  auto refusals = Refusals(file).find();
  if (!refusals.empty()) return std::unexpected(std::move(refusals));
  std::vector<std::size_t> order = order_of(file), place(file.stages.size());
  FlowGraph graph;
  for (std::size_t stage : order) {
    place[stage] = graph.stages.size();
    graph.stages.push_back(with_environment(file.stages[stage]));
  }
  for (const FileLink& link : file.links)
    graph.links.push_back(
        {.from = place[link.from], .to = place[link.to], .of_errors = link.of_errors, .slow = link.slow});
  std::ranges::stable_sort(graph.links, {}, &Link::from);
  if (auto framings = judge_framings(file, graph, order); !framings.empty())
    return std::unexpected(std::move(framings));
  return graph;
}

}  // namespace sluice::flow
