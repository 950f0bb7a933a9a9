#pragma once
// Drives the handshake of a TLS session over a socket.
#include <expected>

#include "net/async.h"
#include "net/socket.h"
#include "net/tls.h"

namespace sluice::net {

/// Returns when the handshake is done. It has no deadline: whoever cancels the socket ends it with `cancelled`. After an
/// error the alert that the session has for the peer was sent, as far as that took no waiting.
Awaitable<std::expected<void, NetError>> shake_hands(Socket& socket, TlsSession& session);

/// After a handshake that failed: waits a moment for the peer's end before the socket is closed. Bytes that it sent and we
/// did not read would make the kernel send a reset, which overtakes our alert: it would never learn that it has the wrong
/// key.
Awaitable<void> linger(Socket& socket);

/// Sends of the session's cipher bytes what can be sent without waiting. Errors: errno.
std::expected<void, int> send_cipher(Socket& socket, TlsSession& session);
/// Receives, without waiting, what the session has room for. False: there is nothing now. Errors: cut, and the session's.
std::expected<bool, NetError> receive_cipher(Socket& socket, TlsSession& session);

}  // namespace sluice::net
