#pragma once
// Assertions that stay in every build: a bug stops the process before it does harm.
//
// REQUIRE says that the caller broke the contract, INVARIANT that we did. Neither is for what a user, peer, disk or
// file sent: that is an error value.

namespace sluice {

[[noreturn]] void assertion_failed(const char* kind, const char* condition, const char* file, int line);

}  // namespace sluice

#define SLUICE_ASSERT(kind, condition) \
  (static_cast<bool>(condition) ? void(0) : ::sluice::assertion_failed(kind, #condition, __FILE__, __LINE__))
#define REQUIRE(condition) SLUICE_ASSERT("requirement", condition)
#define INVARIANT(condition) SLUICE_ASSERT("invariant", condition)
