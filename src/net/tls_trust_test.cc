#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "net/certificates_for_test.h"
#include "net/tls.h"
#include "net/tls_pair_for_test.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;

template <auto function>
struct Free {
  void operator()(auto* object) const { function(object); }
};

// A client that is not ours: OpenSSL's own, without a certificate, or with one that ours would not use.
class TestClient final {
 public:
  enum class Version { tls_1_2, tls_1_3 };
  explicit TestClient(std::string_view alpn, Version version = Version::tls_1_3);
  TestClient(std::string_view alpn, const Credentials& credentials);

  void offer_suites(const char* suites) { SSL_CTX_set_ciphersuites(context_.get(), suites); }
  const TlsSession& shake_hands(const TlsContext& with);
  /// Sends `text`, under a new key if that is asked for, and asks the server for a new one of its own; what the server
  /// read of it.
  std::string send_under_a_new_key(std::string_view text);
  /// What the server's `text` is here.
  std::string receive(std::string_view text);
  std::string suite() const { return SSL_get_cipher(ssl_.get()); }
  bool could_resume() const { return SSL_SESSION_is_resumable(SSL_get_session(ssl_.get())) == 1; }
  const TlsSession& session() const { return *server_; }
  const std::optional<NetError>& error() const { return error_; }
  /// That the server sent, 0 without one.
  int alert() const { return alert_; }

 private:
  std::string read();
  void exchange();

  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_{SSL_CTX_new(TLS_client_method())};
  std::unique_ptr<SSL, Free<SSL_free>> ssl_;
  std::optional<TlsSession> server_;
  std::optional<NetError> error_;
  int alert_ = 0;
};

TestClient::TestClient(std::string_view alpn, Version version) {
  int number = version == Version::tls_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
  SSL_CTX_set_max_proto_version(context_.get(), number);
  SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
  std::string list = static_cast<char>(alpn.size()) + std::string(alpn);
  if (!alpn.empty())
    SSL_CTX_set_alpn_protos(context_.get(), reinterpret_cast<const unsigned char*>(list.data()),
                            static_cast<unsigned>(list.size()));
}

TestClient::TestClient(std::string_view alpn, const Credentials& credentials) : TestClient(alpn) {
  std::unique_ptr<BIO, Free<BIO_free>> certificate(BIO_new_mem_buf(credentials.certificate_pem.data(), -1));
  std::unique_ptr<X509, Free<X509_free>> own(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_certificate(context_.get(), own.get());
  std::unique_ptr<BIO, Free<BIO_free>> key(BIO_new_mem_buf(credentials.private_key_pem.data(), -1));
  std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> pair(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_PrivateKey(context_.get(), pair.get());
}

const TlsSession& TestClient::shake_hands(const TlsContext& with) {
  server_ = with.server();
  ssl_.reset(SSL_new(context_.get()));
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_.get());
  for (int turn = 0; turn < 5; ++turn) {
    read();
    exchange();
  }
  return *server_;
}

std::string TestClient::read() {
  char into[100];
  int size = SSL_read(ssl_.get(), into, sizeof into);
  int reason = ERR_GET_REASON(ERR_peek_error());
  if (size <= 0 && reason > SSL_AD_REASON_OFFSET) alert_ = reason - SSL_AD_REASON_OFFSET;
  ERR_clear_error();
  return {into, static_cast<std::size_t>(std::max(size, 0))};
}

// Whatever either has to send.
void TestClient::exchange() {
  char* bytes = nullptr;
  long size = BIO_get_mem_data(SSL_get_wbio(ssl_.get()), &bytes);
  auto taken = server_->on_cipher(bytes_of({bytes, static_cast<std::size_t>(size)}));
  if (!taken && !error_) error_ = taken.error();
  BIO_reset(SSL_get_wbio(ssl_.get()));
  BIO_write(SSL_get_rbio(ssl_.get()), server_->cipher().data(), static_cast<int>(server_->cipher().size()));
  server_->consume_cipher(server_->cipher().size());
}

std::string TestClient::send_under_a_new_key(std::string_view text) {
  SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED);
  SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size()));
  exchange();
  return read_all(*server_);
}

