#pragma once
// Which of the workers that wait on some node, for a role, are to join which stages of one flow; and the stages that wait
// for the first of theirs.
// Threading: a value, without I/O and clock.
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"

namespace sluice::v1 {
class RoleOffer;
class RunStart;
}  // namespace sluice::v1

namespace sluice::node {

/// A worker that is to join.
struct RoleJoin {
  std::size_t stage = 0;
  NodeId node;  // where it waits
  std::string offer_id;
  std::string host;  // where it runs, for people
};

class FlowRoles final {
 public:
  FlowRoles(const v1::RunStart& start, const FlowId& id);

  /// Some stage may be joined.
  bool any() const { return !stages_.empty(); }
  /// May come several times for one worker: it is asked once.
  void on_offered(const NodeId& node, const v1::RoleOffer& offer);
  /// To be asked once the flow runs, and after each offer. Of several stages of one role, the one that the fewest have
  /// joined.
  std::optional<RoleJoin> poll_join();

  struct Awaiting {
    std::size_t stage = 0;
    std::string role;
  };
  /// Those that have no worker of their own, and that none has joined.
  std::vector<Awaiting> awaiting() const;

 private:
  struct Stage {
    std::string role;
    bool has_own = false;
    std::size_t joined = 0;
  };

  std::string flow_name_, flow_id_;
  std::map<std::size_t, Stage> stages_;                              // by index in the flow: those with a role
  std::map<std::string, std::pair<std::string, RoleJoin>> waiting_;  // by id of the offer: its role, and it
  std::set<std::string> asked_;
};

}  // namespace sluice::node
