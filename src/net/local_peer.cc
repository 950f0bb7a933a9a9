#include "net/local_peer.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "net/system_error.h"

namespace sluice::net {

std::expected<uid_t, NetError> user_at(int socket) {
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return std::unexpected(error_of_errno(errno));
  if (who.uid == ::geteuid() || who.uid == 0) return who.uid;
  return std::unexpected(NetError{NetErrorKind::wrong_role,
                                  fmt::format("the other end belongs to the user {} ({}), neither to us nor to root",
                                              user_name(who.uid), who.uid)});
}

std::string user_name(uid_t user) {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::to_string(user);
  return found->pw_name;
}

}  // namespace sluice::net
