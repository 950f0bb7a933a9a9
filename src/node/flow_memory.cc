#include "node/flow_memory.h"

#include <fmt/format.h>

#include "sluice/v1/flow_memory.pb.h"

namespace sluice::node {

void remember_layout(const FlowLayout& layout, v1::FlowMemory& memory) {
  for (const flow::NodeChoice& choice : layout.nodes()) {
    v1::NodeMemory& node = *memory.add_nodes();
    node.set_id(choice.id.text());
    node.set_name(choice.name);
    for (const auto& [key, value] : choice.labels) (*node.mutable_labels())[key] = value;
    node.set_free_cores(choice.free_cores);
  }
  for (const flow::Part& part : layout.graph().parts) {
    if (!part.joined) continue;
    v1::SeatMemory& seat = *memory.add_joined();
    seat.set_stage(static_cast<std::uint32_t>(*part.seats_of));
    seat.set_node_id(part.host->text());
  }
}

std::expected<std::vector<flow::NodeChoice>, std::string> nodes_from(const v1::FlowMemory& memory) {
  std::vector<flow::NodeChoice> nodes;
  for (const v1::NodeMemory& node : memory.nodes()) {
    auto id = NodeId::parse(node.id());
    if (!id) return std::unexpected(fmt::format("'{}' is no id of a node", node.id()));
    flow::NodeChoice& choice = nodes.emplace_back(
        flow::NodeChoice{.id = *id, .name = node.name(), .labels = {}, .free_cores = node.free_cores()});
    choice.labels.insert(node.labels().begin(), node.labels().end());
  }
  return nodes;
}

std::expected<void, std::string> lay_out_again(const v1::FlowMemory& memory, FlowLayout& layout) {
  layout.place_stages();
  if (!layout.placed()) return std::unexpected(layout.first_problem());
  layout.make_parts();
  for (const v1::SeatMemory& seat : memory.joined()) {
    auto node = NodeId::parse(seat.node_id());
    if (!node || seat.stage() >= layout.stage_count() || !layout.has_room_for_seat())
      return std::unexpected(
          fmt::format("a worker of stage {} on '{}' has no place", seat.stage() + 1, seat.node_id()));
    layout.add_seat(seat.stage(), *node);
  }
  return {};
}

}  // namespace sluice::node
