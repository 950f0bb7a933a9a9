#include "exec/private_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "base/id.h"
#include "base/require.h"
#include "base/unique_fd.h"

namespace sluice::exec {
namespace {

constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr mode_t kPrivate = 0700;

#ifdef SYS_setgroups32
constexpr long kSetGroups = SYS_setgroups32;  // 32-bit machines; their SYS_setgroups takes 16-bit numbers
#else
constexpr long kSetGroups = SYS_setgroups;
#endif

std::string random_name() { return id_to_text(random_id_bytes()); }

FolderError failure(std::string what) { return {.error = errno, .what = std::move(what)}; }

struct Located {
  UniqueFd parent;
  std::string name;
};

std::expected<Located, FolderError> locate(const std::string& path) {
  std::size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") return std::unexpected(FolderError{EINVAL, "remove " + path});
  UniqueFd opened(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return std::unexpected(failure("open the folder " + parent));
  return Located{std::move(opened), std::move(name)};
}

// Gives this thread another user's rights on the file system while it lives. The calls of glibc would change the groups
// of every thread, the kernel's own only those of the caller.
class FileSystemRights final {
 public:
  explicit FileSystemRights(FolderOwner owner) {
    int count = ::getgroups(0, nullptr);
    groups_.resize(static_cast<std::size_t>(count > 0 ? count : 0));
    if (!groups_.empty() && ::getgroups(count, groups_.data()) != count) return;
    if (::syscall(kSetGroups, 0, nullptr) != 0) return;
    gid_ = ::setfsgid(owner.gid);
    uid_ = ::setfsuid(owner.uid);
    // They tell of no failure; asked with an impossible id, they say what is in force.
    taken_ = ::setfsuid(static_cast<uid_t>(-1)) == static_cast<int>(owner.uid) &&
             ::setfsgid(static_cast<gid_t>(-1)) == static_cast<int>(owner.gid);
    if (!taken_) give_back();
  }
  FileSystemRights(const FileSystemRights&) = delete;
  FileSystemRights& operator=(const FileSystemRights&) = delete;
  ~FileSystemRights() {
    if (taken_) give_back();
  }
  bool taken() const { return taken_; }

 private:
  void give_back() {
    ::setfsuid(static_cast<uid_t>(uid_));
    ::setfsgid(static_cast<gid_t>(gid_));
    INVARIANT(::setfsuid(static_cast<uid_t>(-1)) == uid_);
    INVARIANT(::syscall(kSetGroups, groups_.size(), groups_.data()) == 0);
  }
  std::vector<gid_t> groups_;
  int uid_ = 0;
  int gid_ = 0;
  bool taken_ = false;
};

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Listing = std::unique_ptr<DIR, CloseDirectory>;

// With a position of its own, unlike a duplicate of `directory`.
Listing list(int directory) {
  UniqueFd opened(::openat(directory, ".", kOpenFolder));
  if (!opened) return nullptr;
  Listing listing(::fdopendir(opened.get()));
  if (listing) opened.release();
  return listing;
}

class Removal final {
 public:
  Removal(UniqueFd top, std::string path, Duration patience)
      : top_(std::move(top)), path_(std::move(path)), give_up_(Clock::now() + patience) {}

  std::expected<void, FolderError> empty() {
    struct stat status {};
    if (::fstat(top_.get(), &status) != 0) return std::unexpected(failure("look at the folder " + path_));
    device_ = status.st_dev;
    (void)::fchmod(top_.get(), kPrivate);
    // A pass empties each folder that it finds in the top one; those that were in them are there for the next pass.
    while (true) {
      progress_ = false;
      left_ = false;
      remove_entries(top_.get(), path_, [this](int, const std::string& entry) { remove_folder(entry); });
      if (failed_ && !progress_) return std::unexpected(failure_);
      if (!left_) return {};
      if (out_of_time()) return std::unexpected(FolderError{ETIMEDOUT, "remove all of " + path_});
      if (!progress_) return std::unexpected(FolderError{ENOTEMPTY, "remove all of " + path_});
    }
  }

 private:
  bool out_of_time() const { return Clock::now() > give_up_; }

  static UniqueFd open_folder(int directory, const std::string& name) {
    UniqueFd folder(::openat(directory, name.c_str(), kOpenFolder));
    if (!folder && errno == EACCES && ::fchmodat(directory, name.c_str(), kPrivate, AT_SYMLINK_NOFOLLOW) == 0)
      folder.reset(::openat(directory, name.c_str(), kOpenFolder));
    // Without the right to write it could not be emptied.
    if (folder) (void)::fchmod(folder.get(), kPrivate);
    return folder;
  }

  // Unlinks what is no folder in `directory`, and hands the folders to `on_folder`.
  template <class OnFolder>
  void remove_entries(int directory, const std::string& path, OnFolder on_folder) {
    Listing listing = list(directory);
    if (!listing) return remember(errno, path);
    while (const dirent* entry = ::readdir(listing.get())) {
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      left_ = true;
      if (out_of_time()) return;
      // For a folder Linux says EISDIR, POSIX EPERM.
      if (::unlinkat(directory, name.c_str(), 0) == 0)
        progress_ = true;
      else if (errno == EISDIR || errno == EPERM)
        on_folder(directory, name);
      else if (errno != ENOENT)
        remember(errno, path + "/" + name);
    }
  }

  void remove_folder(const std::string& name) {
    std::string path = path_ + "/" + name;
    UniqueFd folder = open_folder(top_.get(), name);
    struct stat status {};
    if (!folder || ::fstat(folder.get(), &status) != 0) {
      bool is_folder = errno != ENOTDIR && errno != ELOOP;  // else it is something that may not be unlinked
      return remember(is_folder ? errno : EPERM, path);
    }
    if (status.st_dev != device_) return remember(EXDEV, path);
    remove_entries(folder.get(), path, [this, &path](int directory, const std::string& entry) {
      move_up(directory, entry, path + "/" + entry);
    });
    if (::unlinkat(top_.get(), name.c_str(), AT_REMOVEDIR) == 0)
      progress_ = true;
    else if (errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
      remember(errno, path);
  }

  void move_up(int directory, const std::string& name, const std::string& path) {
    // To give a folder another parent one must be able to write to it. It may be a link by now, which stays as it is.
    (void)::fchmodat(directory, name.c_str(), kPrivate, AT_SYMLINK_NOFOLLOW);
    std::string beside = random_name();
    if (::renameat2(directory, name.c_str(), top_.get(), beside.c_str(), RENAME_NOREPLACE) == 0)
      progress_ = true;
    else
      remember(errno, path);
  }

  void remember(int error, const std::string& path) {
    if (!failed_) failure_ = {error, "remove " + path};
    failed_ = true;
  }

  UniqueFd top_;
  std::string path_;
  TimePoint give_up_;
  dev_t device_ = 0;
  bool progress_ = false;  // of this pass
  bool left_ = false;      // this pass found something
  bool failed_ = false;
  FolderError failure_;
};

std::expected<void, FolderError> empty_folder(UniqueFd folder, const std::string& path,
                                              std::optional<FolderOwner> owner, Duration patience) {
  if (!owner || ::geteuid() != 0) return Removal(std::move(folder), path, patience).empty();
  FileSystemRights rights(*owner);
  if (!rights.taken()) return std::unexpected(FolderError{EPERM, "take the rights of the user who owns " + path});
  return Removal(std::move(folder), path, patience).empty();
}

}  // namespace

std::expected<std::string, FolderError> make_private_folder(const std::string& parent,
                                                            std::optional<FolderOwner> owner) {
  std::string name = random_name();
  std::string path = parent + "/" + name;
  UniqueFd above(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!above) return std::unexpected(failure("open the folder " + parent));
  if (::mkdirat(above.get(), name.c_str(), kPrivate) != 0) return std::unexpected(failure("make the folder " + path));
  if (!owner) return path;
  UniqueFd folder(::openat(above.get(), name.c_str(), kOpenFolder));
  if (folder && ::fchown(folder.get(), owner->uid, owner->gid) == 0) return path;
  FolderError error = failure("give the folder " + path + " to its user");
  ::unlinkat(above.get(), name.c_str(), AT_REMOVEDIR);
  return std::unexpected(std::move(error));
}

std::expected<void, FolderError> remove_private_folder(const std::string& path, std::optional<FolderOwner> owner,
                                                       Duration patience) {
  auto located = locate(path);
  if (!located && located.error().error == ENOENT) return {};
  if (!located) return std::unexpected(located.error());
  UniqueFd folder(::openat(located->parent.get(), located->name.c_str(), kOpenFolder));
  if (!folder && errno == EACCES &&
      ::fchmodat(located->parent.get(), located->name.c_str(), kPrivate, AT_SYMLINK_NOFOLLOW) == 0)
    folder.reset(::openat(located->parent.get(), located->name.c_str(), kOpenFolder));
  if (!folder && errno == ENOENT) return {};
  if (!folder) return std::unexpected(failure("open the folder " + path));
  if (auto emptied = empty_folder(std::move(folder), path, owner, patience); !emptied) return emptied;
  // Its parent is ours, and only an empty folder goes by this call.
  if (::unlinkat(located->parent.get(), located->name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return std::unexpected(failure("remove " + path));
  return {};
}

}  // namespace sluice::exec
