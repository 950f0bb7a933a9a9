#include "node/flow_news.h"

#include <utility>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

net::Awaitable<void> FlowNews::room() {
  if (has_client() && !lost_) co_await client_->room();
}

void FlowNews::tell(v1::RunOutput output) {
  if (has_client() && !lost_) client_->send(std::move(output));
}

void FlowNews::note(const std::string& text) {
  if (!has_client()) {
    if (last_notes_.size() == kNotesKept) last_notes_.pop_front();
    last_notes_.push_back(text);
    return log_.warn("flow in the background", {{"flow", flow_.text()}, {"note", text}});
  }
  v1::RunOutput output;
  output.set_note(text);
  tell(std::move(output));
}

void FlowNews::tell_plan(const FlowId& id) {
  if (std::exchange(plan_told_, true)) return;
  v1::RunOutput output;
  *output.mutable_plan() = layout_.plan(id);
  tell(std::move(output));
}

void FlowNews::tell_command(std::size_t part, const v1::HostCommand& command) {
  v1::RunOutput output;
  output.mutable_host()->set_part(static_cast<std::uint32_t>(part));
  *output.mutable_host()->mutable_command() = command;
  tell(std::move(output));
}

void FlowNews::tell_started(std::size_t part, std::size_t stage, int pid) {
  v1::RunOutput output;
  v1::StageStatus& status = *output.mutable_stage();
  status.set_index(static_cast<std::uint32_t>(stage));
  status.set_host(layout_.host_names()[part]);
  status.set_pid(pid);
  tell(std::move(output));
}

void FlowNews::tell_exited(std::size_t part, int pid, const v1::Exited& exited) {
  v1::RunOutput output;
  v1::StageStatus& status = *output.mutable_stage();
  status.set_index(exited.stage());
  status.set_host(layout_.host_names()[part]);
  status.set_pid(pid);
  *status.mutable_exited() = exited;
  tell(std::move(output));
}

void FlowNews::tell_output(std::size_t stage, std::uint64_t bytes) {
  v1::RunOutput output;
  v1::StageStatus& status = *output.mutable_stage();
  status.set_index(static_cast<std::uint32_t>(stage));
  status.set_output_known(true);
  status.set_output_bytes(bytes);
  tell(std::move(output));
}

void FlowNews::tell_link_counts(v1::LinkCounts counts) {
  v1::RunOutput output;
  *output.mutable_link_counts() = std::move(counts);
  tell(std::move(output));
}

void FlowNews::tell_moved(std::size_t part, v1::Moved moved) {
  if (crowded()) return;
  v1::RunOutput output;
  output.mutable_moved()->set_part(static_cast<std::uint32_t>(part));
  *output.mutable_moved()->mutable_moved() = std::move(moved);
  tell(std::move(output));
}

void FlowNews::tell_errors(std::size_t part, const v1::ErrorOutput& errors) {
  if (!layout_.merges_errors(part)) return tell_errors_of(errors.stage(), errors.bytes());
  link::LineMarker& lines = error_lines_.try_emplace(part, layout_.error_mark(part)).first->second;
  tell_errors_of(errors.stage(), lines.on_bytes(errors.bytes()));
}

void FlowNews::tell_last_line(std::size_t part) {
  auto lines = error_lines_.find(part);
  if (lines == error_lines_.end()) return;
  const flow::Part& whose = layout_.graph().parts[part];
  tell_errors_of(static_cast<std::uint32_t>(whose.seats_of ? *whose.seats_of : whose.stages.front()),
                 lines->second.on_end());
  error_lines_.erase(lines);
}

void FlowNews::tell_errors_of(std::uint32_t stage, const std::string& bytes) {
  if (bytes.empty()) return;
  v1::RunOutput output;
  output.mutable_error_output()->set_stage(stage);
  output.mutable_error_output()->set_bytes(bytes);
  tell(std::move(output));
}

void FlowNews::tell_end(const v1::FlowEnded& ended) {
  v1::RunOutput output;
  *output.mutable_ended() = ended;
  tell(std::move(output));
}

}  // namespace sluice::node
