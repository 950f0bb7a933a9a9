#include "node/served_part.h"

#include <algorithm>
#include <csignal>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

// Events of one part that wait to be sent before its error output is read no further.
constexpr std::size_t kEventsMax = 32;

net::Awaitable<void> wait_for_room(std::shared_ptr<ServedPart::Line> line) {
  if (line) co_await line->wait_for_room(kEventsMax);
}

// What another orchestrator has to know of the past: everything else is answered when it asks.
bool is_noted(const v1::HostEvent& event) {
  return event.has_started() || event.has_exited() || event.has_link_ended() || event.has_childless() ||
         event.has_over() || event.has_failed();
}

}  // namespace

ServedPart::ServedPart(net::asio::any_io_executor executor, PartSurroundings& surroundings,
                       std::optional<Orchestrator> orchestrator)
    : orchestrator_(std::move(orchestrator)),
      changed_(std::move(executor)),
      host_(std::make_unique<PartHost>(
          surroundings, [this](v1::HostEvent event) { on_event(std::move(event)); },
          [this]() -> net::Awaitable<void> { return wait_for_room(line_); })) {}

ServedPart::~ServedPart() = default;

void ServedPart::on_command(const v1::HostCommand& command) {
  if (command.has_prepare() && prepare_.flow_id().empty()) {
    prepare_ = command.prepare();
    prepare_.clear_environment();
    prepare_.clear_files();
    for (const auto* streams : {&prepare_.inputs(), &prepare_.outputs()})
      for (const v1::PartStream& stream : *streams)
        for (const v1::LinkEnd& end : stream.ends()) stream_links_.insert(end.link_id());
  }
  host_->on_command(command);
}

void ServedPart::attach(std::shared_ptr<Line> line) {
  if (line_) line_->close();
  line_ = std::move(line);
  for (const v1::HostEvent& event : noted_) line_->put(event);
  changed_.notify();
}

bool ServedPart::may_be_alone() const {
  return outlives_orchestrator() && orchestrator_ && started_ && !broken_ && given_up_.empty();
}

void ServedPart::on_event(v1::HostEvent event) {
  started_ = started_ || event.has_started();
  broken_ = broken_ || event.has_failed() || breaks_link(event);
  if (outlives_orchestrator() && is_noted(event)) noted_.push_back(event);
  changed_.notify();
  if (line_) line_->put(std::move(event));
}

bool ServedPart::breaks_link(const v1::HostEvent& event) const {
  if (!event.has_link_ended() || !stream_links_.contains(event.link_ended().link_id())) return false;
  v1::LinkEnded::Kind kind = event.link_ended().kind();
  return kind == v1::LinkEnded::KIND_CUT || kind == v1::LinkEnded::KIND_FAILED;
}

void ServedPart::mark_over(TimePoint now) {
  over_at_ = now;
  changed_.notify();
}

void ServedPart::give_up(std::string why) {
  if (!given_up_.empty()) return;
  given_up_ = std::move(why);
  noted_.clear();
  host_->abandon();
}

void ServedPart::tell_to_end() {
  v1::HostCommand command;
  v1::Signal& signal = *command.mutable_signal();
  signal.set_number(SIGTERM);
  signal.set_strays_too(true);
  signal.set_then_continue(true);
  for (const v1::StageText& stage : prepare_.stages()) signal.add_stages(stage.index());
  host_->on_command(command);
}

void ServedPart::describe(const NodeId& self, const std::string& self_name, v1::Flow& flow) const {
  flow.set_id(prepare_.flow_id());
  flow.set_name(prepare_.flow_name());
  flow.set_text(prepare_.keep().flow_text());
  flow.set_started_unix_ms(prepare_.keep().started_unix_ms());
  flow.set_background(true);
  flow.set_alone(true);
  flow.set_state(v1::FLOW_STATE_RUNNING);
  flow.set_node(orchestrator_ ? orchestrator_->name : "");
  flow.set_node_id(orchestrator_ ? orchestrator_->id.text() : "");
  for (int i = 0; i < prepare_.stages_size(); ++i) {
    const v1::StageText& text = prepare_.stages(i);
    v1::FlowStage& stage = *flow.add_stages();
    stage.set_index(text.index());
    stage.set_command(text.command());
    stage.set_name(text.name());
    stage.set_node(self_name);
    stage.set_node_id(self.text());
    stage.set_part(prepare_.part());
    stage.set_program(static_cast<std::uint32_t>(i));
  }
  for (const v1::HostEvent& event : noted_) {
    if (event.has_started())
      for (int i = 0; i < std::min(event.started().pids_size(), flow.stages_size()); ++i)
        flow.mutable_stages(i)->set_pid(event.started().pids(i));
    if (!event.has_exited()) continue;
    auto stage = std::ranges::find(*flow.mutable_stages(), event.exited().stage(), &v1::FlowStage::index);
    if (stage == flow.mutable_stages()->end()) continue;
    stage->set_ended(true);
    stage->set_wait_status(event.exited().wait_status());
  }
}

}  // namespace sluice::node
