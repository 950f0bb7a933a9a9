// Prints what membership does in simulated clusters of several sizes: how soon a death, a stop, a return and a join are known to
// all, how often a healthy node is accused wrongly, and what it costs to say nothing. docs/membership.md shows the table.
//
//   membership_report [--large] [--seed N]
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "sim/membership_checker.h"
#include "sim/membership_world.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

double milliseconds(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }
double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

struct Spread {
  std::vector<Duration> times;

  std::string text() {
    if (times.empty()) return "-";
    std::ranges::sort(times);
    auto at = [this](double share) {
      return milliseconds(times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))]);
    };
    return fmt::format("{:.0f} / {:.0f} / {:.0f}", at(0.5), at(0.99), at(1));
  }
};

/// When the others learn that one member is gone, or there.
class Stopwatch final : public Observer {
 public:
  void start(MembershipWorld& world, NodeIndex subject) {
    subject_ = world.id(subject);
    started_ = world.now();
    seen_ = 0;
  }
  void on_event(MembershipWorld& world, NodeIndex, const cluster::MembershipEvent& event) override {
    if (const auto* lost = std::get_if<cluster::MemberLost>(&event.what)) note(world, lost->member.id, gone);
    if (const auto* joined = std::get_if<cluster::MemberJoined>(&event.what)) note(world, joined->member.id, there);
  }
  std::size_t seen() const { return seen_; }

  Spread gone;
  Spread there;

 private:
  void note(MembershipWorld& world, const NodeId& id, Spread& spread) {
    if (id != subject_) return;
    ++seen_;
    spread.times.push_back(world.now() - started_);
  }
  NodeId subject_;
  TimePoint started_;
  std::size_t seen_ = 0;
};

struct Size {
  std::size_t nodes;
  int trials;
  Duration idle;
  Duration lossy;  // of each of the lossy runs
};

class Laboratory {
 public:
  Laboratory(const Size& size, std::uint64_t seed) : size_(size), world_({.seed = seed}) {
    world_.add_nodes(size.nodes);
    world_.start_converged();
    world_.observe(watch_);
    world_.run_for(3s);
  }
  MembershipWorld& world() { return world_; }

  double idle_bytes_per_second() {
    std::uint64_t before = world_.bytes_sent();
    world_.run_for(size_.idle);
    return static_cast<double>(world_.bytes_sent() - before) / seconds(size_.idle) / static_cast<double>(size_.nodes);
  }

  Spread killed() {
    return each_trial([&](NodeIndex node) {
      world_.kill(node);
      await_others(10s);
      world_.restart(node, {other_than(node)});
      settle();
    });
  }

  Spread stopped(Spread& back) {
    Spread gone = each_trial([&](NodeIndex node) {
      world_.pause(node);
      await_others(20s);
      world_.run_for(1s);
      Spread before = std::move(watch_.there);
      watch_.start(world_, node);
      world_.resume(node);
      await_others(10s);
      back.times.insert(back.times.end(), watch_.there.times.begin(), watch_.there.times.end());
      settle();
    });
    return gone;
  }

  Spread joined(Spread& complete) {
    Spread seen;
    for (int trial = 0; trial < size_.trials; ++trial) {
      NodeIndex node = world_.add_node();
      watch_.there.times.clear();
      watch_.start(world_, node);
      TimePoint start = world_.now();
      world_.start(node, {other_than(node)});
      world_.run_until([&] { return world_.membership(node).present_count() == world_.running_nodes().size(); }, 20s,
                       1ms);
      complete.times.push_back(world_.now() - start);
      await_others(10s);
      seen.times.insert(seen.times.end(), watch_.there.times.begin(), watch_.there.times.end());
      world_.run_for(1s);
    }
    return seen;
  }

