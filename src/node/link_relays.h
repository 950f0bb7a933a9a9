#pragma once
// Links whose two ends can't reach each other: both dial this node, which passes on what they say.
// Threading: belongs to the control loop; the bytes move on the data loops.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "link/byte_link.h"
#include "link/data_loops.h"
#include "node/node_core.h"

namespace sluice::node {

class LinkRelays final : public std::enable_shared_from_this<LinkRelays> {
 public:
  LinkRelays(NodeCore core, link::DataLoops& loops) : core_(core), loops_(loops) {}

  /// Waits for both ends of `link`. False: too many links wait here, or the token is none.
  bool expect(const LinkId& link, const std::string& token, std::uint32_t generation);
  /// Both ends have had the answer to their claim. Until then either may claim its end again, and the newer connection counts.
  void start(const LinkId& link);
  /// Cuts it if it runs.
  void forget(const LinkId& link);

 private:
  struct Relay {
    std::optional<net::Connection::Parts> producer, consumer;
    std::optional<link::ByteLink> pump;
    bool started = false;
  };

  void on_end(const LinkId& link, link::Side side, net::Connection::Parts parts);
  void pump_if_ready(const LinkId& link, Relay& relay);
  void forget_expected(const LinkId& link);

  NodeCore core_;
  link::DataLoops& loops_;
  std::map<LinkId, Relay> relays_;
};

}  // namespace sluice::node
