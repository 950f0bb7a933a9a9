#include "cluster/cluster_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cluster/base64.h"
#include "cluster/keys_for_test.h"
#include "cluster/temporary_folder_for_test.h"

namespace sluice::cluster {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string line_of(const ClusterKey& key) {
  return "sluice-key-1 " + std::string(to_base64(key.bytes().bytes()).view()) + "\n";
}

std::string error_of(std::string_view text) {
  auto keys = ClusterKeys::parse(text);
  return keys ? "" : keys.error();
}

TEST(ClusterKey, DerivesTheSameEverywhere) {
  const ClusterKey key = key_of('k');
  EXPECT_EQ(key.authority_key().public_key(), key_of('k').authority_key().public_key());
  EXPECT_EQ(key.gossip_secret(), key_of('k').gossip_secret());
  EXPECT_FALSE(key.gossip_secret() == key_of('l').gossip_secret());
  // Written down, so that a change of the derivation, which would split every cluster in two, is seen.
  EXPECT_EQ(key.fingerprint(), "8ef8f0b0910d42ef");
}

TEST(ClusterKey, IsReadAsItWasWritten) {
  TemporaryFolder folder;
  const std::string path = folder.path("cluster.key");
  const ClusterKey key = ClusterKey::generate();
  ASSERT_TRUE(write_key_file(path, key));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  auto keys = read_key_file(path);
  ASSERT_TRUE(keys) << keys.error().message;
  EXPECT_EQ(keys->all(), std::vector<ClusterKey>{key});
  EXPECT_THAT(folder.read("cluster.key"), HasSubstr(key.fingerprint()));
}

TEST(ClusterKey, FilesThatArePutTogetherAreARotation) {
  const ClusterKey old_key = ClusterKey::generate(), new_key = ClusterKey::generate();
  const std::string both =
      std::string(format_key_file(new_key).view()) + "\n" + std::string(format_key_file(old_key).view());
  auto keys = ClusterKeys::parse(both);
  ASSERT_TRUE(keys) << keys.error();
  EXPECT_EQ(keys->current(), new_key);
  EXPECT_EQ(keys->all(), (std::vector<ClusterKey>{new_key, old_key}));
  EXPECT_EQ(keys->gossip_secrets()[1], old_key.gossip_secret());
}

TEST(ClusterKey, ToleratesWhatEditorsDo) {
  std::string line = line_of(key_of('k'));
  line.pop_back();
  EXPECT_TRUE(ClusterKeys::parse(line));
  EXPECT_TRUE(ClusterKeys::parse("\r\n  # comment\r\n\t" + line + " \r\n\r\n"));
}

TEST(ClusterKey, NamesTheLineThatIsWrongAndNotWhatStandsThere) {
  const std::string good = line_of(key_of('k')), other = line_of(key_of('l'));
  EXPECT_EQ(error_of("# a comment\n" + good + good), "line 3: the same key stands there twice");
  EXPECT_THAT(error_of(good + "SECRET\n"), HasSubstr("line 2: expected `sluice-key-1`"));
  EXPECT_THAT(error_of("sluice-key-2 SECRET\n"), HasSubstr("line 1: a kind of key that this version does not know"));
  for (const std::string& line : {good.substr(0, good.size() - 2), "sluice-key-1 SECRET" + good.substr(13),
                                  std::string("sluice-key-1\n"), good.substr(0, good.size() - 1) + " SECRET\n"}) {
    EXPECT_THAT(error_of(other + line), HasSubstr("line 2: a key is 32 bytes"));
    EXPECT_THAT(error_of(other + line), Not(HasSubstr("SECRET")));
  }
}

TEST(ClusterKey, HasLimits) {
  std::string four;
  for (char fill : {'a', 'b', 'c', 'd'}) four += line_of(key_of(fill));
  EXPECT_EQ(ClusterKeys::parse(four)->all().size(), kClusterKeysMax);
  EXPECT_EQ(error_of(four + line_of(key_of('e'))), "line 5: more than 4 keys");
  EXPECT_THAT(error_of(four + "#" + std::string(kKeyFileMax, 'x')), HasSubstr("at most 16384 bytes"));
  EXPECT_THAT(error_of(""), HasSubstr("sluice keygen"));
  EXPECT_THAT(error_of("# only a comment\n"), HasSubstr("there is no key in it"));
}

TEST(ClusterKey, IsNeverOverwritten) {
  TemporaryFolder folder;
  const std::string path = folder.path("cluster.key");
  ASSERT_TRUE(write_key_file(path, ClusterKey::generate()));
  const std::string before = folder.read("cluster.key");
  auto again = write_key_file(path, ClusterKey::generate());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, FileErrorKind::exists);
  EXPECT_THAT(again.error().message, HasSubstr("choose another name"));
  EXPECT_EQ(folder.read("cluster.key"), before);
}

TEST(ClusterKey, FileErrorsAreToldApart) {
  TemporaryFolder folder;
  EXPECT_EQ(read_key_file(folder.path("none")).error().kind, FileErrorKind::missing);
  const std::string path = folder.write("key", "nonsense\n");
  EXPECT_EQ(read_key_file(path).error().kind, FileErrorKind::malformed);
  EXPECT_THAT(read_key_file(path).error().message, HasSubstr(path + ": line 1: "));
  ::chmod(path.c_str(), 0644);
  EXPECT_EQ(read_key_file(path).error().kind, FileErrorKind::exposed);
}

TEST(ClusterKey, EveryDamageOfAFileIsAnErrorOrAnotherKey) {
  const std::string whole = line_of(key_of('k'));
  const ClusterKey key = key_of('k');
  for (std::size_t at = 0; at < whole.size(); ++at) {
    EXPECT_FALSE(at < whole.size() - 1 && ClusterKeys::parse(whole.substr(0, at))) << at;
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      auto keys = ClusterKeys::parse(damaged);
      // The end of the line, and the blank in it, may be written in other ways.
      const bool same_text = at == whole.size() - 1 || at == 12;
      EXPECT_FALSE(keys && !same_text && keys->current() == key) << at;
    }
  }
}

}  // namespace
}  // namespace sluice::cluster
