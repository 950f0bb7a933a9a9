#pragma once
// Why a flow in the background failed, for whoever asks for it later: the sentences that a client is told, and where the
// stderr of the stages is kept.
// Threading: pure functions.
#include <optional>
#include <string>
#include <vector>

#include "flow/pipeline_status.h"

namespace sluice::v1 {
class Flow;
}

namespace sluice::node {

/// `ends`: of `flow.stages()`, in their order; nothing: it is not known. Empty: no stage made it fail.
std::string failure_message(const v1::Flow& flow, const std::vector<std::optional<flow::StageEnd>>& ends);

}  // namespace sluice::node
