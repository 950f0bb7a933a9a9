#include "cluster/certificate_authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "cluster/base64.h"
#include "cluster/keys_for_test.h"
#include "net/tls.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(CertificateAuthority, HasTheSameBytesOnEveryHost) {
  const auto one = CertificateAuthority::from(keys_of({'k'})), other = CertificateAuthority::from(keys_of({'k'}));
  EXPECT_EQ(one.certificate_pem(), other.certificate_pem());
  EXPECT_NE(one.certificate_pem(), CertificateAuthority::from(keys_of({'l'})).certificate_pem());
  // Written down: with other bytes, hosts of two versions would not be one cluster.
  EXPECT_EQ(one.certificate_pem(),
            "-----BEGIN CERTIFICATE-----\n"
            "MIIBXTCCAQ+gAwIBAgIQQyTF6a+8Po1Qmma2Ysb+gDAFBgMrZXAwLDEqMCgGA1UE\n"
            "Awwhc2x1aWNlIGF1dGhvcml0eSA4ZWY4ZjBiMDkxMGQ0MmVmMCAXDTIwMDEwMTAw\n"
            "MDAwMFoYDzk5OTkxMjMxMjM1OTU5WjAsMSowKAYDVQQDDCFzbHVpY2UgYXV0aG9y\n"
            "aXR5IDhlZjhmMGIwOTEwZDQyZWYwKjAFBgMrZXADIQA8/qxY6E2nTZFY9alX8pmW\n"
            "z+OnSOtaPtAblp3obn4CmKNFMEMwEgYDVR0TAQH/BAgwBgEB/wIBADAOBgNVHQ8B\n"
            "Af8EBAMCAQYwHQYDVR0OBBYEFMdwNiAEKSYRow4jB9nxjyR8a47TMAUGAytlcANB\n"
            "ABfkOJDyTlVbOBXiMXytcFsaCpIPBwgT8l25nqy4lP3zALWn/4YTSBHDlLFeiH8d\n"
            "8DbJLO2LXtI3YtLxstwlcgE=\n"
            "-----END CERTIFICATE-----\n");
}

TEST(CertificateAuthority, IssuesWhatWasAskedFor) {
  const auto authority = CertificateAuthority::from(keys_of({'k'}));
  for (net::Role role : net::all_roles()) {
    CertificateRequest request{.role = role, .name = "some-name", .now = kNow};
    if (role == net::Role::node) request.node = kNode;
    auto credentials = authority.issue(request);
    ASSERT_TRUE(credentials) << credentials.error();
    auto certificate = read_certificate(credentials->certificate_pem);
    ASSERT_TRUE(certificate) << certificate.error();
    const CertificateFields& fields = certificate->fields;
    EXPECT_EQ(fields.role, role);
    EXPECT_EQ(fields.name, "some-name");
    EXPECT_EQ(fields.node, request.node);
    EXPECT_EQ(fields.not_before, kNow - 24h);
    EXPECT_EQ(fields.not_after, kNow + 24h);
    EXPECT_EQ(renewal_time(fields), kNow + 12h);
    EXPECT_EQ(SigningKey::from_pem(credentials->private_key_pem)->public_key(), certificate->public_key);
    EXPECT_TRUE(authority.trusted().has_issued(credentials->certificate_pem));
  }
}

TEST(CertificateAuthority, SerialNumbersArePositiveAndDiffer) {
  const auto authority = CertificateAuthority::from(keys_of({'k'}));
  std::set<net::CertificateSerial> serials;
  for (int i = 0; i < 50; ++i) {
    auto serial = read_certificate(authority.issue(a_node())->certificate_pem)->fields.serial;
    EXPECT_EQ(serial.bytes[0] & 0x80, 0);
    EXPECT_TRUE(serials.insert(serial).second);
  }
}

