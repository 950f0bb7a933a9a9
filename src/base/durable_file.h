#pragma once
// Small files of state: read whole, and replaced so that a crash leaves the old or the new one, never half of it.
#include <sys/types.h>

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace sluice {

struct ReadFileError {
  int number = 0;  // errno; EFBIG if the file is larger than allowed
};

std::expected<std::string, ReadFileError> read_small_file(const std::string& path, std::size_t bytes_max);

/// Writes beside the file, syncs, renames over it, syncs the folder. Errors: errno; the old file is as it was.
std::expected<void, int> write_file_durably(const std::string& path, std::string_view content, mode_t mode);

}  // namespace sluice
