#include "base/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/unique_fd.h"

namespace sluice {
namespace {

std::expected<void, int> write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return std::unexpected(errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::expected<void, int> fill(const std::string& path, std::string_view content, mode_t mode) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file) return std::unexpected(errno);
  if (::fchmod(file.get(), mode) != 0) return std::unexpected(errno);  // one that was there, or a strict umask
  if (auto written = write_all(file.get(), content); !written) return written;
  if (::fsync(file.get()) != 0) return std::unexpected(errno);
  return {};
}

void sync_folder_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

}  // namespace

std::expected<std::string, ReadFileError> read_small_file(const std::string& path, std::size_t bytes_max) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return std::unexpected(ReadFileError{errno});
  std::string content;
  char buffer[16384];
  while (true) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(ReadFileError{errno});
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > bytes_max) return std::unexpected(ReadFileError{EFBIG});
  }
}

std::expected<void, int> write_file_durably(const std::string& path, std::string_view content, mode_t mode) {
  std::string beside = path + ".new";
  if (auto filled = fill(beside, content, mode); !filled) {
    ::unlink(beside.c_str());
    return filled;
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    int error = errno;
    ::unlink(beside.c_str());
    return std::unexpected(error);
  }
  sync_folder_of(path);
  return {};
}

}  // namespace sluice