 private:
  Spread each_trial(const std::function<void(NodeIndex)>& trial) {
    Spread all;
    for (int i = 0; i < size_.trials; ++i) {
      auto node = static_cast<NodeIndex>(world_.random().below(size_.nodes));
      watch_.gone.times.clear();
      watch_.start(world_, node);
      trial(node);
      all.times.insert(all.times.end(), watch_.gone.times.begin(), watch_.gone.times.end());
    }
    return all;
  }
  void await_others(Duration limit) {
    world_.run_until([&] { return watch_.seen() + 1 >= world_.running_nodes().size(); }, limit, 50ms);
  }
  void settle() { world_.run_for(2s); }
  NodeIndex other_than(NodeIndex node) { return node == 0 ? 1 : 0; }

  Size size_;
  MembershipWorld world_;
  Stopwatch watch_;
};

struct Accusations {
  double suspicions = 0;  // a node and hour
  double deaths = 0;
  double bytes = 0;
};

Accusations accuse(const Size& size, double loss, std::uint64_t seed) {
  MembershipWorld world({.seed = seed, .network = {.loss = loss}});
  MembershipChecker checker(world, {.settled = 0s});
  world.add_nodes(size.nodes);
  world.start_converged();
  world.run_for(size.lossy);
  double node_hours = static_cast<double>(size.nodes) * seconds(size.lossy) / 3600;
  return {static_cast<double>(checker.false_suspicions()) / node_hours,
          static_cast<double>(checker.false_deaths()) / node_hours,
          static_cast<double>(world.bytes_sent()) / seconds(size.lossy) / static_cast<double>(size.nodes)};
}

void report(const Size& size, std::uint64_t seed) {
  Laboratory laboratory(size, seed);
  double idle = laboratory.idle_bytes_per_second();
  Spread killed = laboratory.killed();
  Spread back;
  Spread stopped = laboratory.stopped(back);
  Spread complete;
  Spread joined = laboratory.joined(complete);
  fmt::print("| {} | {} | {} | {} | {} | {} | {:.0f} |\n", size.nodes, killed.text(), stopped.text(), back.text(),
             joined.text(), complete.text(), idle);
  std::fflush(stdout);
}

void report_loss(const Size& size, std::uint64_t seed) {
  fmt::print("| {} | {:.1f} |", size.nodes, static_cast<double>(size.nodes) * seconds(size.lossy) / 3600);
  for (double loss : {0.0, 0.05, 0.2}) {
    Accusations found = accuse(size, loss, seed);
    fmt::print(" {:.2f} / {:.2f} / {:.0f} |", found.suspicions, found.deaths, found.bytes);
    std::fflush(stdout);
  }
  fmt::print("\n");
}

int run(bool large, std::uint64_t seed) {
  std::vector<Size> sizes{{10, 50, 60s, 3600s}, {30, 50, 60s, 3600s}, {100, 30, 60s, 1200s}, {1000, 10, 20s, 120s}};
  if (large) sizes.push_back({10'000, 3, 5s, 15s});
  fmt::print("Simulated, seed {}. Times in ms: p50 / p99 / maximum, over all observers of all trials.\n\n", seed);
  fmt::print(
      "| nodes | killed, known | stopped, known | continued, known | join, known | list complete | idle B/s a node "
      "|\n");
  fmt::print("|---|---|---|---|---|---|---|\n");
  for (const Size& size : sizes) report(size, seed);
  fmt::print("\nWrong, a node and hour: suspicions / deaths / B/s a node, with so much of all datagrams lost.\n\n");
  fmt::print("| nodes | node-hours | 0 % | 5 % | 20 % |\n|---|---|---|---|---|\n");
  for (const Size& size : sizes) report_loss(size, seed);
  return 0;
}

}  // namespace
}  // namespace sluice::sim

int main(int argc, char** argv) {
  bool large = false;
  std::uint64_t seed = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--large")
      large = true;
    else if (std::string_view(argv[i]) == "--seed" && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else
      return std::fprintf(stderr, "usage: membership_report [--large] [--seed N]\n"), 2;
  }
  return sluice::sim::run(large, seed);
}
