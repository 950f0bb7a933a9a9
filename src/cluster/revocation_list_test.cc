#include "cluster/revocation_list.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "cluster/keys_for_test.h"
#include "cluster/temporary_folder_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

CertificateAuthority authority_of(std::initializer_list<char> fills) {
  return CertificateAuthority::from(keys_of(fills));
}

net::CertificateSerial serial(std::uint8_t number) { return {{1, number}}; }

class ARevocationList : public ::testing::Test {
 protected:
  Revocation revoked(std::uint8_t number, std::chrono::seconds life = 24h) {
    return authority_.sign_revocation(serial(number), kNow + life);
  }
  CertificateAuthority authority_ = authority_of({'k'});
  RevocationList list_{authority_.trusted()};
};

TEST_F(ARevocationList, HoldsWhatAnAuthoritySigned) {
  EXPECT_FALSE(list_.contains(serial(1)));
  EXPECT_EQ(list_.add(revoked(1), kNow), RevocationAdded::added);
  EXPECT_EQ(list_.add(revoked(1), kNow), RevocationAdded::known);
  EXPECT_TRUE(list_.contains(serial(1)));
  EXPECT_FALSE(list_.contains(serial(2)));
}

TEST_F(ARevocationList, RefusesWhatNobodySigned) {
  Revocation forged = revoked(1);
  forged.serial = serial(2);
  EXPECT_EQ(list_.add(forged, kNow).error(), RevocationError::forged);
  EXPECT_EQ(list_.add(authority_of({'x'}).sign_revocation(serial(3), kNow + 1h), kNow).error(),
            RevocationError::forged);
  EXPECT_EQ(list_.size(), 0u);
  EXPECT_EQ(list_.digest(), 0u);
}

TEST_F(ARevocationList, TellsOfEachSerialOnce) {
  std::vector<net::CertificateSerial> told;
  list_.subscribe([&](const net::CertificateSerial& number) {
    EXPECT_TRUE(list_.contains(number));
    told.push_back(number);
  });
  for (const Revocation& revocation : {revoked(1), revoked(2), revoked(1), revoked(2, 48h)})
    ASSERT_TRUE(list_.add(revocation, kNow));
  EXPECT_EQ(told, (std::vector{serial(1), serial(2)}));
}

TEST_F(ARevocationList, ALongerLifeReplacesAShorterOne) {
  EXPECT_EQ(list_.add(revoked(1, 24h), kNow), RevocationAdded::added);
  EXPECT_EQ(list_.add(revoked(1, 48h), kNow), RevocationAdded::added);
  EXPECT_EQ(list_.add(revoked(1, 24h), kNow), RevocationAdded::known);
  RevocationList other(authority_.trusted());
  ASSERT_TRUE(other.add(revoked(1, 48h), kNow));
  EXPECT_EQ(list_.digest(), other.digest());
}

TEST_F(ARevocationList, ForgetsWhatHasExpired) {
  ASSERT_TRUE(list_.add(revoked(1, 1h), kNow));
  ASSERT_TRUE(list_.add(revoked(2, 2h), kNow));
  list_.on_time(kNow + 1h);
  EXPECT_FALSE(list_.contains(serial(1)));
  EXPECT_TRUE(list_.contains(serial(2)));
  EXPECT_EQ(list_.add(revoked(1, 1h), kNow + 1h), RevocationAdded::expired);
  list_.on_time(kNow + 2h);
  EXPECT_EQ(list_.digest(), 0u);
}

TEST_F(ARevocationList, IsBounded) {
  RevocationList small(authority_.trusted(), {.entries_max = 2});
  ASSERT_TRUE(small.add(revoked(1, 1h), kNow));
  ASSERT_TRUE(small.add(revoked(2, 24h), kNow));
  EXPECT_EQ(small.add(revoked(3, 48h), kNow).error(), RevocationError::full);
  EXPECT_EQ(small.add(revoked(2, 48h), kNow), RevocationAdded::added);
  EXPECT_EQ(small.add(revoked(3, 48h), kNow + 1h), RevocationAdded::added);  // the first has expired
}

