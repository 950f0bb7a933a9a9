#include "sim/membership_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/require.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kPort = 7117;

net::Endpoint endpoint_of(NodeIndex node) {
  return {fmt::format("10.{}.{}.{}", node >> 16 & 255, node >> 8 & 255, node & 255), kPort};
}

std::string key_of(const net::Endpoint& endpoint) { return fmt::format("{}:{}", endpoint.address, endpoint.port); }

// Random, but for the last four bytes, which say whose it is.
NodeId make_id(NodeIndex node, SeededRandom& random) {
  NodeId id;
  std::uint64_t words[2] = {random(), random()};
  std::memcpy(id.bytes.data(), words, sizeof words);
  for (std::size_t i = 0; i < 4; ++i) id.bytes[12 + i] = static_cast<std::uint8_t>(node >> (8 * i));
  return id;
}

// A life may refute so often before the next would start below it.
constexpr std::uint64_t kIncarnationsPerLife = 1'000'000;

}  // namespace

MembershipWorld::MembershipWorld(const WorldOptions& options)
    : options_(options), random_(options.seed), network_(options.network, options.seed ^ 0x6e6574776f726b) {
  options_.membership.pool = &pool_;
}

MembershipWorld::~MembershipWorld() = default;

// --- building -----------------------------------------------------------------------------------------------------

NodeIndex MembershipWorld::add_node() {
  auto index = static_cast<NodeIndex>(nodes_.size());
  auto node = std::make_unique<Node>();
  node->id = make_id(index, random_);
  node->endpoint = endpoint_of(index + 1);
  node->name = fmt::format("n{}", index + 1);
  by_address_[key_of(node->endpoint)] = index;
  nodes_.push_back(std::move(node));
  return index;
}

std::vector<NodeIndex> MembershipWorld::add_nodes(std::size_t count) {
  std::vector<NodeIndex> added;
  for (std::size_t i = 0; i < count; ++i) added.push_back(add_node());
  return added;
}

void MembershipWorld::set_advertised(NodeIndex node, net::Endpoint endpoint) {
  nodes_[node]->advertised = std::move(endpoint);
}
void MembershipWorld::set_id(NodeIndex node, const NodeId& id) { nodes_[node]->id = id; }
void MembershipWorld::set_name(NodeIndex node, std::string name) { nodes_[node]->name = std::move(name); }

void MembershipWorld::boot(NodeIndex index) {
  Node& node = *nodes_[index];
  REQUIRE(node.state != ProcessState::running);
  REQUIRE(node.state != ProcessState::paused);
  ++node.life;
  node.state = ProcessState::running;
  node.armed.reset();
  cluster::MembershipOptions options = options_.membership;
  options.instance = node.life + (std::uint64_t{index} << 32);
  options.incarnation_start = options_.persists_incarnation ? node.life * kIncarnationsPerLife : 1;
  cluster::Profile profile{
      .name = node.name, .endpoint = node.advertised.value_or(node.endpoint), .labels = {}, .version = "0.1.0"};
  node.membership = std::make_unique<cluster::Membership>(options, node.id, std::move(profile), random_(), now());
  node.watch_version = node.membership->watch_version();
}

void MembershipWorld::start(NodeIndex node, const std::vector<NodeIndex>& seeds) {
  boot(node);
  for (NodeIndex seed : seeds) nodes_[node]->membership->add_seed(nodes_[seed]->endpoint, now());
  step(node);
  for (Observer* observer : observers_) observer->on_fault(*this);
}

void MembershipWorld::start_converged() {
  std::vector<cluster::AnnouncementRef> all;
  for (NodeIndex index = 0; index < size(); ++index) boot(index);
  for (auto& node : nodes_)
    node->membership->visit_present([&](const cluster::Announcement& own, cluster::MemberState) {
      auto shared = pool_.read(own.view());
      all.push_back(shared);
    });
  // In the order of the ring each goes to the end of the table.
  std::ranges::sort(all, {}, [](const cluster::AnnouncementRef& member) { return cluster::ring_position(member->id); });
  for (NodeIndex index = 0; index < size(); ++index) {
    nodes_[index]->membership->restore(all, now());
    step(index);
  }
  for (Observer* observer : observers_) observer->on_fault(*this);
}

// --- time ---------------------------------------------------------------------------------------------------------

void MembershipWorld::run_for(Duration duration) {
  TimePoint end = now() + duration;
  Event event;
  while (queue_.take(end, event)) process(event);
}

bool MembershipWorld::run_until(const std::function<bool()>& done, Duration limit, Duration step) {
  TimePoint end = now() + limit;
  while (!done()) {
    if (now() >= end) return false;
    run_for(std::min(step, end - now()));
  }
  return true;
}

void MembershipWorld::at(TimePoint when, std::function<void()> action) {
  actions_.push_back(std::move(action));
  queue_.at(when, {.kind = Kind::action, .slot = static_cast<std::uint32_t>(actions_.size() - 1)});
}

