#pragma once
// TLS 1.3 over memory buffers (RFC 8446): a pure engine between plain bytes and cipher bytes, without a socket, so that a
// caller moves 128 KiB at a time with one system call and one pass of encryption.
//
// Mutual authentication always: both sides present a certificate of the cluster's authority, or the handshake fails.
// `sluice/1` and `http/1.1` share a port and are told apart by ALPN (RFC 7301). A certificate is asked of an `http/1.1`
// client but not required: such a client may prove itself by a token instead (Peer::Proof::none until then).
// Threading: a TlsContext may be shared by threads; a TlsSession belongs to one at a time.
#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "net/credentials.h"
#include "net/error.h"
#include "net/peer.h"

namespace sluice::net {

inline constexpr std::string_view kAlpnSluice = "sluice/1";
inline constexpr std::string_view kAlpnHttp = "http/1.1";

/// Plain bytes that a session takes or gives at once at most: eight full records (RFC 8446 section 5.1).
inline constexpr std::size_t kTlsBatch = std::size_t{128} << 10;

class TlsSession;

class TlsContext final {
 public:
  /// Says whether a certificate was revoked; asked in every handshake, by the thread that runs it.
  using IsRevoked = std::function<bool(const CertificateSerial&)>;

  /// Errors: credentials that are no PEM, do not belong together, or have expired.
  static std::expected<TlsContext, NetError> make(const Credentials& credentials, IsRevoked is_revoked = {});

  TlsContext(TlsContext&&) noexcept;
  TlsContext& operator=(TlsContext&&) noexcept;
  ~TlsContext();

  /// `alpn` is what the client speaks.
  TlsSession client(std::string_view alpn = kAlpnSluice) const;
  TlsSession server() const;

 private:
  friend class TlsSession;
  struct Impl;
  explicit TlsContext(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

class TlsSession final {
 public:
  TlsSession(TlsSession&&) noexcept;
  TlsSession& operator=(TlsSession&&) noexcept;
  ~TlsSession();

  /// Feeds cipher bytes from the peer; all are taken. Then poll_cipher, and read until it gives nothing.
  /// Errors: wrong_key, revoked, wrong_role, protocol; what poll_cipher still has (an alert) should be sent.
  std::expected<void, NetError> on_cipher(std::span<const std::byte> bytes);
  /// The same without a copy: where the next cipher bytes may be put, at least 16 KiB; valid until the next call of a
  /// non-const member, which must be `on_cipher_in_room` with how many were put there (0: none, and nothing changed).
  std::span<std::byte> cipher_room();
  std::expected<void, NetError> on_cipher_in_room(std::size_t size);
  /// Starts the handshake of a client: there is something to send then. Of a server: nothing.
  std::expected<void, NetError> start();

  bool handshaken() const;
  /// Valid once handshaken. A server has checked nothing but the chain and revocation; roles are the caller's matter. A
  /// client has seen to it that the server's role is `node`.
  const Peer& peer() const;
  std::string_view alpn() const;

  /// Encrypts all of `bytes`. Requires: handshaken, at most kTlsBatch.
  std::expected<void, NetError> write(std::span<const std::byte> bytes);
  /// Says in good order that we write no more (close_notify).
  void close();

  /// Cipher bytes to send, in order; they stay valid until the next call of a non-const member.
  std::span<const std::byte> cipher() const;
  /// The first `size` of them were sent.
  void consume_cipher(std::size_t size);

  /// Decrypts into `into` as many of the bytes that were fed as there is room for: many records at once. 0: nothing more
  /// for now. Errors: closed (the peer said so in good order), protocol; and, since a client of TLS 1.3 is done before the
  /// server has looked at its certificate, wrong_key, revoked, wrong_role: the server's refusal.
  std::expected<std::size_t, NetError> read(std::span<std::byte> into);

 private:
  friend class TlsContext;
  struct Impl;
  explicit TlsSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net