std::string TestClient::receive(std::string_view text) {
  EXPECT_TRUE(server_->write(bytes_of(text)));
  exchange();
  return read();
}

TEST(TlsTrust, BothSidesLearnWhoTheOtherIs) {
  TestAuthority authority;
  Pair pair = shake_hands(context_of(authority.issue_for("run")), context_of(authority.issue()));
  ASSERT_TRUE(pair.client.handshaken());
  ASSERT_TRUE(pair.server.handshaken());
  EXPECT_EQ(pair.server.peer().role, Role::run);
  EXPECT_EQ(pair.server.peer().name, "c1");
  EXPECT_EQ(pair.server.peer().proof, Peer::Proof::certificate);
  EXPECT_EQ(pair.server.peer().serial->text(), "22222222222222222222222222222222");
  EXPECT_FALSE(pair.server.peer().node);
  EXPECT_EQ(pair.client.peer().role, Role::node);
  EXPECT_EQ(pair.client.peer().node->text(), "000102030405060708090a0b0c0d0e0f");
  EXPECT_EQ(pair.server.alpn(), kAlpnSluice);
}

TEST(TlsTrust, AsksAnHttpClientForNoCertificateThatItHasNot) {
  TestAuthority authority;
  TlsContext server = context_of(authority.issue());
  Pair pair = shake_hands(context_of(authority.issue_for("run")), server, kAlpnHttp);
  EXPECT_EQ(pair.server.alpn(), kAlpnHttp);
  EXPECT_EQ(pair.server.peer().role, Role::run);
  TestClient anonymous(kAlpnHttp);
  EXPECT_TRUE(anonymous.shake_hands(server).handshaken());
  EXPECT_EQ(anonymous.session().alpn(), kAlpnHttp);
  EXPECT_EQ(anonymous.session().peer().proof, Peer::Proof::none);
}

TEST(TlsTrust, TakesAClientThatNamesNoProtocolForHttp) {
  TestAuthority authority;
  TestClient anonymous("");
  EXPECT_TRUE(anonymous.shake_hands(context_of(authority.issue())).handshaken());
  EXPECT_EQ(anonymous.session().alpn(), kAlpnHttp);
}

TEST(TlsTrust, RefusesAClientWithoutACertificate) {
  TestAuthority authority;
  TestClient anonymous(kAlpnSluice);
  EXPECT_FALSE(anonymous.shake_hands(context_of(authority.issue())).handshaken());
  EXPECT_EQ(anonymous.error()->kind, NetErrorKind::wrong_key);
  EXPECT_EQ(anonymous.alert(), 116);  // certificate_required
}

TEST(TlsTrust, RefusesAProtocolThatItDoesNotSpeak) {
  TestAuthority authority;
  Pair pair = shake_hands(context_of(authority.issue()), context_of(authority.issue()), "sluice/2");
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_version);
  EXPECT_EQ(pair.client_result.error().kind, NetErrorKind::wrong_version);
}

TEST(TlsTrust, RefusesTls12) {
  TestAuthority authority;
  TestClient old(kAlpnHttp, TestClient::Version::tls_1_2);
  EXPECT_FALSE(old.shake_hands(context_of(authority.issue())).handshaken());
  EXPECT_EQ(old.error()->kind, NetErrorKind::protocol);
}

TEST(TlsTrust, TellsAServerOfAnotherCluster) {
  TestAuthority ours;
  TestAuthority theirs;
  Pair pair = shake_hands(context_of(ours.issue()), context_of(theirs.issue()));
  EXPECT_EQ(pair.client_result.error().kind, NetErrorKind::wrong_key);
  EXPECT_THAT(pair.client_result.error().message, HasSubstr("another cluster"));
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_key);
}

