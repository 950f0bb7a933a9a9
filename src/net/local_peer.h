#pragma once
// Who is at the other end of a Unix socket: the kernel knows (SO_PEERCRED of unix(7)).
// Threading: pure functions; the user database is asked, which is a file on nearly every host.
#include <sys/types.h>

#include <expected>
#include <string>

#include "net/error.h"
#include "net/peer.h"

namespace sluice::net {

/// The user whose process connected, or listens. Errors: wrong_role if it is neither this process's user nor root.
std::expected<uid_t, NetError> user_at(int socket);

std::string user_name(uid_t user);

}  // namespace sluice::net
