#include "flow/flow_file_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <queue>
#include <utility>

#include "flow/graph_cycles.h"
#include "flow/graph_wiring.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

constexpr const char* kTakesRecords = "'workers: 2', 'each: true' or 'map: true'";

// The key that stands for the @ word with which the reason begins.
TextPlace place_of_word(const FileStage& stage, std::string_view reason) {
  for (const auto& [key, place] : stage.keys)
    if (reason.starts_with("'@" + key)) return place;
  return stage.place;
}

void judge_restart(const FileStage& stage, FileMistakes& found) {
  auto key = stage.keys.find("restart");
  if (key == stage.keys.end() || stage.restart == Restart::never || stage.worker) return;
  const char* why =
      "what a program had read, and not passed on, would be lost if it were started anew; a worker that is linked "
      "with the library can be (worker: ./PROGRAM), and lost processes of 'map' and 'each' are";
  found.add(key->second, fmt::format("'restart' of stage '{}': {}", stage.name, why));
}

void judge_record_keys(const FileStage& stage, FileMistakes& found) {
  auto judge = [&](const char* name, bool takes, const char* what_would) {
    auto key = stage.keys.find(name);
    if (key == stage.keys.end() || takes) return;
    found.add(key->second,
              fmt::format("'{}' of stage '{}' has no records to go by; add {}", name, stage.name, what_would));
  };
  const StageWords& words = stage.stage.words;
  judge("retries", words.map || words.each || stage.worker, "'each: true' or 'map: true'");
  judge("rate", takes_records(words), kTakesRecords);
}

std::vector<Cycle> cycles_of(const FlowFile& file) {
  std::vector<Link> links;
  for (const FileLink& link : file.links) links.push_back({link.from, link.to});
  return find_cycles(file.stages.size(), links);
}

std::vector<FileMistake> find_not_yet(const FlowFile& file) {
  FileMistakes found;
  for (const FileStage& stage : file.stages)
    if (auto reason = not_yet_built(stage.stage.words))
      found.add(place_of_word(stage, *reason), fmt::format("stage '{}': {}", stage.name, *reason));
  for (const Cycle& cycle : cycles_of(file)) {
    const FileLink& closing = file.links[cycle.closing_link];
    found.add(closing.place,
              fmt::format("the link '{} -> {}' closes a cycle, which this version can't run: a program does not say "
                          "when it holds no record any more, so nobody could tell when the flow has ended",
                          file.stages[closing.from].name, file.stages[closing.to].name));
  }
  return found.take();
}

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

// Requires: no cycle.
FlowGraph put_in_order(const FlowFile& file, const std::vector<std::size_t>& order) {
  std::vector<std::size_t> place(file.stages.size());
  FlowGraph graph;
  for (std::size_t stage : order) {
    place[stage] = graph.stages.size();
    graph.stages.push_back(with_environment(file.stages[stage]));
  }
  for (const FileLink& link : file.links)
    graph.links.push_back(
        {.from = place[link.from], .to = place[link.to], .of_errors = link.of_errors, .slow = link.slow});
  std::ranges::stable_sort(graph.links, {}, &Link::from);
  return graph;
}

// Only a stage whose records meet others' says with `framing` where they end; that is known of the whole graph.
void judge_framings(const FlowFile& file, FileMistakes& found) {
  if (!cycles_of(file).empty()) return;
  std::vector<std::size_t> order = order_of(file);
  Wiring wiring = wire(put_in_order(file, order));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const FileStage& stage = file.stages[order[i]];
    auto key = stage.keys.find("framing");
    if (key == stage.keys.end() || takes_records(stage.stage.words) || wiring.output_at_junction(i)) continue;
    found.add(key->second, fmt::format("'framing' of stage '{}' says how records are told apart, and a stage of one "
                                       "worker takes bytes; leave it out, or add {}",
                                       stage.name, kTakesRecords));
  }
}

}  // namespace

std::vector<FileMistake> idle_keys(const FlowFile& file) {
  FileMistakes found;
  for (const FileStage& stage : file.stages) {
    judge_restart(stage, found);
    judge_record_keys(stage, found);
  }
  judge_framings(file, found);
  return found.take();
}

std::expected<FlowGraph, std::vector<FileMistake>> graph_of(const FlowFile& file) {
  std::vector<FileMistake> refusals = idle_keys(file);
  std::ranges::move(find_not_yet(file), std::back_inserter(refusals));
  std::ranges::sort(refusals);
  if (!refusals.empty()) return std::unexpected(std::move(refusals));
  return put_in_order(file, order_of(file));
}

}  // namespace sluice::flow
