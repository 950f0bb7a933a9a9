#include "cluster/gossip_message.h"

#include <gmock/gmock.h>

#include "base/random.h"
#include "base/wire.h"
#include "cluster/membership_announcement.h"
#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using testing::ElementsAre;

Profile profile_of(std::string name) {
  return {.name = std::move(name),
          .endpoint = {"10.0.0.7", 7117},
          .labels = {{"zone", "eu-1"}, {"gpu", ""}},
          .version = "0.1.0"};
}

Accusation accusation() {
  return {.state = MemberState::dead,
          .subject = node(1),
          .revision = {7, 9},
          .accuser = node(2),
          .reason = LossReason::refused};
}

std::vector<GossipBody> all_bodies() {
  return {Ping{1, 2, 3},
          Ack{4, 5, 6},
          RelayRequest{7, node(1)},
          RelayAnswer{8, true},
          Rumours{},
          Join{9, 10, true},
          JoinRefused{},
          Digest{11, {12, 13, 14, 15}},
          Summary{16, {{17, 18, {{node(1), {19, 20}, MemberState::left}}}, {30, 40, {}}}},
          Request{{node(1), node(2)}},
          Pull{21},
          Records{22, 23, true, false, true}};
}

std::string bytes_of(const GossipBody& body) {
  GossipWriter writer(body);
  writer.add(encode_update({.id = node(3), .revision = {1, 2}, .profile_bytes = encode_profile(profile_of("a"))}));
  writer.add(encode_update(accusation()));
  return writer.take();
}

TEST(GossipMessage, EveryBodyComesBackWithItsUpdates) {
  for (const GossipBody& body : all_bodies()) {
    std::string bytes = bytes_of(body);
    auto message = decode_gossip(bytes);
    ASSERT_TRUE(message) << "body " << body.index();
    EXPECT_TRUE(message->body == body) << "body " << body.index();
    ASSERT_EQ(message->updates.size(), 2U);
    EXPECT_EQ(std::get<AnnouncementView>(message->updates[0]).id, node(3));
    EXPECT_EQ(std::get<Accusation>(message->updates[1]), accusation());
  }
}

// Recorded bytes: what an older or newer node of the same major version sends must stay readable.
TEST(GossipMessage, APingIsThese23Bytes) {
  std::string expected("\x01\x00\x14\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x06",
                       23);
  EXPECT_EQ(GossipWriter(Ping{0x01020304, 5, 6}).take(), expected);
}

TEST(GossipMessage, EveryTruncationIsRefusedOrShorter) {
  for (const GossipBody& body : all_bodies()) {
    std::string bytes = bytes_of(body);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      auto message = decode_gossip(std::string_view(bytes).substr(0, size));
      if (message) {
        EXPECT_LT(message->updates.size(), 2U) << "body " << body.index() << ", " << size << " bytes";
      }
    }
  }
}

TEST(GossipMessage, MutatedBytesNeverCrash) {
  SeededRandom random(1);
  for (const GossipBody& body : all_bodies()) {
    std::string original = bytes_of(body);
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = original;
      for (std::uint64_t changes = 1 + random.below(4); changes > 0; --changes)
        bytes[random.below(bytes.size())] = static_cast<char>(random());
      auto message = decode_gossip(bytes);
      if (!message) continue;
      for (const Update& update : message->updates)
        if (const auto* announcement = std::get_if<AnnouncementView>(&update)) read_announcement(*announcement);
    }
  }
}

TEST(GossipMessage, WhatALaterVersionAddsIsSkipped) {
  WireWriter ping;
  ping.put(std::uint32_t{1});
  ping.put(std::uint64_t{2});
  ping.put(std::uint64_t{3});
  ping.put_raw("a field of tomorrow");
  WireWriter payload;
  payload.put(std::uint8_t{1});
  payload.put_text<std::uint16_t>(ping.bytes());
  payload.put(std::uint8_t{200});  // an update of tomorrow
  payload.put_text<std::uint16_t>("whatever");
  payload.put_raw(encode_update(accusation()));
  auto message = decode_gossip(payload.bytes());
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Ping>(message->body), (Ping{1, 2, 3}));
  EXPECT_THAT(message->updates, ElementsAre(Update(accusation())));
}

TEST(GossipMessage, AnUnknownKindIsDropped) {
  WireWriter payload;
  payload.put(std::uint8_t{99});
  payload.put_text<std::uint16_t>("");
  EXPECT_FALSE(decode_gossip(payload.bytes()));
}

