#include "net/certificates_for_test.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace sluice::net {
namespace {

template <auto function>
struct Free {
  void operator()(auto* object) const { function(object); }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using KeyPair = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using X509Pointer = std::unique_ptr<X509, Free<X509_free>>;

template <class Write>
std::string pem_of(Write write) {
  Bio bio(BIO_new(BIO_s_mem()));
  write(bio.get());
  char* text = nullptr;
  long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

void add_extension(X509* certificate, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

void name_it(X509_NAME* name, const std::string& text) {
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()), -1, 0);
}

X509Pointer bare_certificate(const TestCertificate& of, const std::string& issuer, EVP_PKEY* key) {
  X509Pointer certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  BIGNUM* serial = BN_bin2bn(of.serial.data(), static_cast<int>(of.serial.size()), nullptr);
  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate.get()));
  BN_free(serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), of.begins.count());
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), of.ends.count());
  name_it(X509_get_subject_name(certificate.get()), of.name);
  name_it(X509_get_issuer_name(certificate.get()), issuer);
  X509_set_pubkey(certificate.get(), key);
  return certificate;
}

std::string sign(X509* certificate, EVP_PKEY* by) {
  X509_sign(certificate, by, nullptr);
  return pem_of([&](BIO* bio) { PEM_write_bio_X509(bio, certificate); });
}

}  // namespace

struct TestAuthority::Key {
  KeyPair pair{EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")};
};

TestAuthority::TestAuthority(const std::string& name) : key_(std::make_unique<Key>()), name_(name) {
  auto certificate = bare_certificate({.name = name}, name, key_->pair.get());
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate.get(), NID_key_usage, "critical,keyCertSign");
  pem_ = sign(certificate.get(), key_->pair.get());
}

TestAuthority::~TestAuthority() = default;

Credentials TestAuthority::issue(const TestCertificate& of) const {
  KeyPair own(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  auto certificate = bare_certificate(of, name_, own.get());
  std::string names;
  for (const std::string& uri : of.uris) names += (names.empty() ? "URI:" : ",URI:") + uri;
  if (!names.empty()) add_extension(certificate.get(), NID_subject_alt_name, names);
  std::string key =
      pem_of([&](BIO* bio) { PEM_write_bio_PrivateKey(bio, own.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  return {.certificate_pem = sign(certificate.get(), key_->pair.get()),
          .private_key_pem = std::move(key),
          .authority_pems = {pem_}};
}

Credentials TestAuthority::issue_for(const std::string& role) const {
  return issue({.name = "c1", .uris = {"sluice:role:" + role}, .serial = std::vector<unsigned char>(16, 0x22)});
}

TEST(CertificatesForTest, ArePem) {
  Credentials credentials = TestAuthority().issue();
  EXPECT_TRUE(credentials.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
  EXPECT_TRUE(credentials.private_key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
}

}  // namespace sluice::net
