#pragma once
// Files without a name, for what does not fit into memory: nobody finds them, and the kernel removes them with their last
// descriptor, however the process ends.
// Threading: pure but for the file system.
#include <string>

#include "base/unique_fd.h"

namespace sluice {

/// TMPDIR, or /tmp.
std::string temporary_folder();

/// Open for reading and writing. Empty: errno says why not.
UniqueFd nameless_file(const std::string& folder);

}  // namespace sluice
