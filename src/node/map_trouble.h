#pragma once
// Why a `@map` stage can't go on, in words, and the status that its flow has for it.
// Threading: pure functions.
#include <string>
#include <utility>

#include "flow/map_work.h"

namespace sluice::node {

/// `command` is the stage's, in quotes.
std::pair<int, std::string> map_trouble(const flow::MapWork::Broken& broken, const std::string& command);

}  // namespace sluice::node
