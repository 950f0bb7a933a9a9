#include "node/file_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/id.h"

namespace sluice::node {
namespace {

namespace fs = std::filesystem;
using Refusal = std::unexpected<std::string>;

constexpr std::size_t kPathMax = 4096;
constexpr std::ptrdiff_t kLevelsMax = 32;  // that `..` may go up
constexpr std::size_t kCopySize = std::size_t{256} << 10;
constexpr const char* kLevelName = "work";

std::string problem(std::string_view what, const std::string& path) {
  return fmt::format("cannot {} {}: {}", what, path, std::strerror(errno));
}

std::ptrdiff_t levels_up(const fs::path& path) { return std::ranges::count(path, fs::path("..")); }

bool write_all(int fd, std::span<const char> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

// --- the store ----------------------------------------------------------------------------------------------------

std::expected<FileStore, std::string> FileStore::open(const std::string& data_directory, std::uint64_t size_max) {
  std::string folder = data_directory + "/files";
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Refusal(problem("make the folder", folder));
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".part") fs::remove(entry.path(), ignored);
  return FileStore(std::move(folder), size_max);
}

bool FileStore::has(const ContentId& content) {
  return ::utimensat(AT_FDCWD, path_of(content).c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0;
}

std::expected<UniqueFd, int> FileStore::read(const ContentId& content) const {
  UniqueFd file(::open(path_of(content).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return std::unexpected(errno);
  return file;
}

std::expected<FileStore::Arrival, std::string> FileStore::receive(const ContentId& content, std::uint64_t size) {
  if (size > size_max_)
    return Refusal(fmt::format("a file of {} bytes is more than the {} that a node keeps", size, size_max_));
  make_room(size);
  Arrival arrival;
  arrival.part_ = fmt::format("{}/.{}.part", folder_, NodeId::random().text());
  arrival.file_.reset(::open(arrival.part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!arrival.file_) return Refusal(problem("make", arrival.part_));
  arrival.target_ = path_of(content);
  arrival.content_ = content;
  arrival.left_ = size;
  return arrival;
}

// Those that were not used for the longest time go first.
void FileStore::make_room(std::uint64_t size) const {
  struct Kept {
    fs::path path;
    std::uint64_t size;
    fs::file_time_type used;
  };
  std::vector<Kept> kept;
  std::uint64_t total = size;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    kept.push_back({entry.path(), entry.file_size(ignored), entry.last_write_time(ignored)});
    total += kept.back().size;
  }
  std::ranges::sort(kept, {}, &Kept::used);
  for (const Kept& each : kept) {
    if (total <= size_max_) break;
    if (each.path.extension() == ".part") continue;
    fs::remove(each.path, ignored);
    total -= each.size;
  }
}

FileStore::Arrival::~Arrival() {
  if (file_) ::unlink(part_.c_str());
}

std::expected<void, std::string> FileStore::Arrival::write(std::span<const char> bytes) {
  if (bytes.size() > left_) return Refusal("a shipped file is longer than it was said to be");
  left_ -= bytes.size();
  hash_.update(bytes);
  if (!write_all(file_.get(), bytes)) return Refusal(problem("write", part_));
  return {};
}

std::expected<void, std::string> FileStore::Arrival::finish() {
  if (left_ > 0 || hash_.finish() != content_)
    return Refusal("a shipped file is not what it was said to be; was it changed meanwhile?");
  if (::rename(part_.c_str(), target_.c_str()) != 0) return Refusal(problem("name", part_));
  file_.reset();
  return {};
}

// --- laying files -------------------------------------------------------------------------------------------------

std::optional<std::string> shipped_path_problem(const std::string& path) {
  fs::path parts(path);
  if (path.empty() || path.size() > kPathMax || path.find('\0') != path.npos) return "it has no usable name";
  if (parts.is_absolute()) return "it must be named relative to the current folder";
  if (parts.lexically_normal().string() != path || !parts.has_filename() || parts.filename() == ".." || path == ".")
    return "its name is not normalised";
  if (levels_up(parts) > kLevelsMax) return fmt::format("it lies more than {} folders up", kLevelsMax);
  return std::nullopt;
}

std::string work_directory_for(std::span<const LaidFile> files) {
  std::ptrdiff_t levels = 0;
  for (const LaidFile& file : files) levels = std::max(levels, levels_up(file.path));
  fs::path directory;
  for (; levels > 0; --levels) directory /= kLevelName;
  return directory;
}

namespace {

std::expected<void, std::string> give(int file, const std::string& path, mode_t mode,
                                      std::optional<exec::FolderOwner> owner) {
  if (owner && ::fchown(file, owner->uid, owner->gid) != 0) return Refusal(problem("give away", path));
  if (::fchmod(file, mode) != 0) return Refusal(problem("set the mode of", path));
  return {};
}

// `root` is a folder that nobody else has seen yet, so that no name in it can be a link to elsewhere.
std::expected<void, std::string> make_folders(const fs::path& folder, const fs::path& root,
                                              std::optional<exec::FolderOwner> owner) {
  fs::path made = root;
  for (const fs::path& level : folder.lexically_relative(root)) {
    if (level == "." || level.empty()) continue;
    made /= level;
    if (::mkdir(made.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;
      return Refusal(problem("make the folder", made));
    }
    UniqueFd opened(::open(made.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!opened) return Refusal(problem("open", made));
    if (auto given = give(opened.get(), made, 0700, owner); !given) return given;
  }
  return {};
}

std::expected<ContentId, std::string> copy(int from, int into, const std::string& path) {
  ContentHash hash;
  std::vector<char> buffer(kCopySize);
  while (true) {
    ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Refusal(problem("read the shipped file for", path));
    if (got == 0) return hash.finish();
    std::span<const char> bytes(buffer.data(), static_cast<std::size_t>(got));
    hash.update(bytes);
    if (!write_all(into, bytes)) return Refusal(problem("write", path));
  }
}

}  // namespace

std::expected<void, std::string> lay_file(const std::string& source, const LaidFile& file, const std::string& root,
                                          const std::string& directory, std::optional<exec::FolderOwner> owner) {
  fs::path work = fs::path(root) / directory;
  fs::path target = (work / file.path).lexically_normal();
  for (const fs::path& folder : {work.lexically_normal(), target.parent_path()})
    if (auto made = make_folders(folder, root, owner); !made) return made;
  UniqueFd from(::open(source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!from) return Refusal(problem("read the shipped file for", file.path));
  UniqueFd into(::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!into) return Refusal(problem("make", file.path));
  auto content = copy(from.get(), into.get(), file.path);
  if (!content) return Refusal(content.error());
  if (*content != file.content) {
    ::unlink(source.c_str());  // it is fetched again the next time
    return Refusal(fmt::format("the kept copy of {} was damaged and has been removed; try again", file.path));
  }
  return give(into.get(), file.path, file.executable ? 0700 : 0600, owner);
}

}  // namespace sluice::node
