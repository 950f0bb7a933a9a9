#include "cluster/discovery_message.h"

#include <gmock/gmock.h>

#include <string>

#include "cluster/gossip_message.h"

namespace sluice::cluster {
namespace {

using testing::HasSubstr;

const Profile kProfile{
    .name = "db1", .endpoint = {.address = "10.0.0.5", .port = 7117}, .labels = {}, .version = "0.1.0"};

std::string hex(std::string_view bytes) {
  std::string text;
  for (char c : bytes) {
    text += "0123456789abcdef"[static_cast<std::uint8_t>(c) >> 4];
    text += "0123456789abcdef"[static_cast<std::uint8_t>(c) & 15];
  }
  return text;
}

TEST(DiscoveryMessage, ReadsWhatItWrites) {
  const DiscoveryMessage messages[] = {
      DiscoveryQuery{.question = 1, .attempt = 0}, DiscoveryQuery{.question = UINT64_MAX, .attempt = 255},
      DiscoveryAnnouncement{.question = 0, .profile = kProfile},
      DiscoveryAnnouncement{.question = 77, .profile = {"n", {"fe80::1", 1}, {{"disk", "fast"}}, ""}}};
  for (const DiscoveryMessage& message : messages) EXPECT_EQ(decode_discovery(encode_discovery(message)), message);
}

TEST(DiscoveryMessage, HasTheBytesThatAreDocumented) {
  EXPECT_EQ(hex(encode_discovery(DiscoveryQuery{.question = 0x0102030405060708, .attempt = 3})),
            "010009010203040506070803");
  EXPECT_EQ(hex(encode_discovery(DiscoveryAnnouncement{.question = 9, .profile = kProfile})),
            "02001a0000000000000009040a0000051bcd0364623105302e312e3000");
}

TEST(DiscoveryMessage, SkipsWhatLaterVersionsAdd) {
  std::string query = encode_discovery(DiscoveryQuery{.question = 5, .attempt = 1});
  query += "more";
  query[2] = static_cast<char>(query[2] + 4);
  EXPECT_EQ(decode_discovery(query), DiscoveryMessage(DiscoveryQuery{.question = 5, .attempt = 1}));
  EXPECT_EQ(decode_discovery(query + "and behind the body"), decode_discovery(query));
}

TEST(DiscoveryMessage, RefusesEveryBeginningAndEveryUnknownKind) {
  for (const DiscoveryMessage& message :
       {DiscoveryMessage(DiscoveryQuery{.question = 5, .attempt = 1}),
        DiscoveryMessage(DiscoveryAnnouncement{.question = 5, .profile = kProfile})}) {
    std::string whole = encode_discovery(message);
    for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(decode_discovery(whole.substr(0, size)));
    for (int kind : {0, 3, 255}) {
      whole[0] = static_cast<char>(kind);
      EXPECT_FALSE(decode_discovery(whole));
    }
  }
  EXPECT_FALSE(decode_discovery(std::string(kGossipPayloadMax + 1, '\1')));
}

TEST(DiscoveryMessage, RefusesAQueryWithoutAQuestionAndAnAddressOfNobody) {
  EXPECT_FALSE(decode_discovery(std::string("\1\0\x09\0\0\0\0\0\0\0\0\1", 12)));
  std::string announcement = encode_discovery(DiscoveryAnnouncement{.question = 0, .profile = kProfile});
  announcement[12] = static_cast<char>(239);  // the first byte of its address
  EXPECT_FALSE(decode_discovery(announcement));
}

TEST(DiscoveryMessage, HasSecretsOfItsOwn) {
  const ClusterKeys keys(ClusterKey::generate());
  const auto gossip = keys.gossip_secrets();
  const auto discovery = discovery_secrets(gossip);
  ASSERT_EQ(discovery.size(), gossip.size());
  EXPECT_FALSE(discovery.front() == gossip.front());
  EXPECT_EQ(discovery, discovery_secrets(gossip));
}

TEST(DiscoveryGroup, IsAnIPv4GroupAndAPort) {
  auto group = parse_discovery_group("239.17.17.17:7118");
  ASSERT_TRUE(group);
  EXPECT_EQ(*group, (net::Endpoint{"239.17.17.17", 7118}));
  EXPECT_TRUE(parse_discovery_group("224.0.0.1:1"));
}

TEST(DiscoveryGroup, SaysWhatIsWrong) {
  auto error_of = [](const char* text) {
    auto group = parse_discovery_group(text);
    return group ? "" : group.error();
  };
  EXPECT_THAT(error_of("239.17.17.17"), HasSubstr("port is missing"));
  EXPECT_THAT(error_of("239.17.17.17:0"), HasSubstr("can't be 0"));
  EXPECT_THAT(error_of("239.17.17.17:x"), HasSubstr("no address"));
  EXPECT_THAT(error_of("10.0.0.5:7118"), HasSubstr("from 224.0.0.0"));
  EXPECT_THAT(error_of("240.0.0.1:7118"), HasSubstr("from 224.0.0.0"));
  EXPECT_THAT(error_of("[ff02::1]:7118"), HasSubstr("IPv6 groups are not supported"));
  EXPECT_THAT(error_of("group.example:7118"), HasSubstr("IPv4 address"));
  EXPECT_THAT(error_of(""), HasSubstr("expected GROUP:PORT"));
}

}  // namespace
}  // namespace sluice::cluster
