#pragma once
// The links between the parts of a flow, as its orchestrator sees them: which end dials which, the secret that both ends know,
// and what is tried when an end can't be reached.
//
// The consumer dials, so that it can go away while the producer's address stays; a client always dials, and only the node that
// it speaks to. If the consumer gets through to nobody, the producer dials; if that fails as well, both dial the orchestrator's
// node, which relays.
// Threading: belongs to the control loop.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "link/link_claim.h"
#include "node/flow_layout.h"
#include "node/flow_surroundings.h"

namespace sluice::v1 {
class FlowMemory;
class HostCommand;
class LinkEnd;
class Prepare;
}  // namespace sluice::v1

namespace sluice::node {

/// What is done about a link that could not be made.
struct LinkRemedy {
  struct Dial {
    std::size_t part = 0;
    NodeId to;
  };
  std::vector<Dial> dials;  // empty: nothing is left to try
  std::string note;         // for the user; may be empty
};

class FlowLinks final {
 public:
  /// Both outlive it; the parts of `layout` are made.
  FlowLinks(FlowSurroundings& surroundings, const FlowLayout& layout);
  /// Those of a flow that runs already.
  FlowLinks(FlowSurroundings& surroundings, const FlowLayout& layout, const v1::FlowMemory& memory);
  /// Forgets the relays.
  ~FlowLinks();
  FlowLinks(const FlowLinks&) = delete;
  FlowLinks& operator=(const FlowLinks&) = delete;

  /// For the links that can't be made without. Errors: a sentence.
  std::expected<void, std::string> set_up_relays();
  void fill(v1::FlowMemory& memory) const;
  /// Every end is up: relays begin to pass on.
  void start_relays();
  /// To its streams, and those of its seats.
  void add_ends(std::size_t part, v1::Prepare& prepare) const;
  /// The layout has more links than before. Errors: a sentence.
  std::expected<void, std::string> add_new();
  /// For the part that has the records: `part` is the one seat that joins it.
  v1::HostCommand add_seat_command(std::size_t part) const;
  std::optional<std::size_t> find(const std::string& link_id) const;

  /// `part` could not dial its end of `link`.
  LinkRemedy on_unreached(std::size_t link, std::size_t part);
  v1::HostCommand drop_command(const std::vector<std::size_t>& links) const;
  v1::HostCommand redial_command(std::size_t link, const NodeId& to) const;

 private:
  struct Link {
    LinkId id;
    link::LinkToken token{};
    bool relayed = false;
    unsigned attempts = 0;  // to make it that have failed
  };

  void make_links();
  std::expected<void, std::string> set_up_relays(std::size_t first);
  bool set_up_relay(Link& link);
  v1::LinkEnd end_of(std::size_t index, bool producer) const;

  FlowSurroundings& surroundings_;
  const FlowLayout& layout_;
  std::vector<Link> links_;
  bool relays_started_ = false;
};

}  // namespace sluice::node
