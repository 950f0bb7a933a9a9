#pragma once
// Why a `worker` stage can't go on, in words, and the status that its flow has for it.
// Threading: pure functions.
#include <string>
#include <utility>

#include "flow/worker_work.h"

namespace sluice::node {

/// `command` is the stage's, in quotes.
std::pair<int, std::string> worker_trouble(const flow::WorkerWork::Broken& broken, const std::string& command,
                                           flow::Restart restart);

}  // namespace sluice::node