TEST(CertificateAuthority, ARenewingNodeKeepsItsPrivateKeyAndItsSerialNumber) {
  const auto authority = CertificateAuthority::from(keys_of({'k'}));
  const SigningKey key = SigningKey::generate();
  const std::string first = *authority.issue_for(to_pem(key.public_key()), a_node());
  CertificateRequest again = a_node();
  again.now = kNow + 12h;
  again.renews = read_certificate(first)->fields.serial;
  auto second = read_certificate(*authority.issue_for(to_pem(key.public_key()), again));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->public_key, key.public_key());
  EXPECT_EQ(second->fields.serial, again.renews);
  EXPECT_EQ(second->fields.not_after, kNow + 36h);
}

TEST(CertificateAuthority, RefusesWhatItCanNotSign) {
  const auto authority = CertificateAuthority::from(keys_of({'k'}));
  auto error_of = [&](CertificateRequest request) {
    auto issued = authority.issue(request);
    return issued ? "" : issued.error();
  };
  CertificateRequest request = a_node();
  request.node.reset();
  EXPECT_EQ(error_of(request), "a node's certificate needs the node's id");
  request = a_node();
  request.role = net::Role::read;
  EXPECT_EQ(error_of(request), "only a node's certificate has a node id");
  request = a_node();
  request.name = "db1\nrole=admin";
  EXPECT_THAT(error_of(request), HasSubstr("1 to 63 characters"));
  for (auto lifetime : {std::chrono::seconds(-1h), std::chrono::seconds(0), std::chrono::seconds(367 * 24h)}) {
    request = a_node();
    request.lifetime = lifetime;
    EXPECT_EQ(error_of(request), "a certificate lives for one minute to 366 days");
  }
  for (WallTime now : {WallTime(-1s), WallTime(std::chrono::seconds(1'000'000'000'000))}) {
    request = a_node();
    request.now = now;
    EXPECT_THAT(error_of(request), HasSubstr("the clock of this host is not set"));
  }
  EXPECT_FALSE(authority.issue_for("no key", a_node()));
  EXPECT_FALSE(authority.issue_for(to_pem(SigningKey::generate().public_key()), request));
}

TEST(CertificateAuthority, DuringARotationBothAreTrustedAndTheFirstIssues) {
  const auto before = CertificateAuthority::from(keys_of({'o'})),
             first = CertificateAuthority::from(keys_of({'o', 'n'})),
             second = CertificateAuthority::from(keys_of({'n', 'o'})),
             after = CertificateAuthority::from(keys_of({'n'}));
  const std::string of_old = first.issue(a_node())->certificate_pem, of_new = second.issue(a_node())->certificate_pem;
  for (const auto* authority : {&first, &second}) {
    EXPECT_TRUE(authority->trusted().has_issued(of_old));
    EXPECT_TRUE(authority->trusted().has_issued(of_new));
  }
  EXPECT_TRUE(before.trusted().has_issued(of_old));
  EXPECT_FALSE(before.trusted().has_issued(of_new));
  EXPECT_FALSE(after.trusted().has_issued(of_old));
  EXPECT_TRUE(after.trusted().has_issued(of_new));
}

TEST(CertificateAuthority, TheTrustedAreReadFromTheirCertificates) {
  const auto authority = CertificateAuthority::from(keys_of({'n', 'o'}));
  auto trusted = TrustedAuthorities::from_pems(authority.trusted().pems());
  ASSERT_TRUE(trusted) << trusted.error();
  EXPECT_EQ(*trusted, authority.trusted());
  EXPECT_FALSE(TrustedAuthorities::from_pems({}));
  EXPECT_FALSE(TrustedAuthorities::from_pems({authority.issue(a_node())->certificate_pem}));
  EXPECT_FALSE(TrustedAuthorities::from_pems(std::vector<std::string>(5, authority.certificate_pem())));
}

