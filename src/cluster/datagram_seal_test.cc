#include "cluster/datagram_seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"

namespace sluice::cluster {
namespace {

const GossipSecret kSecret{SecretText(std::string(32, 's')).bytes().first<32>()};
const GossipSecret kOther{SecretText(std::string(32, 'o')).bytes().first<32>()};
const NodeId kAlice{{1}}, kBob{{2}};

BootNumber boot(std::uint64_t start, std::uint64_t random = 0x5eed) { return {start << 24 | random}; }

struct Pair {
  DatagramSealer alice{kSecret, kAlice, boot(100)};
  DatagramOpener bob{{kSecret}, kBob};

  std::string seal(std::string_view text) { return std::string(alice.seal(text)); }
};

TEST(DatagramSeal, OpensWhatWasSealed) {
  Pair pair;
  for (std::size_t size : {0u, 1u, 500u, 1200u}) {
    const std::string text(size, 't');
    const std::string datagram = pair.seal(text);
    EXPECT_EQ(datagram.size(), size + 51);
    auto opened = pair.bob.open(datagram);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->plain, text);
    EXPECT_EQ(opened->sender, kAlice);
    EXPECT_EQ(opened->boot, boot(100));
  }
}

TEST(DatagramSeal, HasTheBytesThatAreDocumented) {
  DatagramSealer sealer(kSecret, NodeId{{0xaa, 0xbb}}, BootNumber{0x0102030405060708});
  const std::string datagram(sealer.seal("hello"));
  std::string hex;
  for (char c : datagram) {
    hex += "0123456789abcdef"[static_cast<std::uint8_t>(c) >> 4];
    hex += "0123456789abcdef"[static_cast<std::uint8_t>(c) & 15];
  }
  EXPECT_EQ(
      hex,
      "5301edaabb0000000000000000000000000000010203040506070800000000000000010f30478da96e948b680d3947d2e40aed49dc80"
      "e848");
}

TEST(DatagramSeal, SaysNothingTwiceInTheSameBytes) {
  Pair pair;
  EXPECT_NE(pair.seal("text").substr(35), pair.seal("text").substr(35));
  DatagramSealer restarted(kSecret, kAlice, boot(101));
  Pair again;
  EXPECT_NE(std::string(restarted.seal("text")).substr(35), again.seal("text").substr(35));
}

TEST(DatagramSeal, TellsWhatItRefuses) {
  Pair pair;
  const std::string good = pair.seal("text");
  auto error_of = [&](std::string datagram) { return pair.bob.open(datagram).error(); };
  EXPECT_EQ(error_of(""), OpenError::not_ours);
  EXPECT_EQ(error_of("hello, here is another protocol"), OpenError::not_ours);
  EXPECT_EQ(error_of(good.substr(0, 1) + "\x02" + good.substr(2)), OpenError::not_ours);
  EXPECT_EQ(error_of(good.substr(0, 50)), OpenError::malformed);
  EXPECT_EQ(error_of(good + std::string(1200, 'x')), OpenError::malformed);
  EXPECT_EQ(error_of(std::string(DatagramSealer(kSecret, kBob, boot(1)).seal("x"))), OpenError::own);
  EXPECT_EQ(error_of(std::string(DatagramSealer(kOther, kAlice, boot(1)).seal("x"))), OpenError::wrong_key);
  EXPECT_TRUE(pair.bob.open(good));
  EXPECT_EQ(error_of(good), OpenError::replayed);
}

TEST(DatagramSeal, EveryDamageIsRefusedAndLeavesNoTrace) {
  Pair pair;
  const std::string good = pair.seal("some text");
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_FALSE(pair.bob.open(good.substr(0, at)));
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_FALSE(pair.bob.open(damaged)) << at;
    }
  }
  EXPECT_FALSE(pair.bob.open(good + "x"));
  EXPECT_EQ(pair.bob.senders(), 0u);
  EXPECT_TRUE(pair.bob.open(good));  // nothing of the above has moved a window or raised a boot
}

