#include "node/failure_message.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/flow_summary.h"
#include "flow/quoting.h"
#include "node/flow_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kNamed = 5;          // stages
constexpr std::size_t kColumns = 400;      // of what is said of one: it may have failed on many nodes
constexpr std::size_t kShortIdDigits = 8;  // as `sluice ps` shows it

// A stage of @all has one program on each node.
void add_program(const v1::FlowStage& program, const flow::StageEnd& end, flow::StageSummary& stage) {
  stage.name = program.name();
  stage.command = program.command();
  stage.host = program.node();
  stage.elsewhere = true;
  stage.workers.push_back({.host = program.node(), .pid = program.pid(), .end = end});
}

}  // namespace

std::string failure_message(const v1::Flow& flow, const std::vector<std::optional<flow::StageEnd>>& ends) {
  std::size_t count = 0;
  for (const v1::FlowStage& program : flow.stages()) count = std::max<std::size_t>(count, program.index() + 1);
  std::vector<flow::StageSummary> stages(count);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const v1::FlowStage& program = flow.stages(static_cast<int>(i));
    if (ends[i]) add_program(program, *ends[i], stages[program.index()]);
  }
  flow::FlowSummary one{.rule = pipefail_from(flow.pipefail()).value_or(flow::PipefailRule::lenient)};
  one.stages.resize(count);
  std::string text;
  std::size_t failed = 0;
  for (std::size_t i = 0; i < count; ++i) {
    one.stages[i] = std::move(stages[i]);
    std::string said = fmt::format("{}", fmt::join(flow::failure_sentences(one), ", "));
    one.stages[i] = {};
    if (said.empty() || ++failed > kNamed) continue;
    text += fmt::format("{}{} (sluice logs {}/{})", text.empty() ? "" : "; ", flow::on_one_line(said, kColumns),
                        flow.id().substr(0, kShortIdDigits), i + 1);
  }
  if (failed > kNamed) text += fmt::format("; and {} more", failed - kNamed);
  return text;
}

}  // namespace sluice::node
