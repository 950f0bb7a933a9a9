#pragma once
// A kernel pipe, both ends close-on-exec. Threading: a value.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <expected>

#include "base/unique_fd.h"

namespace sluice {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

/// Errors: errno.
inline std::expected<Pipe, int> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace sluice
