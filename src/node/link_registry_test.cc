#include "node/link_registry.h"

#include <gmock/gmock.h>

namespace sluice::node {
namespace {

link::LinkClaim some_claim() {
  return {.link = LinkId::random(), .generation = 1, .token = link::random_token(), .side = link::Side::consumer};
}

TEST(LinkRegistry, TheRightClaimTakesTheEndAgainAndAgainUntilItIsForgotten) {
  LinkRegistry registry;
  link::LinkClaim claim = some_claim();
  int arrived = 0;
  ASSERT_TRUE(registry.expect(claim, [&](net::Connection::Parts) { ++arrived; }));
  // The answer to the first may have got lost.
  for (int time = 1; time <= 2; ++time) {
    auto taken = registry.claim(claim);
    ASSERT_TRUE(taken);
    (*taken)({});
    EXPECT_EQ(arrived, time);
    EXPECT_FALSE(registry.claim(claim)) << "the same attempt twice";
    ++claim.attempt;
  }
  registry.forget(claim.link, claim.side);
  EXPECT_FALSE(registry.claim(claim));
}

TEST(LinkRegistry, AnotherTokenGenerationOrSideIsRefusedAndTheEndStays) {
  LinkRegistry registry;
  link::LinkClaim claim = some_claim();
  registry.expect(claim, [](net::Connection::Parts) {});
  link::LinkClaim other = claim;
  other.token[31] ^= 1;
  EXPECT_FALSE(registry.claim(other));
  other = claim;
  other.generation = 2;
  EXPECT_FALSE(registry.claim(other));
  other = claim;
  other.side = link::Side::producer;
  EXPECT_FALSE(registry.claim(other));
  EXPECT_TRUE(registry.claim(claim));
}

TEST(LinkRegistry, AnAttemptThatComesLateDoesNotReplaceItsSuccessor) {
  LinkRegistry registry;
  link::LinkClaim first = some_claim(), second = first;
  second.attempt = 2;
  registry.expect(first, [](net::Connection::Parts) {});
  EXPECT_TRUE(registry.claim(second));
  EXPECT_FALSE(registry.claim(first));
}

TEST(LinkRegistry, WhatWasForgottenIsRefused) {
  LinkRegistry registry;
  link::LinkClaim claim = some_claim();
  registry.expect(claim, [](net::Connection::Parts) {});
  registry.forget(claim.link, claim.side);
  EXPECT_FALSE(registry.claim(claim));
}

TEST(LinkRegistry, IsBounded) {
  LinkRegistry registry;
  for (std::size_t i = 0; i < LinkRegistry::kExpectedMax; ++i)
    ASSERT_TRUE(registry.expect(some_claim(), [](net::Connection::Parts) {}));
  EXPECT_FALSE(registry.expect(some_claim(), [](net::Connection::Parts) {}));
}

}  // namespace
}  // namespace sluice::node
