#pragma once
// A file that is appended to and outlives us: a pipe keeps nothing, and would make whoever writes wait for its reader.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>

#include "base/unique_fd.h"

namespace sluice::node {

/// `flags`: of open(2), beside those for appending and making. Errors: a sentence.
inline std::expected<UniqueFd, std::string> open_lasting(const std::string& path, int flags) {
  // Of a named pipe without a reader open(2) waits for one.
  UniqueFd file(::open(path.c_str(), flags | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666));
  struct stat status {};
  bool is_pipe = file ? ::fstat(file.get(), &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
                      : errno == ENXIO;
  if (is_pipe) return std::unexpected("it is a pipe, which keeps nothing; name a file");
  if (!file) return std::unexpected(std::strerror(errno));
  return file;
}

}  // namespace sluice::node
