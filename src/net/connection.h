#pragma once
// One established connection: TCP with TLS, TCP in plain text (--insecure-loopback, --http), or a Unix socket.
//
// Reads and writes may be under way at the same time, one of each. Nothing here has a deadline of its own: the owner closes
// the connection when its patience ends, and what is under way then fails with `cancelled`.
// Threading: belongs to the loop that it was made on; `release` hands the parts to another.
#include <chrono>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "net/address.h"
#include "net/async.h"
#include "net/peer.h"
#include "net/tls.h"

namespace sluice::net {

class Connection final {
 public:
  /// What remains of a connection whose bytes somebody else will move.
  struct Parts {
    UniqueFd socket;
    std::optional<TlsSession> tls;
    std::vector<std::byte> unread;  // plain bytes that were received, and not read yet
    Peer peer;
    std::string remote;
  };

  /// An established socket, and the session that has done its handshake on it, if any. `remote` is for messages.
  Connection(asio::any_io_executor executor, Parts parts);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const Peer& peer() const;
  /// Takes a peer without a proof for one of this role. Requires that it has none.
  void believe(Role role);
  const std::string& remote() const;
  bool encrypted() const;
  /// What the client asked for in the handshake; empty without TLS.
  std::string_view alpn() const;

  /// At least one byte, at most what fits. Errors: closed, cut, cancelled, protocol; and for a client, if the server does
  /// not accept its certificate, wrong_key, revoked, wrong_role: the handshake of a client ends before it can know.
  Awaitable<std::expected<std::size_t, NetError>> read_some(std::span<std::byte> into);
  /// All of it. The bytes must stay until this returns.
  Awaitable<std::expected<void, NetError>> write(std::span<const std::byte> bytes);
  /// Puts bytes back in front of what read_some gives next: for looking at the first bytes of a connection.
  void unread(std::span<const std::byte> bytes);
  /// Ends both directions, in good order as far as that takes no waiting. Twice does nothing.
  void close();

  /// Gives the parts away. Requires that nothing is under way; the connection is closed for its owner then.
  Parts release();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with the operations that are under way
};

struct DialOptions {
  TimePoint deadline;
  const TlsContext* tls = nullptr;  // none: plain text
  std::optional<NodeId> expected;   // fails with wrong_node if another node answers
};

/// Connects and shakes hands; a peer that falls silent later is noticed after 15 s. Names are looked up away from the loop.
/// Errors: refused, unreachable, timed_out, wrong_key, wrong_role, wrong_node, revoked.
Awaitable<std::expected<std::unique_ptr<Connection>, NetError>> dial(HostPort to, DialOptions options);
/// A Unix socket at `path`. The peer is the owner of the socket's folder.
Awaitable<std::expected<std::unique_ptr<Connection>, NetError>> dial_local(std::string path, TimePoint deadline);

}  // namespace sluice::net