TEST_F(ARevocationList, DigestsDependOnTheSetAndNotOnTheOrder) {
  std::vector<Revocation> all;
  for (std::uint8_t number = 0; number < 8; ++number) all.push_back(revoked(number));
  SeededRandom random(3);
  std::vector<std::uint64_t> digests;
  for (int round = 0; round < 5; ++round) {
    std::shuffle(all.begin(), all.end(), random);
    RevocationList list(authority_.trusted());
    for (const Revocation& revocation : all) {
      const std::uint64_t before = list.digest();
      ASSERT_TRUE(list.add(revocation, kNow));
      EXPECT_NE(list.digest(), before);
    }
    digests.push_back(list.digest());
  }
  EXPECT_EQ(std::count(digests.begin(), digests.end(), digests.front()), 5);
}

TEST_F(ARevocationList, TravelsInDatagrams) {
  for (std::uint8_t number = 0; number < 40; ++number) ASSERT_TRUE(list_.add(revoked(number), kNow));
  const auto chunks = encode_revocations(list_.entries(), 1'200);
  EXPECT_EQ(chunks.size(), 4u);  // thirteen each
  RevocationList other(authority_.trusted());
  for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
    EXPECT_LE(chunk->size(), 1'200u);
    auto decoded = decode_revocations(*chunk);
    ASSERT_TRUE(decoded) << decoded.error();
    for (const Revocation& revocation : *decoded) EXPECT_TRUE(other.add(revocation, kNow));
  }
  EXPECT_EQ(other.digest(), list_.digest());
  EXPECT_EQ(other.entries(), list_.entries());
  EXPECT_EQ(encode_revocations({}, kRevocationChunkMin).size(), 0u);
}

TEST_F(ARevocationList, DamagedChunksAreErrorsOrForged) {
  const std::vector<Revocation> two = {revoked(1), revoked(2)};
  const std::string whole = encode_revocations(two, 1'200).front();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    auto cut = decode_revocations(whole.substr(0, at));
    EXPECT_EQ(cut.has_value(), at == 1 || at == 89) << at;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    auto decoded = decode_revocations(damaged);
    if (!decoded) continue;
    RevocationList list(authority_.trusted());
    for (const Revocation& revocation : *decoded) {
      const bool added = list.add(revocation, kNow) == RevocationAdded::added;
      EXPECT_EQ(added, revocation == two[0] || revocation == two[1]) << at;
    }
  }
  EXPECT_FALSE(decode_revocations(""));
  EXPECT_FALSE(decode_revocations(std::string(1, '\1') + std::string((kRevocationsMax + 1) * kRevocationSize, '\0')));
}

TEST_F(ARevocationList, SurvivesARestart) {
  TemporaryFolder folder;
  const std::string path = folder.path("revoked");
  EXPECT_EQ(load_revocations(path, list_, kNow)->kept, 0u);  // no file yet
  ASSERT_TRUE(list_.add(revoked(1, 1h), kNow));
  ASSERT_TRUE(list_.add(revoked(2, 24h), kNow));
  ASSERT_TRUE(save_revocations(path, list_));
  RevocationList after(authority_.trusted());
  auto loaded = load_revocations(path, after, kNow + 2h);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->kept, 1u);
  EXPECT_EQ(loaded->dropped, 1u);
  EXPECT_TRUE(after.contains(serial(2)));
  RevocationList stranger(authority_of({'x'}).trusted());
  EXPECT_EQ(load_revocations(path, stranger, kNow)->dropped, 2u);
}

TEST_F(ARevocationList, AFileThatIsNoneIsAnError) {
  TemporaryFolder folder;
  for (std::string_view content : {"", "SLUICE REVOKED\n", "SLUICE REVOKED\n\2", "SLUICE REVOKED\n\1half"})
    EXPECT_EQ(load_revocations(folder.write("revoked", content), list_, kNow).error().kind, FileErrorKind::malformed);
}

TEST_F(ARevocationList, OutlivesTheKeyThatSignedIt) {
  const auto both = authority_of({'n', 'k'}), after = authority_of({'n'});
  RevocationList list(both.trusted());
  ASSERT_TRUE(list.add(revoked(1), kNow));
  const std::uint64_t digest = list.digest();
  EXPECT_FALSE(after.trusted().verify_revocation(list.entries()[0]));
  list.sign_again(both);
  EXPECT_TRUE(after.trusted().verify_revocation(list.entries()[0]));
  EXPECT_EQ(list.digest(), digest);
}

}  // namespace
}  // namespace sluice::cluster
