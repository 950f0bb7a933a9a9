#include "sim/flow_world.h"

#include <algorithm>
#include <utility>

#include "sim/each_driver.h"
#include "sim/flow_account.h"
#include "sim/flow_standstill.h"
#include "sim/map_driver.h"
#include "sim/plain_drivers.h"
#include "sim/worker_driver.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kStandstill = 10s;

}  // namespace

FlowWorld::FlowWorld(FlowWorldOptions options)
    : options_(std::move(options)), course_(options_.seed), junction_(course_, options_) {
  for (std::size_t index = 0; index < options_.stages.size(); ++index) {
    FlowStage& stage = stages_.emplace_back(course_, options_.stages[index], index, options_.pipe_bytes);
    if (junction_.writes_to(index)) junction_.set_shared_delivery_max(index, 1 + course_.below(60));
    drivers_.push_back(make_driver(stage));
  }
  moved_at_ = course_.now();
  settle_world();
}

std::unique_ptr<StageDriver> FlowWorld::make_driver(FlowStage& stage) {
  WorkLimits limits{.retries = static_cast<std::uint32_t>(course_.below(3)),
                    .part_max = static_cast<std::uint32_t>(1 + course_.below(4))};
  switch (stage.plan().role) {
    case Role::tap:
      return std::make_unique<TapDriver>(course_, stage, options_.records);
    case Role::worker:
      return std::make_unique<WorkerDriver>(course_, stage, limits);
    case Role::map:
      return std::make_unique<MapDriver>(course_, stage, limits);
    case Role::each:
      return std::make_unique<EachDriver>(course_, stage, limits);
    case Role::merger:
      return std::make_unique<MergerDriver>(course_, stage, feeders(options_, stage.index()));
    case Role::sink:
      return std::make_unique<SinkDriver>(course_, stage);
  }
  return nullptr;
}

// --- time ---------------------------------------------------------------------------------------------------------

void FlowWorld::run_for(Duration duration) {
  TimePoint until = course_.now() + duration;
  FlowEvent event;
  while (!finished() && course_.take(until, event)) process(event);
}

void FlowWorld::run() {
  FlowEvent event;
  while (!finished() && standstill_.empty()) {
    if (course_.take(moved_at_ + kStandstill, event)) {
      process(event);
      continue;
    }
    standstill_ = find_cycle(options_, stages_, drivers_);
    if (standstill_.empty()) standstill_ = "nothing moves, and no stages wait for each other" + describe();
  }
}

void FlowWorld::process(const FlowEvent& event) {
  drivers_[event.stage]->on_event(event);
  settle_world();
  check();
}

void FlowWorld::settle_world() {
  bool any = true;
  while (any) {
    any = false;
    for (FlowStage& stage : stages_) {
      std::size_t index = stage.index();
      if (junction_.writes_to(index)) any = junction_.write_to(stage) || any;
      if (!stage.over()) any = drivers_[index]->work() || any;
      if (!junction_.reads_from(index)) continue;
      any = flush(stage) || any;
      any = junction_.read_from(stage) || any;
    }
    if (any) moved_at_ = course_.now();
  }
}

bool FlowWorld::flush(FlowStage& stage) {
  if (!stage.out.no_reader) return stage.flush();
  if (stage.over() && stage.all_flushed()) return false;
  stage.leave();
  drivers_[stage.index()]->stop();
  return true;
}

bool FlowWorld::finished() const {
  return std::ranges::all_of(stages_, [](const FlowStage& stage) { return stage.over() && stage.all_flushed(); });
}

// --- checks -------------------------------------------------------------------------------------------------------

void FlowWorld::check() const {
  for (const FlowStage& stage : stages_) {
    if (stage.over()) continue;
    stage.check();
    drivers_[stage.index()]->check();
  }
}

std::vector<std::string> FlowWorld::unaccounted() const { return find_unaccounted(options_, stages_, junction_); }

std::set<std::uint64_t> FlowWorld::buried() const {
  std::set<std::uint64_t> numbers;
  for (const FlowStage& stage : stages_)
    for (const std::string& record : stage.buried()) numbers.insert(number_of(record));
  return numbers;
}

std::uint64_t FlowWorld::processes_ended() const {
  std::uint64_t ended = 0;
  for (const FlowStage& stage : stages_) ended += stage.processes_ended();
  return ended;
}

std::string FlowWorld::describe() const {
  std::string text;
  for (const FlowStage& stage : stages_) text += "\n  " + stage.describe() + drivers_[stage.index()]->describe();
  return text;
}

}  // namespace sluice::sim
