// Certificates as bytes: what one says, and whether the rules by which certificate_writing.cc makes them hold for it.
#include <openssl/x509v3.h>

#include <ctime>

#include "cluster/certificate.h"
#include "cluster/certificate_x509.h"
#include "cluster/crypto_handle.h"
#include "cluster/pem.h"
#include "net/certificate.h"

namespace sluice::cluster {
namespace {

using Outcome = std::expected<void, std::string>;

constexpr const char* kNoCertificate = "no certificate, or a damaged one";

std::optional<WallTime> wall_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  using namespace std::chrono;
  const year_month_day date(year(parts.tm_year + 1900), month(static_cast<unsigned>(parts.tm_mon + 1)),
                            day(static_cast<unsigned>(parts.tm_mday)));
  if (!date.ok()) return std::nullopt;
  return sys_days(date) + hours(parts.tm_hour) + minutes(parts.tm_min) + seconds(parts.tm_sec);
}

Outcome read_owner(const X509* certificate, CertificateFields& fields) {
  auto peer = net::peer_of(certificate);
  if (!peer) return std::unexpected(peer.error().error.message);
  fields.role = peer->role;
  fields.name = peer->name;
  fields.node = peer->node;
  fields.serial = peer->serial.value_or(net::CertificateSerial{});
  if (fields.serial.is_zero() || (fields.node && fields.node->is_zero()))
    return std::unexpected("the certificate's serial number or node id is zero");
  return check_name(fields.role, fields.name);
}

Outcome read_life(const X509* certificate, CertificateFields& fields) {
  auto not_before = wall_time(X509_get0_notBefore(certificate)), not_after = wall_time(X509_get0_notAfter(certificate));
  if (!not_before || !not_after || *not_before >= *not_after)
    return std::unexpected("the certificate's dates can't be read");
  fields.not_before = *not_before;
  fields.not_after = *not_after;
  return {};
}

Outcome check_usage(X509* certificate, net::Role role) {
  const std::uint32_t flags = X509_get_extension_flags(certificate);
  if (X509_get_version(certificate) != X509_VERSION_3 || (flags & EXFLAG_CA) != 0)
    return std::unexpected("the certificate is not one of a program");
  const std::uint32_t wanted = role == net::Role::node ? XKU_SSL_SERVER | XKU_SSL_CLIENT : XKU_SSL_CLIENT;
  const bool usages = (flags & EXFLAG_INVALID) == 0 && (flags & EXFLAG_XKUSAGE) != 0 &&
                      X509_get_extended_key_usage(certificate) == wanted &&
                      X509_get_key_usage(certificate) == KU_DIGITAL_SIGNATURE;
  if (!usages) return std::unexpected("the certificate's key usages are not those of its role");
  return {};
}

std::optional<PublicKey> key_of(const X509* certificate) {
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519) return std::nullopt;
  PublicKey bytes;
  std::size_t size = bytes.size();
  if (EVP_PKEY_get_raw_public_key(key, bytes.data(), &size) != 1 || size != bytes.size()) return std::nullopt;
  return bytes;
}

}  // namespace

net::Certificate x509_from_pem(std::string_view pem) {
  auto der = parse_pem_block(pem, kPemCertificate);
  if (!der) return nullptr;
  const std::uint8_t* at = der->bytes().data();
  net::Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der->size())));
  if (at != der->bytes().data() + der->size()) return nullptr;
  return certificate;
}

std::expected<Certificate, std::string> read_certificate(std::string_view pem) {
  CryptoErrorScope errors;
  const net::Certificate x509 = x509_from_pem(pem);
  if (!x509) return std::unexpected(kNoCertificate);
  Certificate certificate;
  auto key = key_of(x509.get());
  if (!key) return std::unexpected("the certificate's key is not of the kind Ed25519");
  certificate.public_key = *key;
  CertificateFields& fields = certificate.fields;
  if (auto read = read_owner(x509.get(), fields); !read) return std::unexpected(read.error());
  if (auto read = read_life(x509.get(), fields); !read) return std::unexpected(read.error());
  if (auto usable = check_usage(x509.get(), fields.role); !usable) return std::unexpected(usable.error());
  return certificate;
}

std::expected<PublicKey, std::string> read_authority_certificate(std::string_view pem) {
  CryptoErrorScope errors;
  const net::Certificate x509 = x509_from_pem(pem);
  if (!x509) return std::unexpected(kNoCertificate);
  auto key = key_of(x509.get());
  // 1: says of itself that it is an authority, as a certificate of version 3 does.
  const bool authority = key && X509_check_ca(x509.get()) == 1 && X509_get_pathlen(x509.get()) == 0 &&
                         X509_self_signed(x509.get(), 1) == 1;
  if (!authority) return std::unexpected("the certificate is not one of a cluster's authority");
  return *key;
}

bool is_issued_by(std::string_view certificate_pem, std::string_view authority_pem) {
  CryptoErrorScope errors;
  const net::Certificate certificate = x509_from_pem(certificate_pem), authority = x509_from_pem(authority_pem);
  if (!certificate || !authority) return false;
  EVP_PKEY* key = X509_get0_pubkey(authority.get());
  return key != nullptr && X509_check_issued(authority.get(), certificate.get()) == X509_V_OK &&
         X509_verify(certificate.get(), key) == 1;
}

}  // namespace sluice::cluster