// In TLS 1.3 a client is done before the server has seen its certificate: it learns of the refusal when it reads.
TEST(TlsTrust, TellsAClientThatTheServerRefusesItsKey) {
  TestAuthority ours("a cluster");
  TestAuthority theirs("another");
  Credentials client = theirs.issue_for("run");
  client.authority_pems = {ours.pem()};
  Pair pair = shake_hands(context_of(client), context_of(ours.issue()));
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_key);
  EXPECT_EQ(end_of(pair.client), NetErrorKind::wrong_key);
  EXPECT_EQ(pair.client.write(bytes_of("too late")).error().kind, NetErrorKind::wrong_key);
}

TEST(TlsTrust, BelievesBothAuthoritiesDuringARotation) {
  TestAuthority old;
  TestAuthority current;
  auto credentials = [&](const TestAuthority& issuer) {
    Credentials both = issuer.issue();
    both.authority_pems = {current.pem(), old.pem()};
    return both;
  };
  TlsContext of_old = context_of(credentials(old));
  TlsContext of_current = context_of(credentials(current));
  EXPECT_TRUE(shake_hands(of_old, of_current).server.handshaken());
  EXPECT_TRUE(shake_hands(of_current, of_old).server.handshaken());
}

TEST(TlsTrust, TellsARevokedServer) {
  TestAuthority authority;
  auto is_revoked = [](const CertificateSerial& serial) { return serial.bytes[0] == 0x11; };
  Pair pair = shake_hands(context_of(authority.issue_for("run"), is_revoked), context_of(authority.issue()));
  EXPECT_EQ(pair.client_result.error().kind, NetErrorKind::revoked);
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::revoked);
  EXPECT_THAT(pair.server_result.error().message, HasSubstr("our certificate"));
}

TEST(TlsTrust, TellsARevokedClient) {
  TestAuthority authority;
  auto is_revoked = [](const CertificateSerial& serial) { return serial.bytes[0] == 0x22; };
  Pair pair = shake_hands(context_of(authority.issue_for("run")), context_of(authority.issue(), is_revoked));
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::revoked);
  EXPECT_EQ(end_of(pair.client), NetErrorKind::revoked);
}

TEST(TlsTrust, RefusesAServerThatIsNoNode) {
  TestAuthority authority;
  Pair pair = shake_hands(context_of(authority.issue()), context_of(authority.issue_for("read")));
  EXPECT_EQ(pair.client_result.error().kind, NetErrorKind::wrong_role);
  EXPECT_EQ(pair.client_result.error().message, "c1 has a certificate of role read, which may not serve");
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_role);
}

TEST(TlsTrust, RefusesACertificateThatDoesNotSayItsRole) {
  TestAuthority authority;
  TlsContext server = context_of(authority.issue());
  for (const std::vector<std::string>& uris : {std::vector<std::string>{},
                                               {"https://example.org"},
                                               {"sluice:role:god"},
                                               {"sluice:role:read", "sluice:role:admin"},
                                               {"sluice:role:node"},
                                               {"sluice:role:node", "sluice:node:12345"},
                                               {"sluice:role:node", "sluice:node:000102030405060708090a0b0c0d0e0f",
                                                "sluice:node:000102030405060708090a0b0c0d0e0e"}}) {
    SCOPED_TRACE(testing::PrintToString(uris));
    Pair pair = shake_hands(context_of(authority.issue({.uris = uris})), server);
    ASSERT_FALSE(pair.server_result);
    EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_role);
    EXPECT_EQ(end_of(pair.client), NetErrorKind::wrong_role);
  }
}

TEST(TlsTrust, RefusesASerialNumberLongerThanOurs) {
  TestAuthority authority;
  Credentials longer = authority.issue({.serial = std::vector<unsigned char>(17, 0x11)});
  Pair pair = shake_hands(context_of(longer), context_of(authority.issue()));
  EXPECT_EQ(pair.server_result.error().kind, NetErrorKind::wrong_key);
  Credentials shorter = authority.issue({.serial = {0x07}});
  EXPECT_EQ(shake_hands(context_of(shorter), context_of(authority.issue())).server.peer().serial->text(),
            "00000000000000000000000000000007");
}

