#pragma once
// The actions of a distributed flow's machine as commands to the hosts of its parts.
// Threading: pure functions.
#include "flow/distributed_run.h"

namespace sluice::v1 {
class HostCommand;
}

namespace sluice::node {

v1::HostCommand command_of(const flow::ConnectPart& action);
v1::HostCommand command_of(const flow::StartPart& action);
v1::HostCommand command_of(const flow::SignalPart& action);
v1::HostCommand command_of(const flow::SurveyPart& action);
v1::HostCommand command_of(const flow::EndPart& action);
v1::HostCommand command_of(const flow::DetachPart& action);

}  // namespace sluice::node