TEST(DatagramSeal, RandomBytesNeverOpen) {
  Pair pair;
  SeededRandom random(7);
  const std::string header = pair.seal("x").substr(0, 35);
  for (int i = 0; i < 3'000; ++i) {
    std::string bytes(random.below(1'300), '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_FALSE(pair.bob.open(bytes));
    EXPECT_FALSE(pair.bob.open(header + bytes));
  }
}

TEST(DatagramSeal, TakesEachOnceInEveryOrder) {
  Pair pair;
  std::vector<std::string> sent;
  for (char c : {'a', 'b', 'c', 'd', 'e', 'f'}) sent.push_back(pair.seal({&c, 1}));
  std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
  do {
    DatagramOpener bob({kSecret}, kBob);
    for (std::size_t i : order) EXPECT_TRUE(bob.open(sent[i]));
    for (std::size_t i : order) EXPECT_EQ(bob.open(sent[i]).error(), OpenError::replayed);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(DatagramSeal, WhatIsFarBehindIsRefused) {
  Pair pair;
  const std::string first = pair.seal("first");
  std::string last;
  for (int i = 0; i < 448; ++i) last = pair.seal("x");
  EXPECT_TRUE(pair.bob.open(last));
  EXPECT_EQ(pair.bob.open(first).error(), OpenError::replayed);
}

TEST(DatagramSeal, AnOlderStartOfASenderIsRefused) {
  Pair pair;
  const std::string before = pair.seal("before the restart"), unseen = pair.seal("never delivered");
  EXPECT_TRUE(pair.bob.open(before));
  DatagramSealer restarted(kSecret, kAlice, boot(101));
  const std::string after(restarted.seal("after"));
  EXPECT_TRUE(pair.bob.open(after));
  EXPECT_EQ(pair.bob.open(unseen).error(), OpenError::replayed);
  EXPECT_EQ(pair.bob.open(before).error(), OpenError::replayed);
  EXPECT_EQ(pair.bob.open(after).error(), OpenError::replayed);
  EXPECT_TRUE(pair.bob.open(restarted.seal("more")));
}

TEST(DatagramSeal, AnOlderStartIsNamedIfItIsAuthentic) {
  DatagramSealer first{kSecret, kAlice, BootNumber{std::uint64_t{5} << 24}};
  DatagramSealer second{kSecret, kAlice, BootNumber{std::uint64_t{6} << 24}};
  DatagramOpener bob{{kSecret}, kBob};
  std::string old(first.seal("old"));
  EXPECT_EQ(bob.sender_if_outdated(old), std::nullopt) << "nothing newer is known";
  ASSERT_TRUE(bob.open(second.seal("new")));
  EXPECT_EQ(bob.sender_if_outdated(old), kAlice);
  EXPECT_EQ(bob.sender_if_outdated(second.seal("again")), std::nullopt);
  old.back() = static_cast<char>(old.back() ^ 1);
  EXPECT_EQ(bob.sender_if_outdated(old), std::nullopt);
}

TEST(DatagramSeal, OfTwoThatHaveOneIdTheEarlierHearsTheLater) {
  BootNumber early{std::uint64_t{5} << 24}, late{std::uint64_t{6} << 24};
  DatagramSealer by_early{kSecret, kAlice, early}, by_late{kSecret, kAlice, late};
  DatagramOpener at_early({kSecret}, kAlice, {.own_boot = early}), at_late({kSecret}, kAlice, {.own_boot = late});
  EXPECT_EQ(at_early.open(by_late.seal("x"))->plain, "x");
  EXPECT_EQ(at_early.open(by_early.seal("x")).error(), OpenError::own);
  std::string old(by_early.seal("x"));
  EXPECT_EQ(at_late.open(old).error(), OpenError::own);
  EXPECT_EQ(at_late.sender_if_outdated(old), kAlice) << "so that it can be told";
}

TEST(DatagramSeal, AForgedNewerStartDoesNotShutTheSenderOut) {
  Pair pair;
  std::string forged = pair.seal("x");
  forged[19] = '\x7f';  // the highest byte of the boot number
  EXPECT_EQ(pair.bob.open(forged).error(), OpenError::wrong_key);
  EXPECT_TRUE(pair.bob.open(pair.seal("x")));
}

TEST(DatagramSeal, ForgettingASenderOpensNoHole) {
  DatagramOpener bob({kSecret}, kBob, {.senders_max = 2});
  DatagramSealer first(kSecret, NodeId{{10}}, boot(100)), second(kSecret, NodeId{{11}}, boot(90)),
      third(kSecret, NodeId{{12}}, boot(110));
  const std::string recorded(first.seal("x"));
  EXPECT_TRUE(bob.open(recorded));
  EXPECT_TRUE(bob.open(second.seal("x")));
  EXPECT_TRUE(bob.open(third.seal("x")));  // the first, silent for longest, is forgotten
  EXPECT_EQ(bob.senders(), 2u);
  EXPECT_EQ(bob.open(recorded).error(), OpenError::replayed);
  EXPECT_TRUE(bob.open(second.seal("known senders may be below the floor")));
  DatagramSealer restarted(kSecret, NodeId{{10}}, boot(120));
  EXPECT_TRUE(bob.open(restarted.seal("x")));
}

TEST(DatagramSeal, APasserByIsHeardAndNotRemembered) {
  DatagramOpener bob({kSecret}, kBob, {.senders_max = 1});
  EXPECT_TRUE(bob.open(DatagramSealer(kSecret, kAlice, boot(5)).seal("x")));
  for (int i = 0; i < 10; ++i) {
    DatagramSealer client(kSecret, NodeId::random(), BootNumber::passer_by());
    auto opened = bob.open(client.seal("who is there?"));
    ASSERT_TRUE(opened);
    EXPECT_TRUE(opened->boot.is_passer_by());
  }
  EXPECT_EQ(bob.senders(), 1u);
}

TEST(DatagramSeal, SecretsAreRotated) {
  DatagramSealer alice(kOther, kAlice, boot(1));
  DatagramOpener both({kSecret, kOther}, kBob), bob({kOther}, kBob);
  const std::string old_one(alice.seal("sealed with the old secret"));
  EXPECT_TRUE(both.open(old_one));
  EXPECT_TRUE(bob.open(old_one));
  bob.replace_secrets({kSecret, kOther});
  EXPECT_EQ(bob.open(old_one).error(), OpenError::replayed);
  alice.replace_secret(kSecret);
  const std::string new_one(alice.seal("sealed with the new secret"));
  EXPECT_TRUE(both.open(new_one));
  EXPECT_TRUE(bob.open(new_one));
  EXPECT_EQ(bob.open(new_one).error(), OpenError::replayed);
  bob.replace_secrets({kSecret});
  alice.replace_secret(kOther);
  EXPECT_EQ(bob.open(alice.seal("the old secret is not trusted any more")).error(), OpenError::wrong_key);
  alice.replace_secret(kSecret);
  EXPECT_TRUE(bob.open(alice.seal("x")));
}

}  // namespace
}  // namespace sluice::cluster
