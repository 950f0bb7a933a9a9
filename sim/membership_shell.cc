// MembershipWorld: what the shell of a node does for its machine.
#include <fmt/format.h>

#include <algorithm>

#include "base/require.h"
#include "sim/membership_world.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

// A dial that was not answered by then has failed.
constexpr Duration kDialTimeout = 1s;
// TCP's handshake and TLS's, and the answer that says who it is.
constexpr unsigned kSegmentsToReach = 6;
constexpr unsigned kSegmentsToRefuse = 2;

}  // namespace

void MembershipWorld::step(NodeIndex index) {
  Node& node = *nodes_[index];
  cluster::Membership& membership = *node.membership;
  while (auto datagram = membership.poll_datagram()) send(index, std::move(*datagram));
  while (auto event = membership.poll_event())
    for (Observer* observer : observers_) observer->on_event(*this, index, *event);
  while (auto request = membership.poll_redial()) dial(index, *request);
  follow_watched(index);
  if (membership.may_go()) {
    end_process(index, ProcessState::none);
    return;
  }
  arm(index);
}

void MembershipWorld::send(NodeIndex from, cluster::OutgoingDatagram datagram) {
  Node& node = *nodes_[from];
  node.bytes_sent += datagram.payload.size() + kDatagramOverhead;
  ++node.datagrams_sent;
  auto found = by_address_.find(fmt::format("{}:{}", datagram.to.address, datagram.to.port));
  if (found == by_address_.end()) return;
  Network::Fate fate = network_.send(from, found->second);
  for (unsigned copy = 0; copy < fate.copies; ++copy) {
    std::string payload = copy + 1 == fate.copies ? std::move(datagram.payload) : datagram.payload;
    std::uint32_t slot = put({from, node.id, std::move(payload)});
    queue_.at(now() + fate.delays[copy], {.kind = Kind::datagram, .node = found->second, .slot = slot});
  }
}

std::uint32_t MembershipWorld::put(Datagram datagram) {
  if (free_datagrams_.empty()) {
    datagrams_.push_back(std::move(datagram));
    return static_cast<std::uint32_t>(datagrams_.size() - 1);
  }
  std::uint32_t slot = free_datagrams_.back();
  free_datagrams_.pop_back();
  datagrams_[slot] = std::move(datagram);
  return slot;
}

void MembershipWorld::dial(NodeIndex from, const cluster::RedialRequest& request) {
  ++dials_;
  auto found = by_address_.find(fmt::format("{}:{}", request.endpoint.address, request.endpoint.port));
  auto expected = index_of(request.id);
  REQUIRE(expected);  // a machine dials members only, and those come from here
  NodeIndex peer = *expected;
  cluster::RedialResult result = cluster::RedialResult::silent;
  Duration after = kDialTimeout;
  if (found != by_address_.end() && network_.both_ways(from, found->second)) {
    const Node& there = *nodes_[found->second];
    bool refuses = there.state == ProcessState::killed || there.state == ProcessState::none;
    bool reaches = there.state == ProcessState::running && there.id == request.id;
    Duration takes{};
    for (unsigned i = 0; i < (refuses ? kSegmentsToRefuse : kSegmentsToReach); ++i) takes += network_.segment_delay();
    if ((refuses || reaches) && takes < kDialTimeout) {
      result = refuses ? cluster::RedialResult::refused : cluster::RedialResult::reached;
      after = takes;
      peer = reaches ? found->second : peer;
    }
  }
  queue_.at(now() + after,
            {.kind = Kind::redialled, .node = from, .life = nodes_[from]->life, .peer = peer, .result = result});
}

void MembershipWorld::connect(NodeIndex from, NodeIndex to) {
  nodes_[from]->connections.insert(to);
  nodes_[to]->watchers.insert(from);
}

void MembershipWorld::disconnect(NodeIndex from, NodeIndex to) {
  nodes_[from]->connections.erase(to);
  nodes_[to]->watchers.erase(from);
}

// Connections to those who are not watched are closed.
void MembershipWorld::follow_watched(NodeIndex index) {
  Node& node = *nodes_[index];
  if (node.connections.size() <= node.membership->watched().size() &&
      node.watch_version == node.membership->watch_version())
    return;
  node.watch_version = node.membership->watch_version();
  std::set<NodeIndex> held = node.connections;
  for (NodeIndex peer : held) {
    const auto& watched = node.membership->watched();
    if (std::ranges::find(watched, nodes_[peer]->id) == watched.end()) disconnect(index, peer);
  }
}

void MembershipWorld::arm(NodeIndex index) {
  Node& node = *nodes_[index];
  auto deadline = node.membership->poll_deadline();
  if (!deadline || (node.armed && *node.armed <= *deadline)) return;
  // A busy loop may come a little later than asked, never earlier.
  TimePoint when = std::max(*deadline, now());
  if (options_.timer_delay_max.count() > 0)
    when += Duration(random_.below(static_cast<std::uint64_t>(options_.timer_delay_max.count())));
  node.armed = when;
  queue_.at(when, {.kind = Kind::timer, .node = index, .life = node.life, .slot = ++node.timer});
}

}  // namespace sluice::sim
