#pragma once
// Which of the workers that wait on some node, for a role, are to join which stages of one flow; and the stages that wait
// for one: none has come yet, or all have gone.
// Threading: a value, without I/O; time comes in as a parameter.
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/id.h"
#include "base/time.h"

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
  /// To be asked once the flow runs, and after each offer. Of several stages of one role, the one that has the fewest.
  std::optional<RoleJoin> poll_join();

  /// The flow runs. Workers that an earlier orchestrator knew have been told before (on_known).
  void on_running(TimePoint now);
  void on_known(std::size_t stage);
  /// A worker that was to join the stage, or had, has gone, or it never came. No `now`: because the stage needs it no more.
  void on_gone(std::size_t stage, std::optional<TimePoint> now);
  /// Nothing of it is to be done any more.
  void on_ended(std::size_t stage);

  struct Awaiting {
    std::size_t stage = 0;
    std::string role;
  };
  /// Those that have no worker of their own, and for a while no other: each is told once for every time that it became
  /// empty.
  std::optional<Awaiting> poll_awaiting(TimePoint now);
  std::optional<TimePoint> poll_deadline() const;

 private:
  struct Stage {
    std::string role;
    bool has_own = false;
    bool ended = false;
    std::size_t workers = 0;           // that have joined and are there
    std::optional<TimePoint> tell_at;  // that it has none
  };

  std::string flow_name_, flow_id_;
  std::map<std::size_t, Stage> stages_;                              // by index in the flow: those with a role
  std::map<std::string, std::pair<std::string, RoleJoin>> waiting_;  // by id of the offer: its role, and it
  std::set<std::string> asked_;
};

}  // namespace sluice::node
