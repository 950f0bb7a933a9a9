#pragma once
// How a TCP socket of ours behaves.
// Threading: pure functions on a socket.

namespace sluice::net {

/// Small messages leave at once (RFC 896 would hold them back for the acknowledgement of the one before).
void set_no_delay(int socket);
/// A silent peer of an idle connection is noticed after 15 s: a first probe after 5 s of silence, then one each second,
/// because one may be lost; dead after ten without an answer.
void set_keepalive(int socket);

}  // namespace sluice::net
