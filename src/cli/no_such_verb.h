#pragma once
// A verb that does not exist: what was probably meant, and which there are.
#include <string>
#include <vector>

namespace sluice::cli {

/// A sentence. `names`: of the verbs that exist there.
std::string no_such_verb(const std::string& typed, std::vector<std::string> names);

}  // namespace sluice::cli
