#pragma once
// What this host calls itself, for people.
#include <string>

namespace sluice::node {

std::string host_name();

}  // namespace sluice::node
