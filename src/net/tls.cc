#include "net/tls.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <utility>

#include "base/require.h"
#include "net/certificate.h"
#include "net/hello_guard.h"
#include "net/ssl_context.h"
#include "net/tls_bio.h"
#include "net/tls_error.h"

namespace sluice::net {
namespace {

constexpr std::size_t kRoomMin = std::size_t{16} << 10;
constexpr std::size_t kRecordSize = std::size_t{16} << 10;  // RFC 8446 section 5.1

// AES-GCM keeps its promise for 2^24.5 full records under one key (RFC 8446 section 5.5): five minutes of a fast link.
// OpenSSL does not count. A new key costs 20 microseconds.
constexpr std::uint64_t kRecordsPerKey = std::uint64_t{1} << 16;

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using Ssl = std::unique_ptr<SSL, SslFree>;

}  // namespace

struct TlsContext::Impl {
  SslContext ssl;
  TrustStore trust;
  IsRevoked is_revoked;
  std::shared_ptr<BlockPool> blocks;  // shared with the buffers of the sessions
};

struct TlsSession::Impl {
  enum class State { handshake, established, failed };

  Impl(std::shared_ptr<TlsContext::Impl> of, bool as_server);

  std::expected<void, NetError> on_received(std::span<const std::byte> bytes);
  std::expected<void, NetError> shake_hands();
  std::expected<void, NetError> on_handshaken();
  std::expected<Peer, Distrust> judge(X509* certificate) const;
  std::unexpected<NetError> fail(NetError why);
  void count_records(std::size_t bytes);
  static int on_certificate(X509_STORE_CTX* verification, void*);

