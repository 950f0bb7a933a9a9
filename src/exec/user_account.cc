#include "exec/user_account.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

namespace sluice::exec {
namespace {

constexpr std::size_t kEntryBufferMin = 1024;
constexpr std::size_t kEntryBufferMax = std::size_t{1} << 20;
constexpr int kGroupsMax = 65536;  // NGROUPS_MAX of Linux

std::vector<gid_t> groups_of(const passwd& entry) {
  int count = 32;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0) {
    if (count <= static_cast<int>(groups.size())) count = static_cast<int>(groups.size()) * 2;
    if (count > kGroupsMax) return {entry.pw_gid};
    groups.resize(static_cast<std::size_t>(count));
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

// getpwnam_r and getpwuid_r, with the buffer grown until the entry fits.
using Search = std::function<int(passwd*, char*, std::size_t, passwd**)>;

std::expected<UserAccount, std::string> find(const Search& search, const std::string& who) {
  passwd entry{};
  passwd* found = nullptr;
  int error = ERANGE;
  std::string buffer;
  for (std::size_t size = kEntryBufferMin; error == ERANGE && size <= kEntryBufferMax; size *= 2) {
    buffer.resize(size);
    error = search(&entry, buffer.data(), buffer.size(), &found);
  }
  // The name service says "none" in several ways (getpwnam(3)).
  bool unknown = error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
  if (found == nullptr && unknown)
    return std::unexpected("there is no user " + who + " on this host; see getent passwd");
  if (found == nullptr)
    return std::unexpected("cannot look up the user " + who + ": " + std::strerror(error) + "; try again");
  auto text = [](const char* value) { return std::string(value == nullptr ? "" : value); };
  return UserAccount{.name = text(entry.pw_name),
                     .uid = entry.pw_uid,
                     .gid = entry.pw_gid,
                     .groups = groups_of(entry),
                     .home = text(entry.pw_dir),
                     .shell = text(entry.pw_shell)};
}

}  // namespace

std::expected<UserAccount, std::string> find_user(const std::string& name) {
  return find([&](passwd* entry, char* buffer, std::size_t size,
                  passwd** found) { return ::getpwnam_r(name.c_str(), entry, buffer, size, found); },
              "'" + name + "'");
}

std::expected<UserAccount, std::string> own_user() {
  uid_t uid = ::geteuid();
  return find([&](passwd* entry, char* buffer, std::size_t size,
                  passwd** found) { return ::getpwuid_r(uid, entry, buffer, size, found); },
              "with the number " + std::to_string(uid));
}

}  // namespace sluice::exec
