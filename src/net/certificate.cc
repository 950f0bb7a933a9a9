#include "net/certificate.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <optional>

#include "base/require.h"

namespace sluice::net {
namespace {

template <auto function>
struct Free {
  void operator()(auto* object) const { function(object); }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using Number = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

std::string_view text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

std::unexpected<Distrust> wrong_role(std::string message) {
  return std::unexpected(Distrust{{NetErrorKind::wrong_role, std::move(message)}, X509_V_ERR_INVALID_PURPOSE});
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  return std::string(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
}

std::vector<std::string> alternative_uris(const X509* certificate) {
  Names names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> uris;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) uris.emplace_back(text_of(name->d.uniformResourceIdentifier));
  }
  return uris;
}

// The one value behind `prefix`; nothing if there is none, or more than one.
std::optional<std::string_view> only_value(const std::vector<std::string>& uris, std::string_view prefix) {
  std::optional<std::string_view> value;
  for (std::string_view uri : uris) {
    if (!uri.starts_with(prefix)) continue;
    if (value) return std::nullopt;
    value = uri.substr(prefix.size());
  }
  return value;
}

std::optional<CertificateSerial> serial_of(const X509* certificate) {
  Number number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  CertificateSerial serial;
  if (!number || BN_is_negative(number.get())) return std::nullopt;
  if (BN_bn2binpad(number.get(), serial.bytes.data(), static_cast<int>(serial.bytes.size())) < 0) return std::nullopt;
  return serial;
}

std::string printed(const ASN1_TIME* time) {
  Bio bio(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(bio.get(), time);
  char* text = nullptr;
  long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace

void CertificateDeleter::operator()(x509_st* certificate) const { X509_free(certificate); }
void CertificateDeleter::operator()(x509_store_st* store) const { X509_STORE_free(store); }

std::expected<Certificate, NetError> parse_certificate(const std::string& pem, std::string_view what) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate)
    return std::unexpected(NetError{NetErrorKind::wrong_key, fmt::format("{} is no certificate in PEM", what)});
  return certificate;
}

std::expected<Peer, Distrust> peer_of(const x509_st* certificate) {
  Peer peer{.proof = Peer::Proof::certificate, .name = common_name(certificate), .serial = serial_of(certificate)};
  if (!peer.serial)
    return std::unexpected(
        Distrust{{NetErrorKind::wrong_key, "the certificate's serial number is longer than ours are"},
                 X509_V_ERR_CERT_REJECTED});
  std::vector<std::string> uris = alternative_uris(certificate);
  auto role = only_value(uris, kRoleUri);
  if (!role) return wrong_role(fmt::format("the certificate of {} does not name exactly one role", peer.name));
  auto known = role_from(*role);
  if (!known) return wrong_role(fmt::format("the certificate of {} is for the unknown role '{}'", peer.name, *role));
  peer.role = *known;
  if (peer.role != Role::node) return peer;
  auto id = only_value(uris, kNodeUri);
  if (id) peer.node = NodeId::parse(*id);
  if (!peer.node) return wrong_role(fmt::format("the certificate of node {} names no id", peer.name));
  return peer;
}

std::expected<void, Distrust> check_time(const x509_st* certificate, std::string_view whose) {
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  auto problem = [&](std::string what, int code) {
    std::string message = fmt::format("{} {}; are the clocks of both hosts right?", whose, what);
    return std::unexpected(Distrust{{NetErrorKind::wrong_key, std::move(message)}, code});
  };
  // Zero is an error: a time that can't be read is no time to trust.
  if (X509_cmp_current_time(begin) >= 0)
    return problem(fmt::format("is not valid before {}", printed(begin)), X509_V_ERR_CERT_NOT_YET_VALID);
  if (X509_cmp_current_time(end) <= 0)
    return problem(fmt::format("expired at {}", printed(end)), X509_V_ERR_CERT_HAS_EXPIRED);
  return {};
}

std::expected<TrustStore, NetError> TrustStore::make(const std::vector<std::string>& authority_pems) {
  TrustStore trust;
  for (const std::string& pem : authority_pems) {
    auto authority = parse_certificate(pem, "the certificate of the cluster's authority");
    if (!authority) return std::unexpected(authority.error());
    auto& store = trust.authorities_.emplace_back(X509_STORE_new());
    REQUIRE(X509_STORE_add_cert(store.get(), authority->get()) == 1);
    X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN);  // what is in the store is where trust begins
  }
  if (trust.authorities_.empty())
    return std::unexpected(NetError{NetErrorKind::wrong_key, "no certificate of an authority to believe was given"});
  return trust;
}

std::expected<void, Distrust> TrustStore::verify(x509_st* certificate) const {
  for (const auto& authority : authorities_) {
    StoreContext context(X509_STORE_CTX_new());
    REQUIRE(X509_STORE_CTX_init(context.get(), authority.get(), certificate, nullptr) == 1);
    if (X509_verify_cert(context.get()) == 1) return {};
    int code = X509_STORE_CTX_get_error(context.get());
    bool time = code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID;
    if (!time) continue;
    const X509* late = X509_STORE_CTX_get_current_cert(context.get());
    auto why = check_time(late, late == certificate ? "the certificate" : "the certificate of the cluster's authority");
    if (!why) return why;
  }
  return std::unexpected(Distrust{{NetErrorKind::wrong_key, "the certificate is of another cluster"},
                                  X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY});
}

}  // namespace sluice::net
