#include "node/link_registry.h"

namespace sluice::node {

bool LinkRegistry::expect(const link::LinkClaim& claim, OnArrived on_arrived) {
  if (expected_.size() >= kExpectedMax) return false;
  return expected_.emplace(std::pair(claim.link, claim.side), Expected{claim, std::move(on_arrived)}).second;
}

void LinkRegistry::forget(const LinkId& link, link::Side side) { expected_.erase({link, side}); }

std::expected<LinkRegistry::OnArrived, std::string> LinkRegistry::claim(const link::LinkClaim& claim) {
  auto found = expected_.find({claim.link, claim.side});
  bool proven = found != expected_.end() && found->second.claim.generation == claim.generation &&
                link::same_token(found->second.claim.token, claim.token);
  if (!proven) return std::unexpected("no end of such a link waits here; it may have ended, or be another's");
  if (claim.attempt <= found->second.attempt) return std::unexpected("this end was claimed by a later attempt");
  found->second.attempt = claim.attempt;
  return found->second.on_arrived;
}

}  // namespace sluice::node
