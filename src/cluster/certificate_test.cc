#include "cluster/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include "cluster/certificate_authority.h"
#include "cluster/crypto_handle.h"
#include "cluster/keys_for_test.h"
#include "cluster/pem.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// What the authority would sign if somebody had its key and meant harm, or if a later version made others.
struct Forgery {
  std::string name = "mallory";
  const char* alternative_names = "URI:sluice:role:read";
  const char* extended_usage = "clientAuth";
  const char* usage = "critical,digitalSignature";
  const char* constraints = "critical,CA:FALSE";
};

void add(X509* certificate, int kind, const char* value) {
  if (value == nullptr) return;
  CryptoHandle<X509_EXTENSION, X509_EXTENSION_free> extension(must(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value)));
  must_succeed(X509_add_ext(certificate, extension.get(), -1));
}

std::string forge(const Forgery& forgery) {
  const SigningKey key = SigningKey::generate();
  CryptoHandle<X509, X509_free> x509(X509_new());
  X509_set_version(x509.get(), X509_VERSION_3);
  X509_NAME_add_entry_by_NID(X509_get_subject_name(x509.get()), NID_commonName, MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(forgery.name.data()),
                             static_cast<int>(forgery.name.size()), -1, 0);
  ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 7);
  ASN1_TIME_set_string_X509(X509_getm_notBefore(x509.get()), "20260501000000Z");
  ASN1_TIME_set_string_X509(X509_getm_notAfter(x509.get()), "20260502000000Z");
  X509_set_pubkey(x509.get(), key.handle());
  add(x509.get(), NID_subject_alt_name, forgery.alternative_names);
  add(x509.get(), NID_ext_key_usage, forgery.extended_usage);
  add(x509.get(), NID_key_usage, forgery.usage);
  add(x509.get(), NID_basic_constraints, forgery.constraints);
  X509_sign(x509.get(), key.handle(), nullptr);
  std::vector<std::uint8_t> der(static_cast<std::size_t>(i2d_X509(x509.get(), nullptr)));
  std::uint8_t* at = der.data();
  i2d_X509(x509.get(), &at);
  return std::string(format_pem(kPemCertificate, der).view());
}

TEST(Certificate, TheUnharmedForgeryIsRead) {
  auto read = read_certificate(forge({}));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->fields.role, net::Role::read);
  EXPECT_EQ(read->fields.name, "mallory");
  EXPECT_EQ(read->fields.serial.text(), std::string(31, '0') + "7");
}

TEST(Certificate, AReaderCanNotPoseAsANode) {
  constexpr const char* kId = "0123456789abcdef0123456789abcdef";
  const std::string node = std::string("URI:sluice:role:node,URI:sluice:node:") + kId;
  const std::string both = "URI:sluice:role:read," + node;
  const std::string twice = node + ",URI:sluice:node:" + kId;
  const std::string with_dns = "DNS:sluice:role:node,URI:sluice:role:read";
  for (const Forgery& forgery :
       {Forgery{.alternative_names = both.c_str()},
        Forgery{.alternative_names = both.c_str(), .extended_usage = "serverAuth,clientAuth"},
        Forgery{.alternative_names = node.c_str()},  // may not serve by its usages
        Forgery{.alternative_names = "URI:sluice:role:node", .extended_usage = "serverAuth,clientAuth"},
        Forgery{.alternative_names = twice.c_str(), .extended_usage = "serverAuth,clientAuth"},
        Forgery{.alternative_names = "URI:sluice:role:node,URI:sluice:node:0123",
        .extended_usage = "serverAuth,clientAuth"},
        Forgery{.alternative_names = "URI:sluice:role:node,URI:sluice:node:00000000000000000000000000000000",
        .extended_usage = "serverAuth,clientAuth"},
        Forgery{.alternative_names = "URI:sluice:role:root"},
        Forgery{.alternative_names = "URI:sluice:role:"},
        Forgery{.alternative_names = "URI:SLUICE:ROLE:node"},
        Forgery{.alternative_names = "DNS:sluice"},
        Forgery{.alternative_names = nullptr},
        Forgery{.extended_usage = "serverAuth,clientAuth"},
        Forgery{.extended_usage = nullptr},
        Forgery{.usage = "keyCertSign"},
        Forgery{.usage = nullptr},
        Forgery{.constraints = "critical,CA:TRUE"},
        Forgery{.name = ""},
        Forgery{.name = "a b"},
        Forgery{.name = std::string("a\0b", 3)},
        Forgery{.name = std::string(64, 'a')},
        Forgery{.name = "\x1b[31m"}})
    EXPECT_FALSE(read_certificate(forge(forgery))) << forgery.name << " " << (forgery.alternative_names ?: "none");
  // A name, or an alternative name of another kind, decides nothing.
  EXPECT_EQ(read_certificate(forge({.name = "node"}))->fields.role, net::Role::read);
  EXPECT_EQ(read_certificate(forge({.alternative_names = with_dns.c_str()}))->fields.role, net::Role::read);
}

TEST(Certificate, AProgramIsNoAuthority) {
  EXPECT_FALSE(read_authority_certificate(forge({})));
  // An authority of any depth would be trusted with authorities below it.
  EXPECT_FALSE(read_authority_certificate(forge({.usage = "critical,keyCertSign", .constraints = "critical,CA:TRUE"})));
  const std::string authority = make_authority_certificate(SigningKey::generate(), "sluice authority");
  EXPECT_TRUE(read_authority_certificate(authority));
  EXPECT_FALSE(read_certificate(authority));
}

TEST(Certificate, EveryDamageIsAnErrorOrOfNoAuthority) {
  const SigningKey key = SigningKey::generate();
  const std::string authority = make_authority_certificate(key, "sluice authority");
  const CertificateFields fields{
      .name = "a", .serial = net::CertificateSerial::random(), .not_before = kNow, .not_after = kNow + 1h};
  auto good = fields;
  good.serial.bytes[0] = 1;
  const std::string pem = make_certificate(good, SigningKey::generate().public_key(), {key, authority});
  ASSERT_TRUE(is_issued_by(pem, authority));
  auto der = parse_pem_block(pem, kPemCertificate);
  for (std::size_t at = 0; at < der->size(); ++at) {
    EXPECT_FALSE(read_certificate(format_pem(kPemCertificate, der->bytes().first(at)).view()));
    const auto flip = static_cast<std::uint8_t>(1 << at % 8);
    der->fill()[at] ^= flip;
    const SecretText damaged = format_pem(kPemCertificate, der->bytes());
    (void)read_certificate(damaged.view());
    EXPECT_FALSE(is_issued_by(damaged.view(), authority)) << at;
    der->fill()[at] ^= flip;
  }
}

TEST(Certificate, NamesAreChecked) {
  EXPECT_TRUE(check_name(net::Role::node, "db-1"));
  EXPECT_TRUE(check_name(net::Role::run, "Alice.B+ci@host_1"));
  EXPECT_TRUE(check_name(net::Role::run, std::string(63, 'a')));
  for (std::string_view name : {"DB1", "db_1", "db.1", ""}) EXPECT_FALSE(check_name(net::Role::node, name)) << name;
  for (std::string_view name : {"a b", "a/b", "a\n", "\xc3\xa4"}) EXPECT_FALSE(check_name(net::Role::run, name));
  EXPECT_THAT(check_name(net::Role::node, "DB1").error(), HasSubstr("a-z, 0-9 and -"));
}

}  // namespace
}  // namespace sluice::cluster
