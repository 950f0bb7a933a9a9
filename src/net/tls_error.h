#pragma once
// What OpenSSL says went wrong, in the terms of net/error.h.
// Threading: OpenSSL's errors belong to the thread that met them.
#include "net/error.h"

namespace sluice::net {

/// An alert from the peer (RFC 8446 section 6.2): what the peer holds against us.
NetError error_of_alert(int alert);

/// The oldest error that OpenSSL noted on this thread; its notes are cleared. Whatever is neither an alert nor a
/// certificate's matter is `protocol`.
NetError take_tls_error();

}  // namespace sluice::net
