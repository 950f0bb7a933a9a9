#include "node/link_relays.h"

#include <algorithm>
#include <utility>

namespace sluice::node {
namespace {

std::optional<link::LinkToken> token_from(const std::string& text) {
  link::LinkToken token;
  if (text.size() != token.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), token.begin());
  return token;
}

}  // namespace

bool LinkRelays::expect(const LinkId& link, const std::string& token_text, std::uint32_t generation) {
  auto token = token_from(token_text);
  if (!token) return false;
  relays_[link];
  for (link::Side side : {link::Side::producer, link::Side::consumer}) {
    link::LinkClaim claim{.link = link, .generation = generation, .token = *token, .side = side};
    auto on_arrived = [weak = weak_from_this(), link, side](net::Connection::Parts parts) {
      if (auto self = weak.lock()) self->on_end(link, side, std::move(parts));
    };
    if (core_.links.expect(claim, on_arrived)) continue;
    forget(link);
    return false;
  }
  return true;
}

void LinkRelays::on_end(const LinkId& link, link::Side side, net::Connection::Parts parts) {
  auto found = relays_.find(link);
  if (found == relays_.end()) return;
  Relay& relay = found->second;
  if (relay.pump) return;
  (side == link::Side::producer ? relay.producer : relay.consumer) = std::move(parts);
  pump_if_ready(link, relay);
}

void LinkRelays::start(const LinkId& link) {
  auto found = relays_.find(link);
  if (found == relays_.end()) return;
  found->second.started = true;
  pump_if_ready(link, found->second);
}

void LinkRelays::pump_if_ready(const LinkId& link, Relay& relay) {
  if (!relay.started || relay.pump || !relay.producer || !relay.consumer) return;
  forget_expected(link);
  // Both ends hear of what goes wrong between them; there is nobody here to tell.
  relay.pump.emplace(link::start_relay(loops_, std::move(*relay.producer), std::move(*relay.consumer),
                                       {.owner = core_.executor}, [](link::LinkEnd) {}));
}

void LinkRelays::forget_expected(const LinkId& link) {
  core_.links.forget(link, link::Side::producer);
  core_.links.forget(link, link::Side::consumer);
}

void LinkRelays::forget(const LinkId& link) {
  forget_expected(link);
  relays_.erase(link);
}

}  // namespace sluice::node
