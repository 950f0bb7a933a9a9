#pragma once
// The ends of links that wait on this node for the other end to dial, and the proof that a dialler must bring.
// Threading: belongs to the control loop.
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "link/link_claim.h"
#include "net/connection.h"

namespace sluice::node {

class LinkRegistry final {
 public:
  using OnArrived = std::function<void(net::Connection::Parts)>;

  /// `claim.side` is the end that will dial. Links of a node at most kExpectedMax at a time: false beyond that.
  bool expect(const link::LinkClaim& claim, OnArrived on_arrived);
  void forget(const LinkId& link, link::Side side);

  /// The expectation that `claim` proves. It stays until it is forgotten: the answer may get lost, and the dialler claims
  /// the end again. An attempt that was given up may arrive late, and must not take the place of its successor.
  /// Errors: why not, for the dialler; it does not say which part was wrong.
  std::expected<OnArrived, std::string> claim(const link::LinkClaim& claim);

  std::size_t size() const { return expected_.size(); }
  static constexpr std::size_t kExpectedMax =
      16384;  // both ends of a link may wait, and a flow has at most 4,096 links

 private:
  struct Expected {
    link::LinkClaim claim;
    OnArrived on_arrived;
    std::uint32_t attempt = 0;  // the latest that was accepted
  };
  std::map<std::pair<LinkId, link::Side>, Expected> expected_;
};

}  // namespace sluice::node
