#include "sim/flow_world_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/draws.h"

namespace sluice::sim {

std::vector<std::size_t> feeders(const FlowWorldOptions& options, std::size_t stage) {
  std::vector<std::size_t> found;
  for (const SimLink& link : options.links)
    if (link.to == stage) found.push_back(link.from);
  return found;
}

FlowWorldOptions flow_swarm_options(std::uint64_t seed) {
  Draws draws(seed ^ 0xf10e);
  FlowWorldOptions options{.seed = seed, .records = 1 + draws.below(100), .stages = {}, .links = {}, .junction = {}};
  options.pipe_bytes = 1 + draws.below(100);
  options.junction = {.window_bytes = 1 + draws.below(600),
                      .drop_window_bytes = 200 + draws.below(600),
                      .shared_bytes_max = 1 + draws.below(100)};
  std::size_t between = 1 + draws.below(4), sinks = 1 + draws.below(2), count = 1 + between + sinks;
  for (std::size_t i = 0; i < count; ++i) {
    SimStage stage{.name = fmt::format("s{}", i)};
    stage.role = i == 0                ? Role::tap
                 : i > between         ? Role::sink
                 : draws.below(3) == 0 ? Role::map
                 : draws.below(2) == 0 ? Role::each
                                       : Role::worker;
    stage.shares = draws.below(3) == 0;
    stage.workers = static_cast<std::uint32_t>(1 + draws.below(3));
    stage.concurrency = static_cast<std::uint32_t>(1 + draws.below(4));
    stage.batch = static_cast<std::uint32_t>(1 + draws.below(3));
    stage.ordered = draws.below(2) == 0;
    stage.keeps_answers = draws.below(3) == 0;
    stage.service_time_max = std::chrono::microseconds(1 + draws.below(5000));
    if (stage.role == Role::sink && draws.below(4) == 0) stage.leaves_after = 1 + draws.below(options.records);
    stage.deaths = draws.maybe(0.1);
    stage.statuses = draws.maybe(0.05);
    stage.failures = draws.maybe(0.1);
    stage.garbage = draws.maybe(0.03);
    stage.leaves = draws.maybe(0.1);
    stage.scalings = draws.maybe(0.2);
    options.stages.push_back(std::move(stage));
  }
  // Everything is read by something behind it, and everything but the tap reads.
  auto add = [&](std::size_t from, std::size_t to) {
    for (const SimLink& link : options.links)
      if (link.from == from && link.to == to) return;
    auto slow = static_cast<link::SlowRule>(options.stages[from].shares ? 0 : draws.below(3));
    options.links.push_back({.from = from, .to = to, .slow = slow, .spill_bytes = 1 + draws.below(2000)});
  };
  for (std::size_t i = 1; i < count; ++i) add(draws.below(std::min(i, between + 1)), i);
  for (std::size_t i = 0; i <= between; ++i) {
    std::uint64_t more = 1 + draws.below(2);
    for (std::uint64_t link = 0; link < more; ++link) add(i, i + 1 + draws.below(count - i - 1));
  }
  return options;
}

}  // namespace sluice::sim
