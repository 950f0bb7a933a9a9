// Any bytes as what a stranger sends to a TLS server, or to a client that has said hello. The first byte says to which,
// and in what pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "net/tls.h"
#include "require.h"

namespace {

using namespace sluice::net;
using sluice::fuzz::require;

// Made for this program: it opens nothing.
constexpr const char* kCertificate = R"(-----BEGIN CERTIFICATE-----
MIHkMIGXoAMCAQICAQEwBQYDK2VwMA8xDTALBgNVBAMMBGZ1enowIBcNMjAwMTAx
MDAwMDAwWhgPOTk5OTEyMzEwMDAwMDBaMA8xDTALBgNVBAMMBGZ1enowKjAFBgMr
ZXADIQBKOaQOmIC22uMfB5sNi1jSnxFawebtaJ5ABgv1fdCYn6MWMBQwEgYDVR0T
AQH/BAgwBgEB/wIBADAFBgMrZXADQQCReKyHNlrmYtm6xLhcRpFcIiZlaWyDUQ0J
sYZg5JweW0Y+DEa4kuEefK5HrUklqsSP8pBfXvQE8T2yHQs5LewG
-----END CERTIFICATE-----
)";
constexpr const char* kKey = R"(-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICkCIzUW7Eb+YnJT0TIUkhL+a/XtAHYb1F/YG4jU+dQv
-----END PRIVATE KEY-----
)";

const TlsContext& context() {
  static const auto made = TlsContext::make({kCertificate, kKey, {kCertificate}});
  require(made.has_value(), "the credentials are good");
  return *made;
}

void read_all(TlsSession& session) {
  std::byte into[1000];
  for (auto got = session.read(into); got && *got > 0; got = session.read(into)) {
    require(session.handshaken(), "bytes come after the handshake");
    require(*got <= sizeof into, "no more bytes than there is room for");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  TlsSession session = data[0] % 2 == 0 ? context().server() : context().client();
  require(session.start().has_value(), "every session starts");
  session.consume_cipher(session.cipher().size());
  const std::size_t piece = data[0] / 2 == 0 ? size : data[0] / 2;
  std::span<const std::byte> left = std::as_bytes(std::span(data + 1, size - 1));
  bool failed = false;
  while (!left.empty()) {
    std::span<const std::byte> some = left.first(std::min(piece, left.size()));
    left = left.subspan(some.size());
    const auto taken = session.on_cipher(some);
    require(taken || !taken.error().message.empty(), "an error says what is wrong");
    require(!failed || !taken, "a session that failed stays so");
    failed = !taken;
    read_all(session);
    require(!session.handshaken(), "nobody gets in without a certificate");
    session.consume_cipher(session.cipher().size());
  }
  session.close();
  return 0;
}
