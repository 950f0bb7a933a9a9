#include "node/flow_links.h"

#include <fmt/format.h>

#include <algorithm>

#include "sluice/v1/flow_memory.pb.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::uint32_t kGeneration = 1;
constexpr unsigned kAttemptsMax = 5;  // of both ends together

std::string bytes_text(std::span<const std::uint8_t> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

FlowLinks::FlowLinks(FlowSurroundings& surroundings, const FlowLayout& layout)
    : surroundings_(surroundings), layout_(layout) {
  make_links();
}

FlowLinks::FlowLinks(FlowSurroundings& surroundings, const FlowLayout& layout, const v1::FlowMemory& memory)
    : surroundings_(surroundings), layout_(layout), relays_started_(true) {
  for (const v1::LinkMemory& known : memory.links()) {
    Link& link = links_.emplace_back();
    if (known.id().size() == link.id.bytes.size()) std::ranges::copy(known.id(), link.id.bytes.begin());
    if (known.token().size() == link.token.size()) std::ranges::copy(known.token(), link.token.begin());
  }
  make_links();
}

void FlowLinks::fill(v1::FlowMemory& memory) const {
  for (const Link& link : links_) {
    v1::LinkMemory& known = *memory.add_links();
    known.set_id(bytes_text(link.id.bytes));
    known.set_token(bytes_text(link.token));
  }
}

void FlowLinks::make_links() {
  while (links_.size() < layout_.graph().links.size())
    links_.push_back({.id = LinkId::random(), .token = link::random_token()});
}

FlowLinks::~FlowLinks() {
  for (const Link& link : links_)
    if (link.relayed) surroundings_.forget_relay(link.id);
}

std::expected<void, std::string> FlowLinks::set_up_relays() { return set_up_relays(0); }

std::expected<void, std::string> FlowLinks::add_new() {
  std::size_t first = links_.size();
  make_links();
  return set_up_relays(first);
}

std::expected<void, std::string> FlowLinks::set_up_relays(std::size_t first) {
  for (std::size_t i = first; i < links_.size(); ++i)
    if (layout_.needs_relay(layout_.graph().links[i]) && !set_up_relay(links_[i]))
      return std::unexpected("too many links wait on this node; try again later");
  return {};
}

bool FlowLinks::set_up_relay(Link& link) {
  link.relayed = surroundings_.relay_link(link.id, bytes_text(link.token), kGeneration);
  if (link.relayed && relays_started_) surroundings_.start_relay(link.id);
  return link.relayed;
}

void FlowLinks::start_relays() {
  relays_started_ = true;
  for (const Link& link : links_)
    if (link.relayed) surroundings_.start_relay(link.id);
}

// --- what the hosts are told --------------------------------------------------------------------------------------

void FlowLinks::add_ends(std::size_t part, v1::Prepare& prepare) const {
  const flow::Part& ends = layout_.graph().parts[part];
  for (std::size_t i = 0; i < ends.inputs.size(); ++i)
    for (std::size_t link : ends.inputs[i].links)
      *prepare.mutable_inputs(static_cast<int>(i))->add_ends() = end_of(link, false);
  for (std::size_t i = 0; i < ends.outputs.size(); ++i)
    for (std::size_t link : ends.outputs[i].links)
      *prepare.mutable_outputs(static_cast<int>(i))->add_ends() = end_of(link, true);
  bool asks = !ends.seats_of;
  for (const flow::Seat& seat : ends.seats) {
    v1::SeatEnds& message = *prepare.add_seats();
    message.set_stage(static_cast<std::uint32_t>(seat.stage));
    *message.mutable_requests() = end_of(seat.requests, asks);
    *message.mutable_replies() = end_of(seat.replies, !asks);
  }
}

v1::HostCommand FlowLinks::add_seat_command(std::size_t part) const {
  const flow::Seat& seat = layout_.graph().parts[part].seats.front();
  v1::HostCommand command;
  v1::SeatEnds& message = *command.mutable_add_seat()->mutable_seat();
  message.set_stage(static_cast<std::uint32_t>(seat.stage));
  *message.mutable_requests() = end_of(seat.requests, true);
  *message.mutable_replies() = end_of(seat.replies, false);
  return command;
}

v1::LinkEnd FlowLinks::end_of(std::size_t index, bool producer) const {
  const flow::PartLink& link = layout_.graph().links[index];
  std::size_t mine = producer ? link.from : link.to;
  std::size_t other = producer ? link.to : link.from;
  v1::LinkEnd end;
  end.set_link_id(bytes_text(links_[index].id.bytes));
  end.set_token(bytes_text(links_[index].token));
  end.set_generation(kGeneration);
  end.set_peer_name(layout_.host_names()[other]);
  bool relayed = layout_.needs_relay(link);
  bool dials = layout_.on_client(mine) || relayed || (!producer && !layout_.on_client(other));
  end.set_how(dials ? v1::LinkEnd::HOW_DIAL : v1::LinkEnd::HOW_LISTEN);
  if (!dials || layout_.on_client(mine)) return end;
  NodeId target = relayed ? layout_.self() : *layout_.graph().parts[other].host;
  end.set_address(surroundings_.address_of(target));
  end.set_node_id(target.text());
  return end;
}

v1::HostCommand FlowLinks::drop_command(const std::vector<std::size_t>& links) const {
  v1::HostCommand command;
  for (std::size_t link : links) command.mutable_drop_links()->add_link_ids(bytes_text(links_[link].id.bytes));
  return command;
}

v1::HostCommand FlowLinks::redial_command(std::size_t link, const NodeId& to) const {
  v1::HostCommand command;
  v1::Redial& redial = *command.mutable_redial();
  redial.set_link_id(bytes_text(links_[link].id.bytes));
  redial.set_address(surroundings_.address_of(to));
  redial.set_node_id(to.text());
  return command;
}

// --- links that could not be made ---------------------------------------------------------------------------------

std::optional<std::size_t> FlowLinks::find(const std::string& link_id) const {
  for (std::size_t i = 0; i < links_.size(); ++i)
    if (bytes_text(links_[i].id.bytes) == link_id) return i;
  return std::nullopt;
}

LinkRemedy FlowLinks::on_unreached(std::size_t index, std::size_t part) {
  Link& link = links_[index];
  const flow::PartLink& ends = layout_.graph().links[index];
  bool between_nodes = layout_.between_nodes(ends);
  ++link.attempts;
  if (between_nodes && link.attempts == 1)
    return {.dials = {{ends.from, *layout_.graph().parts[ends.to].host}}, .note = {}};
  if (between_nodes && link.attempts == 2 && !layout_.is_at_home(ends) && set_up_relay(link))
    return {.dials = {{ends.from, layout_.self()}, {ends.to, layout_.self()}},
            .note = fmt::format("{} and {} cannot reach each other: {} relays between them",
                                layout_.host_names()[ends.from], layout_.host_names()[ends.to],
                                layout_.name_of(layout_.self()))};
  // Whoever must dial this node and fails tries again: packets may get lost.
  if ((link.relayed || !between_nodes) && link.attempts <= kAttemptsMax)
    return {.dials = {{part, layout_.self()}}, .note = {}};
  return {};
}

}  // namespace sluice::node
