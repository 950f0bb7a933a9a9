#include "sim/membership_swarm.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

}  // namespace

MembershipSwarm::Plan MembershipSwarm::draw(const SwarmOptions& options) {
  SeededRandom random(options.seed ^ 0x706c616e);
  auto coin = [&] { return random.below(2) == 0; };
  Plan plan;
  plan.nodes = options.nodes_min + random.below(options.nodes_max - options.nodes_min + 1);
  plan.kills = coin();
  plan.power_cuts = coin();
  plan.pauses = coin();
  plan.starvation = coin();
  plan.leaves = coin();
  plan.cuts = coin();
  plan.one_way_cuts = coin();
  if (coin()) plan.loss = random.fraction() * 0.25;
  if (coin()) plan.duplicate = random.fraction() * 0.1;
  if (coin()) plan.stragglers = random.fraction() * 0.1;
  plan.persists_incarnation = coin();
  plan.fault_gap = std::chrono::milliseconds(100 + random.below(8000));
  return plan;
}

WorldOptions MembershipSwarm::world_options(const SwarmOptions& options, const Plan& plan) {
  WorldOptions world{.seed = options.seed};
  world.persists_incarnation = plan.persists_incarnation;
  return world;
}

MembershipSwarm::MembershipSwarm(const SwarmOptions& options)
    : plan_(draw(options)), random_(options.seed ^ 0x737761726d), world_(world_options(options, plan_)) {
  world_.add_nodes(plan_.nodes);
}

std::string MembershipSwarm::description() const {
  std::string faults;
  for (auto [name, on] :
       {std::pair("kills", plan_.kills), std::pair("power cuts", plan_.power_cuts), std::pair("pauses", plan_.pauses),
        std::pair("starvation", plan_.starvation), std::pair("leaves", plan_.leaves), std::pair("cuts", plan_.cuts),
        std::pair("one-way cuts", plan_.one_way_cuts)})
    if (on) faults += fmt::format(" {},", name);
  return fmt::format("{} nodes, a fault every {} ms:{} loss {:.0f} %, duplicates {:.0f} %, stragglers {:.0f} %, {}",
                     plan_.nodes, std::chrono::duration_cast<std::chrono::milliseconds>(plan_.fault_gap).count(),
                     faults, 100 * plan_.loss, 100 * plan_.duplicate, 100 * plan_.stragglers,
                     plan_.persists_incarnation ? "incarnations persist" : "incarnations start at 1");
}

void MembershipSwarm::start() {
  for (NodeIndex node = 0; node < world_.size(); ++node) {
    world_.start(node, {0});
    world_.run_for(between(0ms, 50ms));
  }
}

Duration MembershipSwarm::between(Duration min, Duration max) {
  return min + Duration(random_.below(static_cast<std::uint64_t>((max - min).count()) + 1));
}

void MembershipSwarm::run_with_faults(Duration duration) {
  faulty_ = true;
  NetworkOptions& network = world_.network().options();
  network.loss = plan_.loss;
  network.duplicate = plan_.duplicate;
  network.straggler_share = plan_.stragglers;
  TimePoint end = world_.now() + duration;
  while (world_.now() < end) {
    world_.run_for(between(Duration{}, 2 * plan_.fault_gap));
    fault();
  }
}

void MembershipSwarm::fault() {
  switch (random_.below(7)) {
    case 0:
      if (plan_.kills) end_one(ProcessState::killed);
      break;
    case 1:
      if (plan_.power_cuts) end_one(ProcessState::host_off);
      break;
    case 2:
      if (plan_.pauses) pause_one();
      break;
    case 3:
      if (plan_.starvation) starve_one();
      break;
    case 4:
      if (plan_.leaves) leave_one();
      break;
    case 5:
      if (plan_.cuts) cut();
      break;
    default:
      if (auto node = pick_running(); node && plan_.one_way_cuts) {
        auto other = static_cast<NodeIndex>(random_.below(world_.size()));
        if (random_.below(4) == 0)
          random_.below(2) == 0 ? world_.network().deafen(*node) : world_.network().mute(*node);
        else if (other != *node)
          world_.network().cut_one_way(*node, other);
        world_.network_changed();
      }
  }
}

std::optional<NodeIndex> MembershipSwarm::pick_running() {
  std::vector<NodeIndex> running = world_.running_nodes();
  if (running.size() <= 2) return std::nullopt;
  return running[random_.below(running.size())];
}

void MembershipSwarm::end_one(ProcessState how) {
  auto node = pick_running();
  if (!node) return;
  how == ProcessState::killed ? world_.kill(*node) : world_.power_off(*node);
  restart_later(*node);
}

void MembershipSwarm::restart_later(NodeIndex node) {
  world_.at(world_.now() + between(100ms, 20s), [this, node] {
    if (faulty_) restart(node);
  });
}

void MembershipSwarm::restart(NodeIndex node) {
  ProcessState state = world_.state(node);
  if (state == ProcessState::running || state == ProcessState::paused) return;
  world_.restart(node, some_seeds());
}

// Any nodes, as somebody would write them who does not know which of them run; of two one is likely to.
std::vector<NodeIndex> MembershipSwarm::some_seeds() {
  std::vector<NodeIndex> seeds{0};
  for (int i = 0; i < 2; ++i) seeds.push_back(static_cast<NodeIndex>(random_.below(world_.size())));
  return seeds;
}

void MembershipSwarm::pause_one() {
  auto node = pick_running();
  if (!node) return;
  world_.pause(*node);
  std::uint32_t life = world_.life(*node);
  world_.at(world_.now() + between(50ms, 12s), [this, node = *node, life] {
    if (world_.state(node) == ProcessState::paused && world_.life(node) == life) world_.resume(node);
  });
}

void MembershipSwarm::starve_one() {
  if (auto node = pick_running()) starve_step(*node, world_.life(*node), world_.now() + between(1s, 20s));
}

// It gets the processor for a few milliseconds now and then.
void MembershipSwarm::starve_step(NodeIndex node, std::uint32_t life, TimePoint until) {
  if (!world_.running(node) || world_.life(node) != life || world_.now() >= until) return;
  world_.pause(node);
  world_.at(world_.now() + between(20ms, 900ms), [this, node, life, until] {
    if (world_.state(node) != ProcessState::paused || world_.life(node) != life) return;
    world_.resume(node);
    world_.at(world_.now() + between(1ms, 10ms), [this, node, life, until] { starve_step(node, life, until); });
  });
}

void MembershipSwarm::leave_one() {
  auto node = pick_running();
  if (!node) return;
  world_.leave(*node);
  restart_later(*node);
}

void MembershipSwarm::cut() {
  std::uint64_t groups = 2 + random_.below(2);
  std::vector<std::uint32_t> group_of;
  for (std::size_t i = 0; i < world_.size(); ++i) group_of.push_back(static_cast<std::uint32_t>(random_.below(groups)));
  world_.network().cut(std::move(group_of));
  world_.network_changed();
  world_.at(world_.now() + between(100ms, 40s), [this] {
    world_.network().heal();
    world_.network_changed();
  });
}

void MembershipSwarm::heal() {
  faulty_ = false;
  NetworkOptions& network = world_.network().options();
  network.loss = 0;
  network.duplicate = 0;
  network.straggler_share = 0;
  world_.network().heal();
  for (NodeIndex node = 0; node < world_.size(); ++node) {
    if (world_.state(node) == ProcessState::paused)
      world_.resume(node);
    else
      restart(node);
  }
  world_.network_changed();
}

}  // namespace sluice::sim
