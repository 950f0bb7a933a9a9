#include "cluster/private_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/unique_fd.h"

namespace sluice::cluster {
namespace {

std::unexpected<FileError> failure(FileErrorKind kind, std::string message) {
  return std::unexpected(FileError{kind, std::move(message)});
}

std::unexpected<FileError> system_failure(std::string_view action, const std::string& path, int error) {
  const FileErrorKind kind = error == ENOENT ? FileErrorKind::missing : FileErrorKind::system;
  return failure(kind, fmt::format("cannot {} {}: {}", action, path, std::generic_category().message(error)));
}

// What can't be a file of ours by its kind, rights or size.
std::expected<void, FileError> check(const std::string& path, const struct stat& status, ReadLimits limits) {
  if (!S_ISREG(status.st_mode))
    return failure(FileErrorKind::malformed, fmt::format("{} is a folder or a device; name a file", path));
  if (limits.content == FileContent::secret && (status.st_mode & 077) != 0)
    return failure(FileErrorKind::exposed,
                   fmt::format("{} may be opened by others (mode {:04o}), and it holds a secret: chmod 600 {}", path,
                               status.st_mode & 07777, path));
  if (static_cast<std::uint64_t>(status.st_size) > limits.size_max)
    return failure(FileErrorKind::malformed,
                   fmt::format("{} has {} bytes; such a file has at most {}", path, status.st_size, limits.size_max));
  return {};
}

/// Bytes read, or a negative errno.
ssize_t read_all(int fd, std::span<std::uint8_t> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    ssize_t got = ::read(fd, into.data() + done, into.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

/// 0, or an errno.
int write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The name of a new file is on the disk only when its folder is. A file system that can't sync a folder needs none of it.
void sync_folder_of(const std::string& path) {
  UniqueFd folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) ::fsync(folder.get());
}

int write_and_sync(int fd, std::string_view content) {
  // The mode that open(2) gave is narrowed by the umask, which may take the owner's own rights.
  if (::fchmod(fd, 0600) != 0) return errno;
  if (int error = write_all(fd, content); error != 0) return error;
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

std::expected<SecretText, FileError> read_private_file(const std::string& path, ReadLimits limits) {
  // O_NONBLOCK: a named pipe that nobody writes to is refused instead of waited for.
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return system_failure("open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return system_failure("look at", path, errno);
  if (auto usable = check(path, status, limits); !usable) return std::unexpected(usable.error());
  SecretText content = SecretText::of_size(static_cast<std::size_t>(status.st_size));
  ssize_t size = read_all(file.get(), content.fill());
  if (size < 0) return system_failure("read", path, static_cast<int>(-size));
  content.shorten(static_cast<std::size_t>(size));
  return content;
}

std::expected<void, FileError> create_private_file(const std::string& path, std::string_view content) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file && errno == EEXIST) return failure(FileErrorKind::exists, fmt::format("{} exists already", path));
  if (!file) return system_failure("make", path, errno);
  if (int error = write_and_sync(file.get(), content); error != 0) {
    ::unlink(path.c_str());
    return system_failure("write", path, error);
  }
  sync_folder_of(path);
  return {};
}

std::expected<void, FileError> replace_private_file(const std::string& path, std::string_view content) {
  const std::string beside = path + ".new";
  ::unlink(beside.c_str());  // of a writer that was killed
  if (auto created = create_private_file(beside, content); !created) return created;
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(beside.c_str());
    return system_failure("replace", path, error);
  }
  sync_folder_of(path);
  return {};
}

}  // namespace sluice::cluster