TEST(GossipMessage, NobodyElseCanSayThatAMemberLeaves) {
  Accusation left = accusation();
  left.state = MemberState::left;
  GossipWriter writer{Rumours{}};
  writer.add(encode_update(left));
  EXPECT_FALSE(decode_gossip(writer.take()));
}

TEST(GossipMessage, AnIncarnationThatCouldNotBeRefutedIsRefused) {
  Accusation accusation_at_limit = accusation();
  accusation_at_limit.revision.incarnation = kIncarnationMax + 1;
  GossipWriter writer{Rumours{}};
  writer.add(encode_update(accusation_at_limit));
  EXPECT_FALSE(decode_gossip(writer.take()));
}

TEST(GossipWriter, RefusesWhatDoesNotFit) {
  GossipWriter writer{Rumours{}};
  std::string update = encode_update(accusation());
  std::size_t added = 0;
  while (writer.add(update)) ++added;
  EXPECT_EQ(added, (kGossipPayloadMax - 3) / update.size());
  EXPECT_TRUE(decode_gossip(writer.take()));
}

TEST(ProfileEncoding, ComesBack) {
  Profile six = profile_of("six");
  six.endpoint = {"2001:db8::7", 1};
  for (const Profile& profile : {profile_of("four"), six}) EXPECT_EQ(decode_profile(encode_profile(profile)), profile);
}

TEST(ProfileEncoding, TheLargestFits) {
  Profile profile = profile_of(std::string(kNameMax, 'n'));
  profile.endpoint.address = "2001:db8:1111:2222:3333:4444:5555:6666";
  profile.version = std::string(kVersionMax, 'v');
  profile.labels.clear();
  for (char key = 'a'; profile_problem(profile) == std::nullopt; ++key)
    profile.labels[{key}] = std::string(kLabelValueMax, 'x');
  profile.labels.erase(std::prev(profile.labels.end()));
  EXPECT_LE(encode_profile(profile).size(), kProfileMax);
}

TEST(ProfileEncoding, WhatNoNodeMayBeIsRefused) {
  auto broken = [](auto change) {
    Profile profile = profile_of("name");
    change(profile);
    return profile_problem(profile).has_value();
  };
  EXPECT_FALSE(broken([](Profile&) {}));
  EXPECT_TRUE(broken([](Profile& profile) { profile.name = ""; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.name = "Capital"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.name = std::string(kNameMax + 1, 'n'); }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.port = 0; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "0.0.0.0"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "255.255.255.255"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "239.1.1.1"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "ff02::1"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "::"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.endpoint.address = "db1.example"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.version = "\x1b[2J"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.labels["a b"] = ""; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.labels["a"] = "line\nline"; }));
  EXPECT_TRUE(broken([](Profile& profile) { profile.labels["a"] = std::string(kLabelValueMax + 1, 'x'); }));
}

TEST(ProfileEncoding, ABrokenAddressFromTheWireIsRefused) {
  std::string bytes = encode_profile(profile_of("name"));
  bytes[1] = '\xe0';  // 224.0.0.7
  EXPECT_FALSE(decode_profile(bytes));
  bytes[0] = '\x05';  // neither 4 nor 6
  EXPECT_FALSE(decode_profile(bytes));
}

TEST(Announcement, FieldsOfTomorrowArePassedOn) {
  std::string bytes = encode_profile(profile_of("name")) + "tomorrow";
  auto announcement = read_announcement({.id = node(1), .revision = {1, 1}, .profile_bytes = bytes});
  ASSERT_NE(announcement, nullptr);
  EXPECT_EQ(announcement->profile, profile_of("name"));
  EXPECT_EQ(announcement->view().profile_bytes, bytes);
}

TEST(AnnouncementPool, GivesTheSameForTheSameBytes) {
  AnnouncementPool pool;
  std::string bytes = encode_profile(profile_of("name"));
  AnnouncementView view{.id = node(1), .revision = {1, 1}, .profile_bytes = bytes};
  EXPECT_EQ(pool.read(view), pool.read(view));
  view.revision.incarnation = 2;
  EXPECT_EQ(pool.read(view)->revision.incarnation, 2U);
  EXPECT_EQ(pool.size(), 2U);
}

}  // namespace
}  // namespace sluice::cluster
