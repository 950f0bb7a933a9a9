#pragma once
// What the dialler of a byte or record link says of itself, in the body of the first frame: which link it means, which end
// it is, and the proof that it may. A stale end, or a stranger on a reused port, has no current token and generation.
#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "base/id.h"

namespace sluice::link {

/// The end that the dialler is.
enum class Side : std::uint8_t { producer = 1, consumer = 2 };

using LinkToken = std::array<std::uint8_t, 32>;

struct LinkClaim {
  LinkId link;
  std::uint32_t generation = 0;
  std::uint32_t attempt = 1;  // of this end to dial; a later one supersedes those before it
  LinkToken token{};
  Side side = Side::consumer;
  bool operator==(const LinkClaim&) const = default;
};

LinkToken random_token();
/// In a time that does not depend on where they differ.
bool same_token(const LinkToken& a, const LinkToken& b);

std::string encode(const LinkClaim& claim);
/// Errors: a sentence that says what is wrong with the bytes.
std::expected<LinkClaim, std::string> decode_link_claim(std::string_view bytes);

}  // namespace sluice::link
