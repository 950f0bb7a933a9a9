#include "link/link_claim.h"

#include "base/random.h"
#include "base/wire.h"

namespace sluice::link {

LinkToken random_token() {
  LinkToken token;
  fill_random(token);
  return token;
}

bool same_token(const LinkToken& a, const LinkToken& b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

std::string encode(const LinkClaim& claim) {
  WireWriter writer;
  writer.put_bytes(claim.link.bytes);
  writer.put(claim.generation);
  writer.put(claim.attempt);
  writer.put_bytes(claim.token);
  writer.put(static_cast<std::uint8_t>(claim.side));
  return writer.take();
}

std::expected<LinkClaim, std::string> decode_link_claim(std::string_view bytes) {
  WireReader reader(bytes);
  LinkClaim claim;
  reader.get_bytes(claim.link.bytes);
  claim.generation = reader.get<std::uint32_t>();
  claim.attempt = reader.get<std::uint32_t>();
  reader.get_bytes(claim.token);
  claim.side = static_cast<Side>(reader.get<std::uint8_t>());
  if (!reader.complete()) return std::unexpected("a link's claim of " + std::to_string(bytes.size()) + " bytes");
  if (claim.side != Side::producer && claim.side != Side::consumer)
    return std::unexpected("a link's claim for an end that is neither producer nor consumer");
  return claim;
}

}  // namespace sluice::link
