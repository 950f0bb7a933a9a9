#pragma once
// Two TLS sessions that talk to each other over memory, for the tests of this folder.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "net/tls.h"

namespace sluice::net {

using Result = std::expected<void, NetError>;

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

inline TlsContext context_of(const Credentials& credentials, TlsContext::IsRevoked is_revoked = {}) {
  auto context = TlsContext::make(credentials, std::move(is_revoked));
  if (!context) ADD_FAILURE() << context.error().message;
  return *std::move(context);
}

// Hands what `from` has to send to `to`, at most `piece` bytes at a time.
inline Result carry(TlsSession& from, TlsSession& to, std::size_t piece) {
  while (!from.cipher().empty()) {
    std::vector<std::byte> some(from.cipher().begin(), from.cipher().begin() + std::min(piece, from.cipher().size()));
    from.consume_cipher(some.size());
    auto taken = to.on_cipher(some);
    if (!taken) return taken;
  }
  return {};
}

struct Pair {
  TlsSession client;
  TlsSession server;
  Result client_result;
  Result server_result;
};

// Until neither has anything to send, or one has failed and its alert has arrived.
inline void converse(Pair& pair, std::size_t piece = kTlsBatch) {
  while (!pair.client.cipher().empty() || !pair.server.cipher().empty()) {
    if (auto result = carry(pair.client, pair.server, piece); !result && pair.server_result)
      pair.server_result = result;
    if (auto result = carry(pair.server, pair.client, piece); !result && pair.client_result)
      pair.client_result = result;
  }
}

inline Pair shake_hands(const TlsContext& client, const TlsContext& server, std::string_view alpn = kAlpnSluice,
                        std::size_t piece = kTlsBatch) {
  Pair pair{.client = client.client(alpn), .server = server.server()};
  EXPECT_TRUE(pair.client.start());
  EXPECT_TRUE(pair.server.start());
  converse(pair, piece);
  return pair;
}

// All that `session` has for its reader; the error that ends it goes to `end`.
inline std::string read_all(TlsSession& session, std::optional<NetError>* end = nullptr,
                            std::size_t piece = kTlsBatch) {
  std::string text;
  std::vector<std::byte> into(piece);
  while (true) {
    auto got = session.read(into);
    if (!got && end) *end = got.error();
    if (!got || *got == 0) return text;
    text.append(reinterpret_cast<const char*>(into.data()), *got);
  }
}

inline NetErrorKind end_of(TlsSession& session) {
  std::optional<NetError> end;
  read_all(session, &end);
  return end ? end->kind : NetErrorKind::system;
}

}  // namespace sluice::net
