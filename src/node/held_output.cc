#include "node/held_output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/nameless_file.h"

namespace sluice::node {
namespace {

std::string trouble(int error) {
  return fmt::format("its output can't be kept in {}: {}; set TMPDIR to a folder with room", temporary_folder(),
                     std::strerror(error));
}

}  // namespace

std::expected<void, std::string> HeldOutput::append(std::span<const char> bytes) {
  size_ += bytes.size();
  if (!file_ && memory_.size() + bytes.size() <= kMemoryMax) {
    memory_.append(bytes.data(), bytes.size());
    return {};
  }
  if (!file_)
    if (auto opened = open_file(); !opened) return opened;
  return write_file(bytes);
}

std::expected<void, std::string> HeldOutput::open_file() {
  file_ = nameless_file(temporary_folder());
  if (!file_) return std::unexpected(trouble(errno));
  auto written = write_file(memory_);
  (void)std::exchange(memory_, {});
  return written;
}

std::expected<void, std::string> HeldOutput::write_file(std::span<const char> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::unexpected(trouble(written < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

HeldOutput::Outcome HeldOutput::pass_on(link::LocalStream& into) {
  while (true) {
    if (passed_ == memory_.size() && file_ && read_from_file_ < size_) {
      memory_.resize(std::min(kMemoryMax, size_ - read_from_file_));
      ssize_t got = ::pread(file_.get(), memory_.data(), memory_.size(), static_cast<off_t>(read_from_file_));
      if (got <= 0) return {.passed = Passed::failed, .stream = {}, .read_error = got < 0 ? errno : EIO};
      memory_.resize(static_cast<std::size_t>(got));
      read_from_file_ += memory_.size();
      passed_ = 0;
    }
    if (passed_ == memory_.size()) return {.passed = Passed::all, .stream = {}};
    auto outcome = into.write_some(std::as_bytes(std::span(memory_).subspan(passed_)));
    if (outcome.status != link::LocalStream::Status::moved) return {.passed = Passed::some, .stream = outcome};
    passed_ += outcome.bytes;
  }
}

}  // namespace sluice::node
