#include "node/stage_marks.h"

#include <fmt/format.h>

#include "flow/quoting.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kMarkColumns = 30;  // of a program's name before each line

}  // namespace

StageMarks::StageMarks(const flow::FlowGraph& graph) {
  for (const flow::Stage& stage : graph.stages) {
    names_.push_back(stage.name);
    programs_.push_back(stage.plain_words ? stage.plain_words->front() : "shell");
  }
}

void StageMarks::on_plan(const v1::FlowPlan& plan) {
  for (const v1::PlannedStage& stage : plan.stages()) {
    bool runs_itself = stage.how().empty() || stage.how().find("exec ") != std::string::npos;
    if (!runs_itself && stage.index() < programs_.size())
      programs_[stage.index()] = stage.how().substr(0, stage.how().find(':'));
  }
}

std::string StageMarks::on_bytes(std::uint32_t stage, std::string_view bytes) {
  if (stage >= programs_.size()) return {};
  std::string mark = names_[stage].empty()
                         ? fmt::format("[{} {}] ", stage + 1, flow::on_one_line(programs_[stage], kMarkColumns))
                         : fmt::format("[{}] ", names_[stage]);
  return lines_.try_emplace(stage, std::move(mark)).first->second.on_bytes(bytes);
}

std::string StageMarks::on_end() {
  std::string left;
  for (auto& [stage, line] : lines_) left += line.on_end();
  return left;
}

}  // namespace sluice::node
