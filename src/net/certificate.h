#pragma once
// Certificates of a cluster: what they say of their owner, and whether to believe them.
//
// A certificate is issued directly by an authority of the cluster. Its subject's common name is the owner's name; its
// subjectAltName holds the URIs `sluice:role:ROLE`, exactly one, and for a node `sluice:node:ID`; its serial number has
// at most 16 bytes (RFC 5280 section 4.1.2.2 allows 20).
// Threading: a TrustStore may be shared by threads.
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.h"
#include "net/peer.h"

struct x509_st;        // OpenSSL's X509
struct x509_store_st;  // and its X509_STORE

namespace sluice::net {

inline constexpr std::string_view kRoleUri = "sluice:role:";
inline constexpr std::string_view kNodeUri = "sluice:node:";

struct CertificateDeleter {
  void operator()(x509_st* certificate) const;
  void operator()(x509_store_st* store) const;
};
using Certificate = std::unique_ptr<x509_st, CertificateDeleter>;

/// Why a certificate is not believed: for us, and as OpenSSL's X509_V_ERR_ code, from which it makes the alert.
struct Distrust {
  NetError error;
  int code = 0;
};

/// The first certificate of a PEM text. Errors: there is none; `what` names it in the message.
std::expected<Certificate, NetError> parse_certificate(const std::string& pem, std::string_view what);

/// Who the certificate says that its owner is. Nothing is verified.
std::expected<Peer, Distrust> peer_of(const x509_st* certificate);

/// Errors: wrong_key outside of the certificate's time, with a hint at the clocks. `whose` begins the message.
std::expected<void, Distrust> check_time(const x509_st* certificate, std::string_view whose);

/// The authorities whose certificates are believed, and nobody else's: the system's are not looked at.
class TrustStore final {
 public:
  static std::expected<TrustStore, NetError> make(const std::vector<std::string>& authority_pems);

  /// Errors: wrong_key if none of the authorities issued it, or not for this time.
  std::expected<void, Distrust> verify(x509_st* certificate) const;

 private:
  // One store an authority: two authorities may have the same name, and OpenSSL would try the first only.
  std::vector<std::unique_ptr<x509_store_st, CertificateDeleter>> authorities_;
};

}  // namespace sluice::net
