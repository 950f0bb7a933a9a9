#pragma once
// The connection of a link's end as plain bytes, whether TLS lies under them or not; it never blocks and never waits.
//
// At most one batch that the kernel does not take yet is kept; whoever sends asks for `flushed` first.
// Threading: belongs to one thread at a time.
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "net/connection.h"

namespace sluice::link {

class LinkSocket final {
 public:
  /// The connection is of no use any more; a sentence with the other side's address in it.
  using Broken = std::string;

  explicit LinkSocket(net::Connection::Parts parts);

  /// How many bytes came; 0: none yet. The other side's close is an error like any other: on a link it is never expected
  /// by who still reads.
  std::expected<std::size_t, Broken> read(std::span<std::byte> into);
  /// The same into two places, of which the first is filled before the second.
  std::expected<std::size_t, Broken> read(std::span<std::byte> first, std::span<std::byte> second);
  /// Sends, or keeps what the kernel does not take. Requires: at most one batch at once.
  std::expected<void, Broken> write(std::span<const std::byte> bytes);
  /// The same; more follows at once, so nothing need leave before (MSG_MORE). Requires: not encrypted.
  std::expected<void, Broken> write_with_more_to_come(std::span<const std::byte> bytes);
  /// Encrypts, and keeps all of it until `flush`. Requires: encrypted; together at most one batch between two of those.
  std::expected<void, Broken> encrypt(std::span<const std::byte> bytes);
  /// Sends what the kernel takes of several pieces, in one go, and keeps nothing. 0: it takes nothing now. Requires: not
  /// encrypted, and flushed.
  std::expected<std::size_t, Broken> write_pieces(std::span<const iovec> pieces);
  /// Tries to send what was kept. True: nothing is left.
  std::expected<bool, Broken> flush();
  bool flushed() const;

  /// Between the connection and a pipe, without copying. 0: nothing can move now. Requires: not encrypted, and nothing
  /// unread or kept.
  std::expected<std::size_t, Broken> splice_to(int pipe, std::size_t size);
  std::expected<std::size_t, Broken> splice_from(int pipe, std::size_t size);
  bool has_unread() const { return !unread_.empty(); }

  /// At least so many bytes will still come for certain: to be told of the input before they are here is of no use
  /// (SO_RCVLOWAT, socket(7)). 1 takes it back.
  void expect(std::size_t plain_bytes);

  /// The connection was reset, found without reading: what came before is not lost by asking.
  std::optional<Broken> pending_error() const;
  /// Says that nothing more will be sent.
  void shut_output();
  /// Takes and drops what came. False: the other side has closed, or the connection broke.
  bool discard(std::span<std::byte> scratch);
  /// Ends the connection at once; what is under way is lost.
  void reset();
  void close() { socket_.reset(); }

  bool encrypted() const { return tls_.has_value(); }
  int descriptor() const { return socket_.get(); }
  const std::string& remote() const { return remote_; }

 private:
  std::size_t read_unread(std::span<std::byte> into);
  std::expected<std::size_t, Broken> read_encrypted(std::span<std::byte> into);
  std::expected<std::size_t, Broken> receive(std::span<std::byte> into);
  std::expected<std::size_t, Broken> received(ssize_t got) const;
  std::expected<std::size_t, Broken> sent(ssize_t put) const;
  std::expected<std::size_t, Broken> send(std::span<const std::byte> bytes, int flags);
  std::expected<void, Broken> write_plain(std::span<const std::byte> bytes, int flags);
  std::expected<bool, Broken> flush_cipher();
  std::unexpected<Broken> broken(const std::string& why) const;
  std::unexpected<Broken> broken(int error) const;

  UniqueFd socket_;
  std::optional<net::TlsSession> tls_;
  std::vector<std::byte> unread_;
  std::vector<std::byte> kept_;  // plain text that the kernel did not take; the session keeps cipher bytes itself
  std::size_t kept_sent_ = 0;
  int low_water_ = 1;
  std::string remote_;
};

}  // namespace sluice::link
