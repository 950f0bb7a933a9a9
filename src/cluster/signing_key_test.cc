#include "cluster/signing_key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace sluice::cluster {
namespace {

template <std::size_t N>
std::array<std::uint8_t, N> from_hex(std::string_view text) {
  std::array<std::uint8_t, N> bytes{};
  for (std::size_t i = 0; i < N; ++i)
    bytes[i] = static_cast<std::uint8_t>(std::strtoul(std::string(text.substr(2 * i, 2)).c_str(), nullptr, 16));
  return bytes;
}

TEST(SigningKey, AgreesWithRfc8032) {  // section 7.1, test 2
  const auto seed = from_hex<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
  const SigningKey key = SigningKey::from_seed(SigningSeed(seed));
  EXPECT_EQ(key.public_key(), from_hex<32>("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
  EXPECT_EQ(key.sign("\x72"), from_hex<64>("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                           "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"));
}

TEST(SigningKey, VerifiesItsOwnSignatureAndNoOther) {
  const SigningKey key = SigningKey::generate(), other = SigningKey::generate();
  Signature signature = key.sign("text");
  EXPECT_TRUE(verify(key.public_key(), "text", signature));
  EXPECT_FALSE(verify(key.public_key(), "texT", signature));
  EXPECT_FALSE(verify(other.public_key(), "text", signature));
  for (std::uint8_t& byte : signature) {
    byte ^= 1;
    EXPECT_FALSE(verify(key.public_key(), "text", signature));
    byte ^= 1;
  }
  EXPECT_FALSE(verify(PublicKey{}, "text", signature));
}

TEST(SigningKey, IsReadAsItWasWritten) {
  const SigningKey key = SigningKey::generate();
  auto read = SigningKey::from_pem(key.pem().view());
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->public_key(), key.public_key());
  EXPECT_EQ(public_key_from_pem(to_pem(key.public_key())), key.public_key());
}

TEST(SigningKey, RefusesKeysOfOtherKinds) {
  constexpr std::string_view kEllipticPublic =
      "-----BEGIN PUBLIC KEY-----\n"
      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
      "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
      "-----END PUBLIC KEY-----\n";
  EXPECT_FALSE(public_key_from_pem(kEllipticPublic));
  EXPECT_FALSE(public_key_from_pem(""));
  EXPECT_FALSE(public_key_from_pem(SigningKey::generate().pem().view()));
  EXPECT_FALSE(SigningKey::from_pem(kEllipticPublic));
}

}  // namespace
}  // namespace sluice::cluster
