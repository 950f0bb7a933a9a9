#include "cluster/secret.h"

#include <gtest/gtest.h>

#include "cluster/key_derivation.h"

namespace sluice::cluster {
namespace {

using Some = Secret<struct SomeTag>;

TEST(Secret, IsOverwrittenWhenItGoes) {
  alignas(Some) std::uint8_t room[sizeof(Some)];
  Some* secret = new (room) Some(Some::random());
  EXPECT_TRUE(std::any_of(std::begin(room), std::end(room), [](std::uint8_t byte) { return byte != 0; }));
  secret->~Some();
  EXPECT_TRUE(std::all_of(std::begin(room), std::end(room), [](std::uint8_t byte) { return byte == 0; }));
}

TEST(Secret, ComparesByValue) {
  const Some one = Some::random(), same = one;
  EXPECT_EQ(one, same);
  EXPECT_FALSE(one == Some::random());
}

TEST(SecretText, GrowsAndShrinks) {
  SecretText text("a");
  for (int i = 0; i < 1000; ++i) text.append("bc");
  EXPECT_EQ(text.size(), 2001u);
  EXPECT_EQ(text.view().substr(1999), "bc");
  text.shorten(3);
  EXPECT_EQ(text.view(), "abc");
  SecretText other("x");
  other = std::move(text);
  EXPECT_EQ(other.view(), "abc");
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (std::uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

TEST(KeyDerivation, AgreesWithRfc5869) {
  const std::vector<std::uint8_t> key(22, 0x0b);  // appendix A.3: no salt, no info
  std::vector<std::uint8_t> derived(42);
  derive_key(key, "", derived);
  EXPECT_EQ(hex(derived), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(KeyDerivation, TellsUsesApart) {
  const Some key = Some::random();
  EXPECT_FALSE(derive<Some>(key, "one") == derive<Some>(key, "two"));
  EXPECT_EQ(derive<Some>(key, "one"), derive<Some>(key, "one"));
}

}  // namespace
}  // namespace sluice::cluster
