#include "sim/each_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace sluice::sim {
namespace {

using flow::AttemptEnd;

constexpr std::size_t kHeldMax = 8;  // batches

flow::EachWorkOptions work_options(const SimStage& plan, const WorkLimits& limits) {
  return {.workers = plan.workers,
          .ordered = plan.ordered,
          .retries = limits.retries,
          .buries = true,
          .held_max = kHeldMax,
          .backoff_first = kBackoffFirst,
          .backoff_max = kBackoffMax};
}

}  // namespace

EachDriver::EachDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits)
    : course_(course), stage_(stage), work_(work_options(stage.plan(), limits)), processes_(stage.plan().workers) {}

bool EachDriver::work() {
  bool moved = feed();
  moved = start() || moved;
  moved = write() || moved;
  moved = bury_dead() || moved;
  if (work_.broken()) course_.violate(fmt::format("{} broke", stage_.plan().name));
  stage_.go_on_at(work_.poll_deadline());
  return stage_.end_if(work_.finished()) || moved;
}

bool EachDriver::feed() {
  bool moved = false;
  while (work_.wants_batch() && !stage_.in.empty()) {
    std::vector<std::string>& batch = unsettled_[next_];
    while (batch.size() < stage_.plan().batch && !stage_.in.empty()) batch.push_back(*stage_.take());
    work_.on_batch(next_++, std::nullopt);
    moved = true;
  }
  if (stage_.input_over() && !std::exchange(told_source_end_, true)) {
    work_.on_source_end();
    moved = true;
  }
  return moved;
}

bool EachDriver::start() {
  bool moved = false;
  while (auto start = work_.poll_start(course_.now())) {
    Process& process = processes_[start->worker];
    if (process.runs) course_.violate("a worker of @each was given a second process");
    process = {.runs = true, .life = process.life + 1};
    course_.within(stage_.plan().service_time_max, {.kind = FlowEvent::Kind::done_with,
                                                    .stage = stage_.index(),
                                                    .worker = start->worker,
                                                    .life = process.life,
                                                    .number = start->batch});
    moved = true;
  }
  return moved;
}

bool EachDriver::write() {
  bool moved = false;
  while (stage_.writable()) {
    auto batch = work_.poll_write();
    if (!batch) break;
    if (stage_.plan().ordered && *batch <= last_written_) course_.violate("@each @ordered wrote out of order");
    last_written_ = *batch;
    for (const std::string& record : unsettled_.at(*batch)) stage_.write(record);
    unsettled_.erase(*batch);
    work_.on_written(*batch);
    moved = true;
  }
  return moved;
}

bool EachDriver::bury_dead() {
  bool moved = false;
  while (auto dead = work_.poll_dead()) {
    for (const std::string& record : unsettled_.at(dead->batch)) stage_.bury(record);
    unsettled_.erase(dead->batch);
    work_.on_buried(dead->batch);
    moved = true;
  }
  return moved;
}

void EachDriver::on_event(const FlowEvent& event) {
  if (event.kind != FlowEvent::Kind::done_with) return;
  Process& process = processes_[event.worker];
  if (!process.runs || process.life != event.life) return;
  if (auto workers = stage_.draw_scaling()) work_.set_workers(*workers);
  bool poisoned = std::ranges::any_of(unsettled_.at(event.number),
                                      [&](const std::string& record) { return stage_.is_poison(record); });
  AttemptEnd::Kind end = stage_.draw_end(poisoned);
  process.runs = false;
  stage_.count_ended_process();
  work_.on_ended(event.number, {.kind = end, .status = {exec::ProcessStatus::exited(0)}, .why = {}}, course_.now());
}

void EachDriver::stop() {
  processes_.assign(processes_.size(), {});
  work_.stop();
}

void EachDriver::check() const {
  const std::string& name = stage_.plan().name;
  auto running = static_cast<std::size_t>(std::ranges::count_if(processes_, &Process::runs));
  if (running > unsettled_.size()) course_.violate(fmt::format("more is in the hands of {} than it has taken", name));
  if (unsettled_.size() > kHeldMax) course_.violate(fmt::format("{} holds more batches than it may", name));
}

std::string EachDriver::describe() const {
  return fmt::format(", has {} batches; {} processes run", unsettled_.size(),
                     std::ranges::count_if(processes_, &Process::runs));
}

}  // namespace sluice::sim
