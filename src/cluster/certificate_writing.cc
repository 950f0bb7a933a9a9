// Certificates as bytes: how they are made. certificate_reading.cc holds the same rules against what comes in.
#include <fmt/format.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

#include "base/require.h"
#include "cluster/certificate.h"
#include "cluster/certificate_x509.h"
#include "cluster/crypto_handle.h"
#include "cluster/pem.h"
#include "net/certificate.h"

namespace sluice::cluster {
namespace {

using Name = CryptoHandle<X509_NAME, X509_NAME_free>;
using AlternativeNames = CryptoHandle<GENERAL_NAMES, GENERAL_NAMES_free>;

// RFC 5280 section 4.1.2.5: this date stands for "no end". The authority ends with its key, not with a date.
constexpr const char* kAuthorityBegin = "20200101000000Z";
constexpr const char* kAuthorityEnd = "99991231235959Z";

std::string calendar_text(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{:04}{:02}{:02}{:02}{:02}{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

void set_serial(X509* certificate, std::span<const std::uint8_t, kIdSize> serial) {
  REQUIRE((serial.front() & 0x80) == 0);
  CryptoHandle<BIGNUM, BN_free> number(must(BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr)));
  REQUIRE(!BN_is_zero(number.get()));
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)));
}

void set_life(X509* certificate, const std::string& begin, const std::string& end) {
  // Picks the form that RFC 5280 wants for the year.
  must_succeed(ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), begin.c_str()));
  must_succeed(ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), end.c_str()));
}

Name common_name(const std::string& text) {
  Name name(must(X509_NAME_new()));
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  must_succeed(X509_NAME_add_entry_by_NID(name.get(), NID_commonName, MBSTRING_ASC, bytes,
                                          static_cast<int>(text.size()), -1, 0));
  return name;
}

/// `value` is one of the constants below: what a user gave never gets into this small language of the library.
void add_extension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  CryptoHandle<X509_EXTENSION, X509_EXTENSION_free> extension(
      must(X509V3_EXT_conf_nid(nullptr, &context, kind, value)));
  must_succeed(X509_add_ext(certificate, extension.get(), -1));
}

void add_uri(GENERAL_NAMES* names, const std::string& uri) {
  CryptoHandle<GENERAL_NAME, GENERAL_NAME_free> name(must(GENERAL_NAME_new()));
  ASN1_IA5STRING* text = must(ASN1_IA5STRING_new());
  GENERAL_NAME_set0_value(name.get(), GEN_URI, text);
  must_succeed(ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size())));
  REQUIRE(sk_GENERAL_NAME_push(names, name.get()) > 0);
  name.release();
}

void add_alternative_names(X509* certificate, const CertificateFields& fields) {
  AlternativeNames names(must(GENERAL_NAMES_new()));
  add_uri(names.get(), fmt::format("{}{}", net::kRoleUri, net::role_name(fields.role)));
  if (fields.node) add_uri(names.get(), fmt::format("{}{}", net::kNodeUri, fields.node->text()));
  must_succeed(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_APPEND));
}

// Of the authority: only these two fields tell two of them apart. The first bytes of the digest are its fingerprint.
std::array<std::uint8_t, kIdSize> authority_serial(const PublicKey& key) {
  std::uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(key.data(), key.size(), digest);
  std::array<std::uint8_t, kIdSize> serial;
  std::copy_n(digest + sizeof digest - kIdSize, kIdSize, serial.begin());
  serial.front() = static_cast<std::uint8_t>((serial.front() & 0x7f) | 0x40);  // positive, and all 16 bytes
  return serial;
}

void set_names_and_key(X509* certificate, const X509_NAME* issuer, const X509_NAME* subject, EVP_PKEY* key) {
  must_succeed(X509_set_version(certificate, X509_VERSION_3));
  must_succeed(X509_set_issuer_name(certificate, issuer));
  must_succeed(X509_set_subject_name(certificate, subject));
  must_succeed(X509_set_pubkey(certificate, key));
}

std::string sign_and_write(X509* certificate, const SigningKey& key) {
  REQUIRE(X509_sign(certificate, key.handle(), nullptr) > 0);
  SecretText der = SecretText::of_size(static_cast<std::size_t>(i2d_X509(certificate, nullptr)));
  std::uint8_t* at = der.fill().data();
  REQUIRE(i2d_X509(certificate, &at) == static_cast<int>(der.size()));
  return std::string(format_pem(kPemCertificate, der.bytes()).view());
}

}  // namespace

std::string make_authority_certificate(const SigningKey& key, const std::string& name) {
  CryptoErrorScope errors;
  const net::Certificate certificate(must(X509_new()));
  const Name subject = common_name(name);
  set_names_and_key(certificate.get(), subject.get(), subject.get(), key.handle());
  set_serial(certificate.get(), authority_serial(key.public_key()));
  set_life(certificate.get(), kAuthorityBegin, kAuthorityEnd);
  add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash");
  return sign_and_write(certificate.get(), key);
}

std::string make_certificate(const CertificateFields& fields, const PublicKey& subject, const Issuer& issuer) {
  REQUIRE((fields.role == net::Role::node) == fields.node.has_value());
  CryptoErrorScope errors;
  const net::Certificate authority = x509_from_pem(issuer.certificate_pem);
  REQUIRE(authority != nullptr);
  const net::Certificate certificate(must(X509_new()));
  CryptoHandle<EVP_PKEY, EVP_PKEY_free> key(
      must(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, subject.data(), subject.size())));
  set_names_and_key(certificate.get(), X509_get_subject_name(authority.get()), common_name(fields.name).get(),
                    key.get());
  set_serial(certificate.get(), fields.serial.bytes);
  set_life(certificate.get(), calendar_text(fields.not_before), calendar_text(fields.not_after));
  add_extension(certificate.get(), authority.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate.get(), authority.get(), NID_key_usage, "critical,digitalSignature");
  // Only a node may serve: any TLS library refuses the others when they try.
  const bool node = fields.role == net::Role::node;
  add_extension(certificate.get(), authority.get(), NID_ext_key_usage, node ? "serverAuth,clientAuth" : "clientAuth");
  add_extension(certificate.get(), authority.get(), NID_subject_key_identifier, "hash");
  add_extension(certificate.get(), authority.get(), NID_authority_key_identifier, "keyid:always");
  add_alternative_names(certificate.get(), fields);
  return sign_and_write(certificate.get(), issuer.key);
}

}  // namespace sluice::cluster