// Made by a context of its own, since ours would refuse to be made with such a certificate.
TEST(TlsTrust, TellsExpiredFromForeign) {
  using std::chrono::seconds;
  TestAuthority authority;
  TlsContext server = context_of(authority.issue());
  TestClient expired(kAlpnSluice, authority.issue({.begins = seconds(-100), .ends = seconds(-50)}));
  EXPECT_FALSE(expired.shake_hands(server).handshaken());
  EXPECT_EQ(expired.error()->kind, NetErrorKind::wrong_key);
  EXPECT_THAT(expired.error()->message, HasSubstr("expired at"));
  EXPECT_THAT(expired.error()->message, HasSubstr("clocks"));
  EXPECT_EQ(expired.alert(), 45);  // certificate_expired
  TestClient early(kAlpnSluice, authority.issue({.begins = seconds(1000), .ends = seconds(2000)}));
  EXPECT_FALSE(early.shake_hands(server).handshaken());
  EXPECT_THAT(early.error()->message, HasSubstr("not valid before"));
}

TEST(TlsTrust, RefusesCredentialsThatCantWork) {
  using std::chrono::seconds;
  TestAuthority authority;
  Credentials good = authority.issue();
  auto problem = [](Credentials credentials) {
    auto made = TlsContext::make(credentials);
    return made ? std::string("none") : made.error().message;
  };
  auto with = [&](auto change) {
    Credentials changed = good;
    change(changed);
    return problem(changed);
  };
  EXPECT_EQ(problem(good), "none");
  EXPECT_THAT(with([](Credentials& c) { c.certificate_pem = "nonsense"; }), HasSubstr("our certificate is no cert"));
  EXPECT_THAT(with([](Credentials& c) { c.private_key_pem.clear(); }), HasSubstr("private key"));
  EXPECT_THAT(with([&](Credentials& c) { c.private_key_pem = authority.issue().private_key_pem; }),
              HasSubstr("do not belong together"));
  EXPECT_THAT(with([](Credentials& c) { c.authority_pems = {}; }), HasSubstr("no certificate of an authority"));
  EXPECT_THAT(with([](Credentials& c) { c.authority_pems.emplace_back("nonsense"); }), HasSubstr("authority"));
  EXPECT_THAT(problem(authority.issue({.ends = seconds(-60)})), HasSubstr("our certificate expired at"));
  EXPECT_THAT(problem(authority.issue({.begins = seconds(60)})), HasSubstr("our certificate is not valid before"));
}

TEST(TlsTrust, NothingSkipsTheCertificatesTheNextTime) {
  TestAuthority authority;
  TestClient client(kAlpnHttp);
  ASSERT_TRUE(client.shake_hands(context_of(authority.issue())).handshaken());
  EXPECT_FALSE(client.could_resume());
}

// A client without AES in its processor puts ChaCha20 first.
TEST(TlsTrust, UsesTheSuiteThatSuitsTheClientsProcessor) {
  TestAuthority authority;
  TlsContext server = context_of(authority.issue());
  TestClient weak(kAlpnHttp);
  weak.offer_suites("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
  weak.shake_hands(server);
  EXPECT_EQ(weak.suite(), "TLS_CHACHA20_POLY1305_SHA256");
  TestClient usual(kAlpnHttp);
  usual.offer_suites("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  usual.shake_hands(server);
  EXPECT_EQ(usual.suite(), "TLS_AES_256_GCM_SHA384");
}

TEST(TlsTrust, FollowsAClientThatChangesItsKey) {
  TestAuthority authority;
  TestClient client(kAlpnHttp);
  ASSERT_TRUE(client.shake_hands(context_of(authority.issue())).handshaken());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.send_under_a_new_key("ping"), "ping");
    EXPECT_EQ(client.receive("pong"), "pong");
  }
}

}  // namespace
}  // namespace sluice::net
