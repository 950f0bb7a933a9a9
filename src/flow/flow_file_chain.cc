#include "flow/flow_file_chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "flow/graph_cycles.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

constexpr const char* kNotYet = "which this version does not have yet";

// What a key of a stage needs. `@` words say that for themselves (not_yet_runnable).
struct FutureKey {
  const char* key;
  const char* needs;
};
constexpr FutureKey kFutureKeys[] = {
    {"restart", "stages that are started anew"},
};

bool says_nothing(const FileStage& stage, std::string_view key) {
  return key == "restart" && (stage.restart == Restart::never || stage.worker);
}

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
    std::vector<std::size_t> leaving(file_.stages.size()), arriving(file_.stages.size());
    for (const FileLink& link : file_.links) refuse_link(link, leaving, arriving);
    refuse_cycles();
    if (found_.empty()) refuse_parallel(arriving);
    return found_.take();
  }

 private:
  void refuse(TextPlace place, std::string_view what, std::string_view needs) {
    found_.add(place, fmt::format("{} needs {}, {}", what, needs, kNotYet));
  }

  void refuse_keys(const FileStage& stage) {
    for (const FutureKey& future : kFutureKeys) {
      auto key = stage.keys.find(future.key);
      if (key != stage.keys.end() && !says_nothing(stage, future.key))
        refuse(key->second, fmt::format("'{}' of stage '{}'", future.key, stage.name), future.needs);
    }
    for (const char* name : {"retries", "rate"}) {
      auto key = stage.keys.find(name);
      bool takes = std::string_view(name) == "rate" ? takes_records(stage.stage.words)
                                                    : stage.stage.words.map || stage.stage.words.each || stage.worker;
      if (key != stage.keys.end() && !takes)
        found_.add(key->second,
                   fmt::format("'{}' of stage '{}' has no records to go by; add 'each: true' or 'map: true'", name,
                               stage.name));
    }
    if (auto reason = not_yet_runnable(stage.stage.words))
      found_.add(place_of_word(stage, *reason), fmt::format("stage '{}': {}", stage.name, *reason));
  }

  void refuse_link(const FileLink& link, std::vector<std::size_t>& leaving, std::vector<std::size_t>& arriving) {
    const FileStage &from = file_.stages[link.from], &to = file_.stages[link.to];
    if (link.of_errors)
      refuse(link.place, fmt::format("the link '{} -> {}' from stderr", from.name, to.name),
             "links beside that of stdout");
    else if (++leaving[link.from] == 2)
      refuse(link.place, fmt::format("the second link that leaves '{}'", from.name),
             from.share ? "links that share records" : "links that copy records");
    if (++arriving[link.to] == 2)
      refuse(link.place, fmt::format("the second link into '{}'", to.name), "links that merge");
    if (link.slow.kind != SlowPolicy::Kind::block)
      refuse(link.place,
             fmt::format("'slow: {}' of the link '{} -> {}'",
                         link.slow.kind == SlowPolicy::Kind::drop ? "drop" : "spill", from.name, to.name),
             "links that do not wait");
  }

  void refuse_cycles() {
    std::vector<Link> links;
    for (const FileLink& link : file_.links) links.push_back({link.from, link.to});
    for (const Cycle& cycle : find_cycles(file_.stages.size(), links)) {
      const FileLink& closing = file_.links[cycle.closing_link];
      refuse(closing.place,
             fmt::format("the link '{} -> {}', which closes a cycle,", file_.stages[closing.from].name,
                         file_.stages[closing.to].name),
             "flows that go round");
    }
  }

  // Without branches and cycles, every stage that no link leads to begins a row of its own.
  void refuse_parallel(const std::vector<std::size_t>& arriving) {
    std::size_t rows = 0;
    for (std::size_t i = 0; i < arriving.size(); ++i)
      if (arriving[i] == 0 && ++rows == 2)
        refuse(file_.stages[i].place,
               fmt::format("stage '{}', which begins a second row of stages,", file_.stages[i].name),
               "flows of several rows");
  }

  const FlowFile& file_;
  FileMistakes found_;
};

// Variables are set by the shell of the stage: the programs of a flow have one environment in common, here and elsewhere.
Stage with_environment(const FileStage& file_stage) {
  Stage stage = file_stage.stage;
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

}  // namespace

std::expected<FlowGraph, std::vector<FileMistake>> chain_of(const FlowFile& file) {
  auto refusals = Refusals(file).find();
  if (!refusals.empty()) return std::unexpected(std::move(refusals));
  std::vector<std::optional<std::size_t>> next(file.stages.size());
  std::vector<bool> follows(file.stages.size());
  for (const FileLink& link : file.links) {
    next[link.from] = link.to;
    follows[link.to] = true;
  }
  FlowGraph graph;
  auto first = static_cast<std::size_t>(std::ranges::find(follows, false) - follows.begin());
  for (std::optional<std::size_t> stage = first; stage; stage = next[*stage]) {
    if (!graph.stages.empty()) graph.links.push_back({graph.stages.size() - 1, graph.stages.size()});
    graph.stages.push_back(with_environment(file.stages[*stage]));
  }
  return graph;
}

}  // namespace sluice::flow
