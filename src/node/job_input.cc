#include "node/job_input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/pipe.h"

namespace sluice::node {
namespace {

// A write of so much into a fresh pipe never waits (pipe(7), PIPE_BUF).
constexpr std::size_t kPipeSafe = 4096;

std::expected<void, int> write_whole(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::unexpected(written < 0 ? errno : ENOSPC);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

std::expected<UniqueFd, int> whole_input(std::string_view bytes) {
  if (bytes.size() <= kPipeSafe) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    if (auto written = write_whole(pipe->write_end.get(), bytes); !written) return std::unexpected(written.error());
    return std::move(pipe->read_end);
  }
  UniqueFd file(::memfd_create("sluice-record", MFD_CLOEXEC));
  if (!file) return std::unexpected(errno);
  if (auto written = write_whole(file.get(), bytes); !written) return std::unexpected(written.error());
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return std::unexpected(errno);
  return file;
}

}  // namespace sluice::node
