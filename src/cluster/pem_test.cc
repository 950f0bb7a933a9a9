#include "cluster/pem.h"

#include <gtest/gtest.h>

namespace sluice::cluster {
namespace {

std::string block(std::string_view label, std::string_view value) {
  return std::string(format_pem(label, SecretText(value).bytes()).view());
}

TEST(Pem, RoundTripsBlocksOfEveryLength) {
  std::string value;
  for (int size = 1; size < 200; ++size) {
    value += static_cast<char>(size * 37);
    auto read = parse_pem("# a comment\n\n" + block("A B", value) + "\r\n" + block("C", "x"));
    ASSERT_TRUE(read) << read.error();
    ASSERT_EQ(read->size(), 2u);
    EXPECT_EQ(read->front().label, "A B");
    EXPECT_EQ(read->front().value.view(), value);
  }
}

TEST(Pem, NamesTheLineThatIsWrongAndNotWhatStandsThere) {
  const std::string whole = block("KEY", std::string(60, 's'));
  for (const std::string& damaged :
       {"secret\n" + whole, whole.substr(0, whole.size() - 12), whole.substr(0, 40), std::string("-----BEGIN -----\n"),
        std::string("-----BEGIN A-----\nAAAA\n-----END B-----\n"), std::string("-----BEGIN A-----\n-----END A-----\n"),
        std::string("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----\n")}) {
    auto read = parse_pem(damaged);
    ASSERT_FALSE(read) << damaged;
    EXPECT_TRUE(read.error().starts_with("line ")) << read.error();
    EXPECT_EQ(read.error().find("secret"), std::string::npos);
  }
}

TEST(Pem, HasALimitOfBlocks) {
  std::string text;
  for (std::size_t i = 0; i < kPemBlocksMax; ++i) text += block("A", "x");
  EXPECT_TRUE(parse_pem(text));
  EXPECT_FALSE(parse_pem(text + block("A", "x")));
}

TEST(Pem, OneBlockIsOneBlockOfThatLabel) {
  EXPECT_EQ(parse_pem_block(block("A", "x"), "A")->view(), "x");
  EXPECT_FALSE(parse_pem_block(block("A", "x"), "B"));
  EXPECT_FALSE(parse_pem_block(block("A", "x") + block("A", "x"), "A"));
  EXPECT_FALSE(parse_pem_block("", "A"));
}

}  // namespace
}  // namespace sluice::cluster
