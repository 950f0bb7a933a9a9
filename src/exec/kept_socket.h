#pragma once
// The Unix socket in the folder of a kept launch, by which another owner finds its spawner.
//
// sun_path holds 108 bytes (unix(7)) and a data directory may be longer: the folder is opened first, and the socket
// named through /proc/self/fd.
#include <expected>
#include <string>

#include "base/unique_fd.h"

namespace sluice::exec {

/// Listens in the folder `directory` (a descriptor); only this user, and root, can connect. For a process with one
/// thread: the mask of new files is changed for a moment. Errors: errno.
std::expected<UniqueFd, int> listen_in(int directory);

/// The next connection of a peer who is this user or root; an empty descriptor if there is none.
UniqueFd accept_owner(const UniqueFd& listener);

struct KeptConnection {
  UniqueFd socket;
  int listener_pid = 0;  // who listens, as the kernel says
};
/// Errors: errno; ENOENT and ECONNREFUSED say that nobody listens.
std::expected<KeptConnection, int> connect_in(const std::string& directory);

/// Takes the name away again.
void stop_listening_in(int directory);

}  // namespace sluice::exec
