#pragma once
// OpenSSL's context as Sluice wants it: TLS 1.3 and nothing older, our credentials, nothing that skips a certificate.
// Threading: the context may be shared by threads once it is made.
#include <expected>
#include <memory>

#include "net/credentials.h"
#include "net/error.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace sluice::net {

struct SslContextDeleter {
  void operator()(ssl_ctx_st* context) const;
};
using SslContext = std::unique_ptr<ssl_ctx_st, SslContextDeleter>;

/// How a peer's certificate is judged is left to the caller. Errors: wrong_key; the credentials are no PEM, do not belong
/// together, or are not valid now.
std::expected<SslContext, NetError> make_ssl_context(const Credentials& credentials);

}  // namespace sluice::net
