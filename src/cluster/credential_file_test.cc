#include "cluster/credential_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cluster/keys_for_test.h"
#include "cluster/pem.h"
#include "cluster/temporary_folder_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

CertificateRequest a_reader() { return {.role = net::Role::read, .name = "alice", .now = kNow}; }

std::string text_of(const ClusterCredentials& credentials) {
  return std::string(format_credentials(credentials).view());
}

std::string error_of(std::string_view text) {
  auto credentials = parse_credentials(text);
  return credentials ? "" : credentials.error();
}

bool same(const ClusterCredentials& left, const ClusterCredentials& right) {
  return left.tls.certificate_pem == right.tls.certificate_pem &&
         left.tls.private_key_pem == right.tls.private_key_pem && left.tls.authority_pems == right.tls.authority_pems &&
         left.gossip_secrets == right.gossip_secrets && left.fields == right.fields;
}

TEST(CredentialFile, IsReadAsItWasWritten) {
  TemporaryFolder folder;
  const ClusterKeys keys = keys_of({'n', 'o'});
  for (const CertificateRequest& request : {a_node(), a_reader()}) {
    const ClusterCredentials credentials = *issue_credentials(keys, request);
    ASSERT_TRUE(write_credential_file(folder.path("cert"), credentials));
    struct stat status {};
    ASSERT_EQ(::stat(folder.path("cert").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    auto read = read_credential_file(folder.path("cert"));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_TRUE(same(*read, credentials));
    EXPECT_EQ(read->fields.name, request.name);
    EXPECT_EQ(read->gossip_secrets.size(), request.node ? 2u : 0u);
  }
}

TEST(CredentialFile, IsOverwrittenOnlyByWhoMeansTo) {
  TemporaryFolder folder;
  const ClusterCredentials first = *issue_credentials(keys_of({'k'}), a_reader()),
                           second = *issue_credentials(keys_of({'k'}), a_reader());
  ASSERT_TRUE(create_credential_file(folder.path("cert"), first));
  auto refused = create_credential_file(folder.path("cert"), second);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, FileErrorKind::exists);
  EXPECT_THAT(refused.error().message, HasSubstr(folder.path("cert")));
  EXPECT_TRUE(same(*read_credential_file(folder.path("cert")), first));
  ASSERT_TRUE(write_credential_file(folder.path("cert"), second));
  EXPECT_TRUE(same(*read_credential_file(folder.path("cert")), second));
}

TEST(CredentialFile, SaysWhatToDoWhenItsTimeIsOver) {
  const ClusterCredentials reader = *issue_credentials(keys_of({'k'}), a_reader());
  EXPECT_EQ(expiry_problem("a.pem", reader.fields, reader.fields.not_after - 1s), "");
  EXPECT_THAT(expiry_problem("a.pem", reader.fields, reader.fields.not_after),
              testing::AllOf(testing::StartsWith("a.pem: "), HasSubstr("sluice cert issue")));
}

TEST(CredentialFile, ItsPartsMustBelongTogether) {
  const ClusterCredentials node = *issue_credentials(keys_of({'k'}), a_node()),
                           reader = *issue_credentials(keys_of({'k'}), a_reader()),
                           stranger = *issue_credentials(keys_of({'l'}), a_node());
  ClusterCredentials mixed = reader;
  mixed.tls.certificate_pem = node.tls.certificate_pem;  // somebody else's certificate, without its key
  EXPECT_EQ(error_of(text_of(mixed)), "the private key is not that of the certificate");
  mixed = node;
  mixed.tls.authority_pems = stranger.tls.authority_pems;
  EXPECT_EQ(error_of(text_of(mixed)), "none of the authorities in it has issued the certificate");
  mixed = node;
  mixed.tls.authority_pems = {reader.tls.certificate_pem};
  EXPECT_EQ(error_of(text_of(mixed)), "the certificate is not one of a cluster's authority");
  mixed = node;
  mixed.gossip_secrets.clear();
  EXPECT_EQ(error_of(text_of(mixed)), "it is a node's, and holds no gossip secret");
  mixed = reader;
  mixed.gossip_secrets = node.gossip_secrets;
  EXPECT_EQ(error_of(text_of(mixed)), "it holds a gossip secret, which only a node's may");
  mixed = node;
  mixed.gossip_secrets.assign(5, node.gossip_secrets[0]);
  EXPECT_EQ(error_of(text_of(mixed)), "it holds more than 4 gossip secrets");
}

TEST(CredentialFile, SaysWhatIsWrong) {
  const std::string good = text_of(*issue_credentials(keys_of({'k'}), a_node()));
  EXPECT_THAT(error_of(""), HasSubstr("was it cut off?"));
  EXPECT_THAT(error_of(good.substr(0, good.size() / 2)), HasSubstr("was the file cut off?"));
  EXPECT_THAT(error_of(good + std::string(format_pem("DH PARAMETERS", SecretText("x").bytes()).view())),
              HasSubstr("a block that does not belong there"));
  EXPECT_THAT(error_of(good + std::string(format_pem(kPemGossipSecret, SecretText("short").bytes()).view())),
              HasSubstr("a gossip secret is 32 bytes"));
  EXPECT_THAT(error_of(good + good), HasSubstr("two private keys"));
  EXPECT_THAT(error_of(std::string(kCredentialFileMax + 1, '#')), HasSubstr("at most 65536 bytes"));
  TemporaryFolder folder;
  EXPECT_EQ(read_credential_file(folder.path("none")).error().kind, FileErrorKind::missing);
  const std::string path = folder.write("cert", good + "x");
  EXPECT_THAT(read_credential_file(path).error().message, HasSubstr(path + ": line "));
  ::chmod(path.c_str(), 0640);
  EXPECT_EQ(read_credential_file(path).error().kind, FileErrorKind::exposed);
}

TEST(CredentialFile, EveryDamageIsAnErrorOrHarmless) {
  const ClusterCredentials credentials = *issue_credentials(keys_of({'n', 'o'}), a_node());
  const std::string whole = text_of(credentials);
  const std::size_t body = whole.find('\n') + 1;  // in front of it is a comment
  for (std::size_t at = body; at < whole.size() - 1; at += 3) {
    auto cut = parse_credentials(whole.substr(0, at));
    // Cut between two blocks, it may lack the secret of the key before; it is then a smaller good file.
    EXPECT_TRUE(!cut || (cut->fields == credentials.fields && cut->gossip_secrets.size() == 1)) << at;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    auto read = parse_credentials(damaged);
    // Of everything but the secrets a signature or a key pair shows the damage. The secrets are checked by whoever opens.
    EXPECT_TRUE(!read ||
                (read->fields == credentials.fields && read->tls.certificate_pem == credentials.tls.certificate_pem))
        << at;
  }
}

TEST(OwnCredentials, AreIssuedOnceAndKept) {
  TemporaryFolder folder;
  const ClusterKeys keys = keys_of({'k'});
  auto first = own_credentials(folder.path("cert"), keys, a_node());
  ASSERT_TRUE(first) << first.error();
  EXPECT_TRUE(first->issued);
  EXPECT_EQ(first->cache_problem, "");
  CertificateRequest later = a_node();
  later.now = kNow + 11h;
  auto second = own_credentials(folder.path("cert"), keys, later);
  EXPECT_FALSE(second->issued);
  EXPECT_TRUE(same(first->credentials, second->credentials));
}

TEST(OwnCredentials, AreIssuedAnewWhenTheyNoLongerFit) {
  TemporaryFolder folder;
  auto issued_for = [&](const ClusterKeys& keys, const CertificateRequest& request) {
    return own_credentials(folder.path("cert"), keys, request)->issued;
  };
  ASSERT_TRUE(issued_for(keys_of({'k'}), a_node()));
  CertificateRequest request = a_node();
  request.now = kNow + 12h;  // half of its life
  EXPECT_TRUE(issued_for(keys_of({'k'}), request));
  request.now = kNow - 48h;  // the clock was set back: peers would not believe it yet
  EXPECT_TRUE(issued_for(keys_of({'k'}), request));
  request.name = "db2";
  EXPECT_TRUE(issued_for(keys_of({'k'}), request));
  request.node = NodeId::random();
  EXPECT_TRUE(issued_for(keys_of({'k'}), request));
  EXPECT_TRUE(issued_for(keys_of({'k', 'n'}), request));  // the steps of a rotation
  EXPECT_TRUE(issued_for(keys_of({'n', 'k'}), request));
  EXPECT_TRUE(issued_for(keys_of({'n'}), request));
  EXPECT_FALSE(issued_for(keys_of({'n'}), request));
  ::chmod(folder.path("cert").c_str(), 0644);  // others may have read it
  EXPECT_TRUE(issued_for(keys_of({'n'}), request));
  folder.write("cert", "damaged");
  EXPECT_TRUE(issued_for(keys_of({'n'}), request));
}

TEST(OwnCredentials, AreOfUseWhenTheyCanNotBeKept) {
  TemporaryFolder folder;
  auto own = own_credentials(folder.path("no/such/folder/cert"), keys_of({'k'}), a_node());
  ASSERT_TRUE(own);
  EXPECT_TRUE(own->issued);
  EXPECT_THAT(own->cache_problem, HasSubstr("no/such/folder"));
}

}  // namespace
}  // namespace sluice::cluster