TEST(CertificateAuthority, SignsRevocationsThatEveryoneCanVerify) {
  const auto authority = CertificateAuthority::from(keys_of({'n'}));
  const Revocation good = authority.sign_revocation(net::CertificateSerial::random(), revocation_end(kNow));
  const TrustedAuthorities trusted = *TrustedAuthorities::from_pems(authority.trusted().pems());
  EXPECT_TRUE(trusted.verify_revocation(good));
  EXPECT_TRUE(CertificateAuthority::from(keys_of({'x', 'n'})).trusted().verify_revocation(good));
  EXPECT_FALSE(CertificateAuthority::from(keys_of({'x'})).trusted().verify_revocation(good));
  Revocation bad = good;
  bad.not_after += 1s;
  EXPECT_FALSE(trusted.verify_revocation(bad));
  bad = good;
  bad.serial.bytes[15] ^= 1;
  EXPECT_FALSE(trusted.verify_revocation(bad));
}

// --- what TLS makes of them ---------------------------------------------------------------------------------------

/// Passes cipher bytes between the two until nobody has any more. The first error of the client, then of the server.
std::optional<net::NetError> shake_hands(net::TlsSession& client, net::TlsSession& server) {
  std::optional<net::NetError> client_error, server_error;
  auto pass = [](net::TlsSession& from, net::TlsSession& to, std::optional<net::NetError>& error) {
    std::vector<std::byte> bytes(from.cipher().begin(), from.cipher().end());
    from.consume_cipher(bytes.size());
    if (!bytes.empty() && !error)
      if (auto fed = to.on_cipher(bytes); !fed) error = fed.error();
    return !bytes.empty();
  };
  if (auto started = client.start(); !started) return started.error();
  while (pass(client, server, server_error) || pass(server, client, client_error)) {
  }
  return client_error ? client_error : server_error;
}

std::optional<net::NetError> meet(const net::Credentials& client_side, const net::Credentials& server_side,
                                  std::optional<net::Peer>* seen_by_client = nullptr) {
  auto client_context = net::TlsContext::make(client_side), server_context = net::TlsContext::make(server_side);
  if (!client_context) return client_context.error();
  if (!server_context) return server_context.error();
  net::TlsSession client = client_context->client(), server = server_context->server();
  auto error = shake_hands(client, server);
  if (!error && seen_by_client != nullptr) *seen_by_client = client.peer();
  return error;
}

/// TLS goes by the host's own clock.
CertificateRequest now(CertificateRequest request) {
  request.now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return request;
}

TEST(CertificateAuthorityInTls, CertificatesOfOneClusterAreBelieved) {
  const auto authority = CertificateAuthority::from(keys_of({'k'}));
  std::optional<net::Peer> peer;
  auto error =
      meet(*authority.issue(now({.role = net::Role::run, .name = "alice"})), *authority.issue(now(a_node())), &peer);
  ASSERT_FALSE(error) << error->message;
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->role, net::Role::node);
  EXPECT_EQ(peer->node, kNode);
  EXPECT_EQ(peer->name, "db1");
}

TEST(CertificateAuthorityInTls, ARotationIsCrossed) {
  const auto first = CertificateAuthority::from(keys_of({'o', 'n'})),
             second = CertificateAuthority::from(keys_of({'n', 'o'}));
  EXPECT_FALSE(meet(*first.issue(now(a_node())), *second.issue(now(a_node()))));
  EXPECT_FALSE(meet(*second.issue(now(a_node())), *first.issue(now(a_node()))));
}

TEST(CertificateAuthorityInTls, StrangersAndReadersThatServeAreRefused) {
  const auto authority = CertificateAuthority::from(keys_of({'k'})),
             stranger = CertificateAuthority::from(keys_of({'l'}));
  const auto node = *authority.issue(now(a_node()));
  const auto reader = *authority.issue(now({.role = net::Role::read, .name = "db1"}));
  EXPECT_EQ(meet(*stranger.issue(now(a_node())), node)->kind, net::NetErrorKind::wrong_key);
  EXPECT_EQ(meet(node, reader)->kind, net::NetErrorKind::wrong_role);
}

}  // namespace
}  // namespace sluice::cluster
