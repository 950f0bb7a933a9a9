#include "node/flow_stages.h"

#include <cstdint>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

int FlowStages::pid_of(std::size_t part, std::size_t stage) const {
  auto pid = pids_.find({part, stage});
  return pid == pids_.end() ? 0 : pid->second;
}

void FlowStages::describe(v1::Flow& flow) const {
  for (std::size_t part = 0; part < layout_.graph().parts.size(); ++part)
    for (std::size_t program = 0; program < layout_.graph().parts[part].stages.size(); ++program)
      describe_stage(part, program, *flow.add_stages());
}

std::vector<std::optional<flow::StageEnd>> FlowStages::ends() const {
  std::vector<std::optional<flow::StageEnd>> ends;
  for (std::size_t part = 0; part < layout_.graph().parts.size(); ++part)
    for (std::size_t stage : layout_.graph().parts[part].stages) {
      std::optional<flow::StageEnd>& end = ends.emplace_back();
      if (auto status = wait_statuses_.find({part, stage}); status != wait_statuses_.end())
        end = flow::StageEnd{.status = exec::ProcessStatus::from_wait(status->second),
                             .reader_done = reader_done_.contains({part, stage})};
    }
  return ends;
}

void FlowStages::describe_stage(std::size_t part, std::size_t program, v1::FlowStage& stage) const {
  std::size_t index = layout_.graph().parts[part].stages[program];
  stage.set_index(static_cast<std::uint32_t>(index));
  stage.set_command(start_.stages(static_cast<int>(index)).text().command());
  stage.set_name(start_.stages(static_cast<int>(index)).text().name());
  stage.set_node(layout_.host_names()[part]);
  if (layout_.graph().parts[part].host) stage.set_node_id(layout_.graph().parts[part].host->text());
  stage.set_part(static_cast<std::uint32_t>(part));
  stage.set_program(static_cast<std::uint32_t>(program));
  describe_keeping(part, index, stage);
  stage.set_pid(pid_of(part, index));
  if (auto status = wait_statuses_.find({part, index}); status != wait_statuses_.end()) {
    stage.set_ended(true);
    stage.set_wait_status(status->second);
  }
}

void FlowStages::describe_keeping(std::size_t part, std::size_t index, v1::FlowStage& stage) const {
  stage.set_through_daemon(layout_.moves_records(part));
  stage.set_writes_output(layout_.writes_output(index));
  stage.set_mark(layout_.error_mark(part));
  if (!flow::takes_records(layout_.flow_graph().stages[index].words)) return;
  for (std::size_t seats = 0; seats < layout_.graph().parts.size(); ++seats) {
    const flow::Part& each = layout_.graph().parts[seats];
    if (each.seats_of != index || each.joined) continue;
    v1::KeptSeats& kept = *stage.add_seats();
    kept.set_node(layout_.host_names()[seats]);
    kept.set_node_id(each.host->text());
    kept.set_part(static_cast<std::uint32_t>(seats));
  }
}

}  // namespace sluice::node
