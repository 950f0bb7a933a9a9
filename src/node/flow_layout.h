#pragma once
// Where the stages of a flow run: the parts that they make, the links between those, and what each part's host is told of them.
// Threading: a value, without I/O.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "flow/placement.h"

namespace sluice::v1 {
class FlowPlan;
class PartStream;
class PlannedLink;
class Prepare;
class RunStart;
class StageHow;
}  // namespace sluice::v1

namespace sluice::node {

/// The cluster as the orchestrator sees it when the flow begins.
struct FlowWorld {
  std::vector<flow::NodeChoice> nodes;
  std::map<std::string, std::string> gone;  // see flow::PlacementContext
  NodeId self;
  bool has_client = true;  // that takes the output, and runs the stages `@here`
  /// HOST:PORT where other nodes reach a node.
  std::function<std::string(const NodeId&)> address_of;
};

/// Errors: a sentence; the request can't run at all, wherever.
std::expected<void, std::string> check_request(const v1::RunStart& start);

class FlowLayout final {
 public:
  /// `start` outlives it, and was checked.
  FlowLayout(const v1::RunStart& start, FlowWorld world);
  ~FlowLayout();

  /// Stages `@here` run on the node that was asked, though there is a client.
  void place_here_on_node() { here_on_node_ = true; }
  /// Of some stage the workers may go over the nodes: that needs their free cores.
  bool shares_workers() const;
  std::vector<flow::NodeChoice>& nodes() { return world_.nodes; }
  const std::vector<flow::NodeChoice>& nodes() const { return world_.nodes; }
  void place_stages();
  /// Every stage has a place.
  bool placed() const;
  /// Why not.
  std::string first_problem() const;
  /// Requires that all are placed.
  void make_parts();

  const flow::FlowGraph& flow_graph() const { return flow_; }
  // --- workers that join while the flow runs ----------------------------------------------------------------------

  struct JoinedSeat {
    std::size_t part = 0;
    std::size_t home = 0;  // the part that has the records
  };
  /// A flow has so many links at most.
  bool has_room_for_seat() const;
  /// One more part with one seat of that stage, and its two links. Requires: has_room_for_seat().
  JoinedSeat add_seat(std::size_t stage, const NodeId& node);

  const flow::PartGraph& graph() const { return graph_; }
  std::size_t stage_count() const { return places_.size(); }
  const std::vector<std::string>& host_names() const { return host_names_; }
  std::string name_of(const NodeId& node) const;
  const NodeId& self() const { return world_.self; }
  bool has_client() const { return world_.has_client; }

  bool on_client(std::size_t part) const { return !graph_.parts[part].host; }
  bool between_nodes(const flow::PartLink& link) const { return !on_client(link.from) && !on_client(link.to); }
  /// An end of it is on the node that was asked.
  bool is_at_home(const flow::PartLink& link) const;
  /// A client reaches only the node that it speaks to.
  bool needs_relay(const flow::PartLink& link) const;
  /// The whole flow: a part elsewhere must not go on without us, nor ours without one elsewhere.
  bool needs_only_this_host() const;
  /// Of a flow in the background, no part of which is on this node, nor a link through it: it needs us for its end only.
  bool outlives_orchestrator() const;

  /// "stage 3", or "stage 'merger'".
  std::string title_of(std::size_t stage) const;
  std::vector<std::string> stage_names() const;
  /// The stream of the part that writes it, which `link` of the parts carries. Not of a seat's.
  const flow::PartStream& stream_with(std::size_t link) const;
  /// What is counted at the link is what the stage writes: it has no other.
  bool carries_all_of(std::size_t link, std::size_t stage) const;

  /// What a part's host has said of a stage.
  void set_how(const v1::StageHow& how);
  /// The part is one of several that run the same stage, whose stderr is told by whole lines.
  bool merges_errors(std::size_t part) const;
  /// What each of those lines carries.
  std::string error_mark(std::size_t part) const;
  v1::FlowPlan plan(const FlowId& id) const;
  /// Everything but the links.
  v1::Prepare prepare(const FlowId& id, std::size_t part) const;
  /// How long it may take until the programs run. Files take a while over a slow line.
  Duration start_time() const;

 private:
  void put_here_on_node();
  bool is_tap(std::size_t stage) const;
  void add_streams(const flow::Part& part, v1::Prepare& prepare) const;
  v1::PartStream stream_of(const flow::PartStream& stream, bool is_input) const;
  bool needs_file(const flow::Part& part, const std::string& path) const;
  bool marks_lines_of_all() const;
  void plan_stage(std::size_t index, v1::FlowPlan& plan) const;
  void plan_links(v1::FlowPlan& plan) const;
  v1::PlannedLink planned_link(std::size_t link) const;
  void plan_inner_link(std::size_t link, v1::FlowPlan& plan) const;
  void add_rules(std::size_t link, v1::PlannedLink& planned) const;
  std::string promise() const;
  std::string carrier_of(const flow::PartLink& link) const;
  std::string dials(std::size_t from, std::size_t to) const;

  const v1::RunStart& start_;
  FlowWorld world_;
  bool here_on_node_ = false;
  flow::FlowGraph flow_;
  std::vector<flow::StagePlace> places_;
  flow::PartGraph graph_;
  std::vector<std::string> host_names_;  // of each part
  std::map<std::size_t, v1::StageHow> hows_;
};

}  // namespace sluice::node