void MembershipWorld::process(const Event& event) {
  ++steps_;
  trace_.add(static_cast<std::uint64_t>(now().time_since_epoch().count()));
  trace_.add(static_cast<std::uint64_t>(event.kind) << 32 | event.node);
  if (event.kind == Kind::action) {
    auto action = std::move(actions_[event.slot]);
    action();
    return;
  }
  Node& node = *nodes_[event.node];
  if (event.kind == Kind::datagram) trace_.add(datagrams_[event.slot].payload);
  bool stale = event.kind != Kind::datagram && event.life != node.life;
  if (node.state == ProcessState::running && !stale) {
    deliver(node, event.node, event);
    step(event.node);
    return;
  }
  // A socket's buffer takes some 200 small datagrams.
  constexpr std::size_t kWaitingMax = 200;
  bool keeps = node.state == ProcessState::paused && !stale && event.kind != Kind::timer &&
               (event.kind != Kind::datagram || node.waiting.size() < kWaitingMax);
  if (keeps)
    node.waiting.push_back(event);
  else if (event.kind == Kind::datagram)
    free_datagrams_.push_back(event.slot);
}

void MembershipWorld::deliver(Node& node, NodeIndex index, const Event& event) {
  switch (event.kind) {
    case Kind::datagram: {
      Datagram datagram = std::move(datagrams_[event.slot]);
      free_datagrams_.push_back(event.slot);
      node.membership->on_datagram(datagram.sender, nodes_[datagram.from]->endpoint, datagram.payload, now());
      break;
    }
    case Kind::timer:
      if (event.slot != node.timer) break;
      node.armed.reset();
      if (auto deadline = node.membership->poll_deadline(); deadline && *deadline <= now())
        node.membership->on_deadline(now());
      break;
    case Kind::redialled: {
      // What the dialled process has become meanwhile counts.
      bool reached = event.result == cluster::RedialResult::reached && running(event.peer);
      if (reached) connect(index, event.peer);
      auto result = event.result;
      if (result == cluster::RedialResult::reached && !reached)
        result =
            state(event.peer) == ProcessState::killed ? cluster::RedialResult::broken : cluster::RedialResult::silent;
      node.membership->on_redial(nodes_[event.peer]->id, result, now());
      break;
    }
    case Kind::closed:
      node.membership->on_connection_closed(nodes_[event.peer]->id, now());
      break;
    case Kind::action:
      break;
  }
}

// --- faults -------------------------------------------------------------------------------------------------------

void MembershipWorld::end_process(NodeIndex index, ProcessState state) {
  Node& node = *nodes_[index];
  REQUIRE(node.state == ProcessState::running || node.state == ProcessState::paused);
  bool closes = state != ProcessState::host_off;
  node.state = state;
  node.membership.reset();
  for (const Event& event : node.waiting)
    if (event.kind == Kind::datagram) free_datagrams_.push_back(event.slot);
  node.waiting.clear();
  ++node.life;
  std::set<NodeIndex> watchers = std::move(node.watchers);
  for (NodeIndex held : node.connections) nodes_[held]->watchers.erase(index);
  node.connections.clear();
  node.watchers.clear();
  // The kernel closes what the process had open; without a host, or a way to it, keepalive finds out (DESIGN.md section 4).
  constexpr Duration kKeepalive = 15s;
  for (NodeIndex watcher : watchers) {
    nodes_[watcher]->connections.erase(index);
    Duration after = closes && network_.both_ways(watcher, index) ? network_.segment_delay() : kKeepalive;
    queue_.at(now() + after, {.kind = Kind::closed, .node = watcher, .life = nodes_[watcher]->life, .peer = index});
  }
  for (Observer* observer : observers_) observer->on_fault(*this);
}

void MembershipWorld::kill(NodeIndex node) { end_process(node, ProcessState::killed); }
void MembershipWorld::power_off(NodeIndex node) { end_process(node, ProcessState::host_off); }

void MembershipWorld::pause(NodeIndex node) {
  REQUIRE(running(node));
  nodes_[node]->state = ProcessState::paused;
  for (Observer* observer : observers_) observer->on_fault(*this);
}

void MembershipWorld::resume(NodeIndex index) {
  Node& node = *nodes_[index];
  REQUIRE(node.state == ProcessState::paused);
  node.state = ProcessState::running;
  for (Observer* observer : observers_) observer->on_fault(*this);
  node.armed.reset();  // its timer went by unseen
  std::deque<Event> waiting = std::move(node.waiting);
  node.waiting.clear();
  // An event loop may see the timer first or the sockets.
  auto deadline = node.membership->poll_deadline();
  if (random_.below(2) == 0 && deadline && *deadline <= now()) node.membership->on_deadline(now());
  for (const Event& event : waiting) deliver(node, index, event);
  step(index);
}

void MembershipWorld::leave(NodeIndex node) {
  nodes_[node]->membership->leave(now());
  step(node);
}

void MembershipWorld::restart(NodeIndex node, const std::vector<NodeIndex>& seeds) { start(node, seeds); }

void MembershipWorld::network_changed() {
  for (Observer* observer : observers_) observer->on_fault(*this);
}

// --- the truth ----------------------------------------------------------------------------------------------------

std::vector<NodeIndex> MembershipWorld::running_nodes() const {
  std::vector<NodeIndex> found;
  for (NodeIndex index = 0; index < size(); ++index)
    if (running(index)) found.push_back(index);
  return found;
}

std::optional<NodeIndex> MembershipWorld::index_of(const NodeId& id) const {
  NodeIndex index = 0;
  for (std::size_t i = 0; i < 4; ++i) index |= static_cast<NodeIndex>(id.bytes[12 + i]) << (8 * i);
  if (index >= size() || nodes_[index]->id != id) return std::nullopt;
  return index;
}

std::uint64_t MembershipWorld::bytes_sent() const {
  std::uint64_t sum = 0;
  for (const auto& node : nodes_) sum += node->bytes_sent;
  return sum;
}

}  // namespace sluice::sim
