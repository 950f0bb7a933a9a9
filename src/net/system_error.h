#pragma once
// What the kernel says went wrong, in the terms of net/error.h.
// Threading: pure functions.
#include <string>

#include "net/error.h"

namespace sluice::net {

/// "connection refused": the kernel's words for an errno, to be put behind what failed.
std::string describe_errno(int number);

/// Of making a connection, or a socket.
NetError error_of_errno(int number);
/// Of a connection that was established: whatever it is, it is cut.
NetError cut_by_errno(int number);

}  // namespace sluice::net
