#pragma once
// A stdin that is whole before its process starts: were we to die in the middle, the process would take a part for all.
// Threading: pure functions.
#include <expected>
#include <string_view>

#include "base/unique_fd.h"

namespace sluice::node {

/// What is to be read: a pipe that was filled, or a file without a name. Errors: errno.
std::expected<UniqueFd, int> whole_input(std::string_view bytes);

}  // namespace sluice::node
