#include "node/host_commands.h"

#include "sluice/v1/host.pb.h"

namespace sluice::node {

v1::HostCommand command_of(const flow::ConnectPart&) {
  v1::HostCommand command;
  command.mutable_connect();
  return command;
}

v1::HostCommand command_of(const flow::StartPart&) {
  v1::HostCommand command;
  command.mutable_start();
  return command;
}

v1::HostCommand command_of(const flow::SignalPart& action) {
  v1::HostCommand command;
  v1::Signal& signal = *command.mutable_signal();
  signal.set_number(action.signal.signal);
  signal.set_strays_too(action.signal.strays_too);
  signal.set_then_continue(action.signal.then_continue);
  for (std::size_t stage : action.stages) signal.add_stages(static_cast<std::uint32_t>(stage));
  return command;
}

v1::HostCommand command_of(const flow::SurveyPart&) {
  v1::HostCommand command;
  command.mutable_survey();
  return command;
}

v1::HostCommand command_of(const flow::EndPart& action) {
  v1::HostCommand command;
  command.mutable_end_all()->set_links_too(action.links_too);
  return command;
}

v1::HostCommand command_of(const flow::DetachPart&) {
  v1::HostCommand command;
  command.mutable_detach();
  return command;
}

}  // namespace sluice::node
