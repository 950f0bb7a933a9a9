#include "cluster/certificate_authority.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::cluster {
namespace {

using std::chrono::sys_days;
using std::chrono::year;
using namespace std::chrono_literals;

// A clock that was never set says 1970, which works; beyond these the dates of a certificate can't be written.
constexpr WallTime kNowMin = sys_days(year(1970) / 1 / 1);
constexpr WallTime kNowMax = sys_days(year(9000) / 1 / 1);

// A signed text of ours begins with words; a certificate's signed part begins with the byte 0x30. Neither can be taken for
// the other, though one key signs both.
constexpr std::string_view kRevocationDomain{"sluice revocation 1\0", 20};

std::string revocation_text(const net::CertificateSerial& serial, WallTime not_after) {
  WireWriter writer;
  writer.put_raw(kRevocationDomain);
  writer.put_bytes(serial.bytes);
  writer.put(static_cast<std::uint64_t>(not_after.time_since_epoch().count()));
  return writer.take();
}

std::expected<void, std::string> check(const CertificateRequest& request) {
  if (auto named = check_name(request.role, request.name); !named) return named;
  const bool node = request.role == net::Role::node;
  if (node != request.node.has_value() || (node && request.node->is_zero()))
    return std::unexpected(node ? "a node's certificate needs the node's id"
                                : "only a node's certificate has a node id");
  if (request.lifetime < 1min || request.lifetime > kCertificateLifetimeMax)
    return std::unexpected(fmt::format("a certificate lives for one minute to {} days",
                                       std::chrono::floor<std::chrono::days>(kCertificateLifetimeMax).count()));
  if (request.now < kNowMin || request.now > kNowMax)
    return std::unexpected("the clock of this host is not set: set the date, then try again");
  return {};
}

net::CertificateSerial new_serial() {
  auto serial = net::CertificateSerial::random();
  serial.bytes.front() = static_cast<std::uint8_t>((serial.bytes.front() & 0x7f) | 0x40);  // positive, and all 16 bytes
  return serial;
}

}  // namespace

WallTime revocation_end(WallTime now) { return now + kCertificateLifetimeMax; }

std::expected<TrustedAuthorities, std::string> TrustedAuthorities::from_pems(std::vector<std::string> pems) {
  if (pems.empty() || pems.size() > kClusterKeysMax)
    return std::unexpected(fmt::format("there must be 1 to {} authorities, not {}", kClusterKeysMax, pems.size()));
  TrustedAuthorities trusted;
  for (const std::string& pem : pems) {
    auto key = read_authority_certificate(pem);
    if (!key) return std::unexpected(key.error());
    trusted.keys_.push_back(*key);
  }
  trusted.pems_ = std::move(pems);
  return trusted;
}

bool TrustedAuthorities::has_issued(std::string_view certificate_pem) const {
  return std::any_of(pems_.begin(), pems_.end(),
                     [&](const std::string& authority) { return is_issued_by(certificate_pem, authority); });
}

bool TrustedAuthorities::verify_revocation(const Revocation& revocation) const {
  const std::string text = revocation_text(revocation.serial, revocation.not_after);
  return std::any_of(keys_.begin(), keys_.end(),
                     [&](const PublicKey& key) { return verify(key, text, revocation.signature); });
}

CertificateAuthority CertificateAuthority::from(const ClusterKeys& keys) {
  TrustedAuthorities trusted;
  std::vector<SigningKey> authorities;
  for (const ClusterKey& key : keys.all()) {
    const SigningKey& authority = authorities.emplace_back(key.authority_key());
    const PublicKey& public_key = trusted.keys_.emplace_back(authority.public_key());
    trusted.pems_.push_back(make_authority_certificate(authority, "sluice authority " + fingerprint_of(public_key)));
  }
  return CertificateAuthority(authorities.front(), std::move(trusted));
}

std::expected<net::Credentials, std::string> CertificateAuthority::issue(const CertificateRequest& request) const {
  if (auto valid = check(request); !valid) return std::unexpected(valid.error());
  const SigningKey key = SigningKey::generate();
  return net::Credentials{.certificate_pem = issue_to(key.public_key(), request),
                          .private_key_pem = std::string(key.pem().view()),
                          .authority_pems = trusted_.pems()};
}

std::expected<std::string, std::string> CertificateAuthority::issue_for(std::string_view public_key_pem,
                                                                        const CertificateRequest& request) const {
  if (auto valid = check(request); !valid) return std::unexpected(valid.error());
  auto subject = public_key_from_pem(public_key_pem);
  if (!subject) return std::unexpected(subject.error());
  return issue_to(*subject, request);
}

std::string CertificateAuthority::issue_to(const PublicKey& subject, const CertificateRequest& request) const {
  const CertificateFields fields{.role = request.role,
                                 .name = request.name,
                                 .node = request.node,
                                 .serial = request.renews.value_or(new_serial()),
                                 .not_before = request.now - kBackdating,
                                 .not_after = request.now + request.lifetime};
  return make_certificate(fields, subject, {.key = key_, .certificate_pem = certificate_pem()});
}

Revocation CertificateAuthority::sign_revocation(const net::CertificateSerial& serial, WallTime not_after) const {
  return {.serial = serial, .not_after = not_after, .signature = key_.sign(revocation_text(serial, not_after))};
}

}  // namespace sluice::cluster
