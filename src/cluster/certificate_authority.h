#pragma once
// The cluster's certificate authority: what every host that holds the cluster key can be, and the same on each of them.
//
// Its key is derived from the cluster key, and its own certificate has the same bytes everywhere: nothing has to be sent
// around, and a host that has seen one of them has seen all. There is no register of what was issued; a certificate is
// short-lived, and what must end earlier is revoked by its serial number.
// Threading: values; no clock: the time is given.
#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "cluster/certificate.h"
#include "cluster/cluster_key.h"
#include "cluster/signing_key.h"
#include "net/credentials.h"
#include "net/peer.h"

namespace sluice::cluster {

inline constexpr std::chrono::hours kCertificateLifetime{24};
/// A revocation must be kept for as long as what it revokes could live, so nothing lives for longer than a year.
inline constexpr std::chrono::hours kCertificateLifetimeMax{366 * 24};

struct CertificateRequest {
  net::Role role = net::Role::read;
  std::string name;
  std::optional<NodeId> node;  // of the role `node`, and of no other
  std::chrono::seconds lifetime = kCertificateLifetime;
  WallTime now;
  /// The certificate that this one follows. It has the same serial number then, so that a certificate that was stolen and
  /// renewed by the thief is revoked together with its origin. None: a new, random number.
  std::optional<net::CertificateSerial> renews;
};

/// "Do not believe the certificates with this serial number any more", signed by an authority.
struct Revocation {
  net::CertificateSerial serial;
  WallTime not_after;  // no certificate with this number lives for longer: the revocation may be forgotten then
  Signature signature{};
  bool operator==(const Revocation&) const = default;
};

/// When a revocation made now may be forgotten: after the longest life of what could have been issued a moment ago.
WallTime revocation_end(WallTime now);

/// The public side: whom a program believes, with the cluster key or without.
class TrustedAuthorities final {
 public:
  /// Errors: one is no authority's certificate; none, or more than kClusterKeysMax.
  static std::expected<TrustedAuthorities, std::string> from_pems(std::vector<std::string> pems);

  /// The current one first.
  const std::vector<std::string>& pems() const { return pems_; }
  bool has_issued(std::string_view certificate_pem) const;
  bool verify_revocation(const Revocation& revocation) const;
  bool operator==(const TrustedAuthorities& other) const { return pems_ == other.pems_; }

 private:
  friend class CertificateAuthority;
  TrustedAuthorities() = default;
  std::vector<std::string> pems_;
  std::vector<PublicKey> keys_;
};

class CertificateAuthority final {
 public:
  /// Issues in the name of the current key, and trusts all of them.
  static CertificateAuthority from(const ClusterKeys& keys);

  const TrustedAuthorities& trusted() const { return trusted_; }
  /// The certificate of the current authority.
  const std::string& certificate_pem() const { return trusted_.pems().front(); }

  /// A certificate with a new private key. Errors: a sentence that says what is wrong with the request.
  std::expected<net::Credentials, std::string> issue(const CertificateRequest& request) const;
  /// A certificate for a public key (PEM), whose private half stays where it was made. That the caller has it is not
  /// proved here: without it the certificate is of no use. Errors: as above, or no key of ours.
  std::expected<std::string, std::string> issue_for(std::string_view public_key_pem,
                                                    const CertificateRequest& request) const;

  Revocation sign_revocation(const net::CertificateSerial& serial, WallTime not_after) const;

 private:
  CertificateAuthority(SigningKey key, TrustedAuthorities trusted)
      : key_(std::move(key)), trusted_(std::move(trusted)) {}
  std::string issue_to(const PublicKey& subject, const CertificateRequest& request) const;

  SigningKey key_;
  TrustedAuthorities trusted_;
};

}  // namespace sluice::cluster
