#pragma once
// Certificates (X.509 v3, RFC 5280) as the cluster uses them: what one says is a role, a name, and for the role `node` the
// node's id. Role and id stand in URIs of the subject's alternative names, `sluice:role:ROLE` and `sluice:node:32HEX`; the
// name is the common name, and nothing is ever decided by it.
//
// A certificate is valid from one day before it was issued: a host without a battery-backed clock starts with the time at
// which it was switched off, and would refuse its peers as not valid yet until its clock is set.
// Threading: pure functions.
#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/id.h"
#include "cluster/signing_key.h"
#include "net/peer.h"

namespace sluice::cluster {

/// What a calendar says, in UTC. A certificate's life is told in it; machines are given it as a value.
using WallTime = std::chrono::sys_seconds;

inline constexpr std::chrono::hours kBackdating{24};
/// The common name's limit (RFC 5280 appendix A.1, ub-common-name) is 64; a label of the DNS has 63.
inline constexpr std::size_t kCertificateNameMax = 63;

/// What a certificate says. `serial` is below 2^127 and not zero, so that it is a positive number of at most 16 bytes.
struct CertificateFields {
  net::Role role = net::Role::read;
  std::string name;
  std::optional<NodeId> node;  // of the role `node`, and of no other
  net::CertificateSerial serial;
  WallTime not_before;
  WallTime not_after;
  bool operator==(const CertificateFields&) const = default;
};

/// Errors: a sentence that says what a name may look like. A node's is stricter: other hosts type it.
std::expected<void, std::string> check_name(net::Role role, std::string_view name);
/// Half of its life after it was issued: when to renew it.
WallTime renewal_time(const CertificateFields& fields);

/// Whose signature a certificate carries: the authority's key, and its own certificate.
struct Issuer {
  const SigningKey& key;
  std::string_view certificate_pem;
};

/// Signed by its own key. The same bytes for the same key and name.
std::string make_authority_certificate(const SigningKey& key, const std::string& common_name);
std::string make_certificate(const CertificateFields& fields, const PublicKey& subject, const Issuer& issuer);

struct Certificate {
  CertificateFields fields;
  PublicKey public_key{};
};

/// What the certificate of a peer or of ourselves says. Who signed it, and whether it is valid now, is not looked at.
/// Errors: a sentence; no certificate, or none that this cluster's authority makes: two roles, a node without an id, an id
/// without the role, other key usages, an authority.
std::expected<Certificate, std::string> read_certificate(std::string_view pem);
/// The key of an authority. Errors: a sentence; no certificate, no authority, not signed by itself.
std::expected<PublicKey, std::string> read_authority_certificate(std::string_view pem);
/// False too if one of them is no certificate.
bool is_issued_by(std::string_view certificate_pem, std::string_view authority_pem);

}  // namespace sluice::cluster