  std::shared_ptr<TlsContext::Impl> context;  // shared with the TlsContext and its other sessions
  const bool server;
  CipherBuffers buffers;
  Ssl ssl;  // its BIO refers to the buffers
  HelloGuard guard;
  State state = State::handshake;
  bool closed = false;        // by us
  std::uint64_t records = 0;  // written under the present key
  std::string alpn;           // a client's until the handshake is done: what it asks for
  Peer peer;
  std::optional<NetError> verdict;  // what we have against the peer's certificate
  NetError error;                   // in state failed
};

std::expected<TlsContext, NetError> TlsContext::make(const Credentials& credentials, IsRevoked is_revoked) {
  auto ssl = make_ssl_context(credentials);
  if (!ssl) return std::unexpected(ssl.error());
  auto trust = TrustStore::make(credentials.authority_pems);
  if (!trust) return std::unexpected(trust.error());
  SSL_CTX_set_cert_verify_callback(ssl->get(), TlsSession::Impl::on_certificate, nullptr);
  return TlsContext(
      std::make_shared<Impl>(*std::move(ssl), *std::move(trust), std::move(is_revoked), std::make_shared<BlockPool>()));
}

TlsContext::TlsContext(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

TlsSession TlsContext::server() const { return TlsSession(std::make_unique<TlsSession::Impl>(impl_, true)); }

TlsSession TlsContext::client(std::string_view alpn) const {
  auto session = std::make_unique<TlsSession::Impl>(impl_, false);
  session->alpn = alpn;
  std::string list = static_cast<char>(alpn.size()) + session->alpn;
  REQUIRE(SSL_set_alpn_protos(session->ssl.get(), reinterpret_cast<const unsigned char*>(list.data()),
                              static_cast<unsigned>(list.size())) == 0);
  return TlsSession(std::move(session));
}

TlsSession::Impl::Impl(std::shared_ptr<TlsContext::Impl> of, bool as_server)
    : context(std::move(of)),
      server(as_server),
      buffers{.received = CipherBuffer(context->blocks), .to_send = CipherBuffer(context->blocks)},
      ssl(SSL_new(context->ssl.get())) {
  REQUIRE(ssl != nullptr);
  BIO* bio = make_bio(buffers);
  SSL_set_bio(ssl.get(), bio, bio);
  SSL_set_app_data(ssl.get(), this);
  server ? SSL_set_accept_state(ssl.get()) : SSL_set_connect_state(ssl.get());
}

std::unexpected<NetError> TlsSession::Impl::fail(NetError why) {
  state = State::failed;
  error = std::move(why);
  return std::unexpected(error);
}

// The bytes are in the buffer already.
std::expected<void, NetError> TlsSession::Impl::on_received(std::span<const std::byte> bytes) {
  if (state == State::established) return {};  // `read` decrypts them
  if (server && !guard.on_bytes(bytes))
    return fail({NetErrorKind::protocol, "the peer announces a first message longer than any of ours"});
  return shake_hands();
}

std::expected<void, NetError> TlsSession::Impl::shake_hands() {
  ERR_clear_error();
  int result = SSL_do_handshake(ssl.get());
  if (result == 1) return on_handshaken();
  if (SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ) return {};
  NetError noted = take_tls_error();
  return fail(verdict ? *verdict : std::move(noted));
}

std::expected<void, NetError> TlsSession::Impl::on_handshaken() {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl.get(), &name, &size);
  std::string_view selected(reinterpret_cast<const char*>(name), size);
  if (!server && selected != alpn)
    return fail({NetErrorKind::wrong_version, fmt::format("the peer does not speak {}", alpn)});
  INVARIANT(server || peer.proof == Peer::Proof::certificate);
  // A client that names no protocol speaks the one that all clients spoke before there was a choice.
  if (server) alpn = selected.empty() ? kAlpnHttp : selected;
  state = State::established;
  return {};
}

std::expected<Peer, Distrust> TlsSession::Impl::judge(X509* certificate) const {
  auto trusted = context->trust.verify(certificate);
  if (!trusted) return std::unexpected(trusted.error());
  auto who = peer_of(certificate);
  if (!who) return who;
  if (context->is_revoked && context->is_revoked(*who->serial))
    return std::unexpected(Distrust{
        {NetErrorKind::revoked, fmt::format("the certificate of {} was revoked", who->name)}, X509_V_ERR_CERT_REVOKED});
  if (!server && who->role != Role::node)
    return std::unexpected(
        Distrust{{NetErrorKind::wrong_role,
                  fmt::format("{} has a certificate of role {}, which may not serve", who->name, role_name(who->role))},
                 X509_V_ERR_INVALID_PURPOSE});
  return who;
}

// In place of OpenSSL's own verification; the code of the error decides which alert the peer gets.
int TlsSession::Impl::on_certificate(X509_STORE_CTX* verification, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& session = *static_cast<Impl*>(SSL_get_app_data(ssl));
  auto who = session.judge(X509_STORE_CTX_get0_cert(verification));
  if (who) {
    session.peer = *std::move(who);
    X509_STORE_CTX_set_error(verification, X509_V_OK);
    return 1;
  }
  session.verdict = who.error().error;
  X509_STORE_CTX_set_error(verification, who.error().code);
  return 0;
}

// Before they are written: a new key is announced in front of the next record.
void TlsSession::Impl::count_records(std::size_t bytes) {
  records += (bytes + kRecordSize - 1) / kRecordSize;
  if (records <= kRecordsPerKey) return;
  records = 0;
  SSL_key_update(ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
}

TlsSession::TlsSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsSession::TlsSession(TlsSession&&) noexcept = default;
TlsSession& TlsSession::operator=(TlsSession&&) noexcept = default;
TlsSession::~TlsSession() = default;

std::expected<void, NetError> TlsSession::start() {
  if (impl_->server) return {};
  return impl_->shake_hands();
}

std::expected<void, NetError> TlsSession::on_cipher(std::span<const std::byte> bytes) {
  if (impl_->state == Impl::State::failed) return std::unexpected(impl_->error);
  if (bytes.empty()) return {};
  CipherBuffer& received = impl_->buffers.received;
  received.append(bytes);
  return impl_->on_received(bytes);
}

std::span<std::byte> TlsSession::cipher_room() { return impl_->buffers.received.room(kRoomMin); }

std::expected<void, NetError> TlsSession::on_cipher_in_room(std::size_t size) {
  CipherBuffer& received = impl_->buffers.received;
  received.added(size);
  if (impl_->state == Impl::State::failed) return std::unexpected(impl_->error);
  if (size == 0) return {};
  return impl_->on_received(received.bytes().last(size));
}

bool TlsSession::handshaken() const { return impl_->state == Impl::State::established; }

const Peer& TlsSession::peer() const { return impl_->peer; }

std::string_view TlsSession::alpn() const { return impl_->alpn; }

std::expected<void, NetError> TlsSession::write(std::span<const std::byte> bytes) {
  REQUIRE(bytes.size() <= kTlsBatch);
  REQUIRE(impl_->state != Impl::State::handshake);
  if (impl_->state == Impl::State::failed) return std::unexpected(impl_->error);
  if (impl_->closed) return std::unexpected(NetError{NetErrorKind::cancelled, "we ended the connection"});
  if (bytes.empty()) return {};
  ERR_clear_error();
  impl_->count_records(bytes.size());
  std::size_t written = 0;
  if (SSL_write_ex(impl_->ssl.get(), bytes.data(), bytes.size(), &written) != 1) return impl_->fail(take_tls_error());
  INVARIANT(written == bytes.size());  // the buffer never refuses, and partial writes are off
  return {};
}

void TlsSession::close() {
  if (impl_->state != Impl::State::established || impl_->closed) return;
  impl_->closed = true;
  ERR_clear_error();
  SSL_shutdown(impl_->ssl.get());
}

std::span<const std::byte> TlsSession::cipher() const { return impl_->buffers.to_send.bytes(); }

void TlsSession::consume_cipher(std::size_t size) { impl_->buffers.to_send.consume(size); }

std::expected<std::size_t, NetError> TlsSession::read(std::span<std::byte> into) {
  if (impl_->state == Impl::State::failed) return std::unexpected(impl_->error);
  if (impl_->state == Impl::State::handshake) return 0;
  std::size_t total = 0;
  while (total < into.size()) {
    ERR_clear_error();
    std::size_t got = 0;
    int result = SSL_read_ex(impl_->ssl.get(), into.data() + total, into.size() - total, &got);
    if (result == 1) {
      total += got;
      continue;
    }
    int why = SSL_get_error(impl_->ssl.get(), result);
    if (why == SSL_ERROR_WANT_READ) break;
    // The end is said once what came before it has been read.
    NetError end{NetErrorKind::closed, "the peer ended the connection"};
    if (why != SSL_ERROR_ZERO_RETURN) end = impl_->fail(take_tls_error()).error();
    if (total == 0) return std::unexpected(std::move(end));
    break;
  }
  return total;
}

}  // namespace sluice::net
