#include "sim/worker_driver.h"

#include <fmt/format.h>

#include <span>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using flow::AttemptEnd;
using link::RecordId;
using What = StageProcess::Said::What;

constexpr RecordId kNoLimit = ~RecordId{0};
constexpr std::uint32_t kExtraCredit = 4;  // that a worker grants beyond what it works on
constexpr Duration kHelloMax = 3ms;

flow::WorkerWorkOptions work_options(const FlowStage& stage, const WorkLimits& limits) {
  const SimStage& plan = stage.plan();
  return {.workers = plan.workers,
          .retries = limits.retries,
          .buries = true,
          .restart = plan.leaves > 0 ? flow::Restart::always : flow::Restart::on_failure,
          .waiting_bytes_max = stage.in.capacity_bytes(),
          .part_max = limits.part_max,
          .endings_max = 1'000'000,
          .backoff_first = kBackoffFirst,
          .backoff_max = kBackoffMax};
}

}  // namespace

WorkerDriver::WorkerDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits)
    : course_(course), stage_(stage), work_(work_options(stage, limits)), processes_(course, stage) {}

bool WorkerDriver::work() {
  bool moved = processes_.feed(work_);
  for (std::uint32_t worker = 0; worker < processes_.size(); ++worker) {
    moved = hear(worker) || moved;
    while (carry_out(worker)) moved = true;
  }
  moved = processes_.bury_dead(work_) || moved;
  if (work_.broken()) course_.violate(fmt::format("{} broke", stage_.plan().name));
  stage_.go_on_at(work_.poll_deadline());
  return stage_.end_if(work_.finished()) || moved;
}

bool WorkerDriver::carry_out(std::uint32_t worker) {
  using Kind = flow::WorkerWork::Action::Kind;
  auto action = work_.poll(worker, kNoLimit, course_.now());
  StageProcess& process = processes_[worker];
  switch (action.kind) {
    case Kind::nothing:
      return false;
    case Kind::start:
      processes_.start(worker);
      course_.within(kHelloMax, processes_.event(FlowEvent::Kind::hello, worker));
      break;
    case Kind::give:
      processes_.give(worker, action.batch);
      if (process.hand.size() > stage_.plan().concurrency + kExtraCredit)
        course_.violate("a worker was given more than it has granted");
      break;
    case Kind::end:
      process.told_end = true;
      break;
    case Kind::kill:
      process.said.clear();
      processes_.end(process, AttemptEnd::Kind::lost);
      remove(worker);
      break;
  }
  read_on(worker);
  return true;
}

void WorkerDriver::remove(std::uint32_t worker) { work_.on_ended(worker, processes_.remove(worker), course_.now()); }

void WorkerDriver::stop() {
  processes_.stop();
  work_.stop();
}

// --- what its processes say ---------------------------------------------------------------------------------------

bool WorkerDriver::hear(std::uint32_t worker) {
  bool heard = processes_.hear(worker, [&](const StageProcess::Said& said) {
    if (auto taken = take(worker, said); !taken) course_.violate(taken.error());
  });
  bool gone = processes_.gone(worker);
  if (gone) remove(worker);
  return heard || gone;
}

flow::WorkerWork::Outcome WorkerDriver::take(std::uint32_t worker, const StageProcess::Said& said) {
  StageProcess& process = processes_[worker];
  std::uint32_t concurrency = stage_.plan().concurrency;
  switch (said.what) {
    case What::hello: {
      auto taken = work_.on_hello(worker, {.concurrency = concurrency, .role = {}, .library = {}});
      if (!taken) return taken;
      return work_.on_credit(worker,
                             {.concurrency = concurrency, .records = concurrency + kExtraCredit, .bytes = 1 << 20});
    }
    case What::output: {
      auto taken = work_.may_write(worker, said.id);
      if (taken) process.outputs.put(said.id, said.text);
      return taken;
    }
    case What::done: {
      link::WorkerRange range{.first = said.id, .count = 1};
      auto taken = work_.on_done(worker, range, course_.now());
      process.outputs.settle(std::span(&range, 1),
                             [&](RecordId, std::string_view record) { stage_.write(std::string(record)); });
      processes_.settle(process, said.id);
      return taken;
    }
    case What::fail:
      process.outputs.drop(said.id);
      process.hand.erase(said.id);
      return work_.on_failed(worker, {.record = said.id, .reason = "drawn"}, course_.now());
    case What::leave:
      return work_.on_leave(worker);
    case What::finished:
      return work_.on_finished(worker);
    case What::garbage:
      work_.doom(worker, "it wrote garbage");
      process.said.clear();
      return {};
    case What::answer:
      return std::unexpected("a worker says what only a process of @map does");
  }
  return {};
}

// --- what its processes do ----------------------------------------------------------------------------------------

void WorkerDriver::on_event(const FlowEvent& event) {
  StageProcess* process = processes_.living(event);
  if (process == nullptr) return;
  if (event.kind == FlowEvent::Kind::hello) process->say(What::hello);
  if (event.kind != FlowEvent::Kind::done_with) return;
  if (auto workers = stage_.draw_scaling()) work_.set_workers(*workers);
  --process->busy;
  finish(event, *process);
  read_on(event.worker);
}

void WorkerDriver::read_on(std::size_t worker) {
  if (!processes_.read_on(worker, stage_.plan().concurrency)) return;
  processes_[worker].say(What::finished);
  processes_.end(processes_[worker], AttemptEnd::Kind::succeeded);
}

// It is done with a record, one way or another.
void WorkerDriver::finish(const FlowEvent& event, StageProcess& process) {
  const SimStage& plan = stage_.plan();
  // What it wrote for a record that it does not settle must not go on.
  bool writes_early = course_.below(2) == 0;
  if (writes_early) process.say(What::output, event.number, event.text);
  AttemptEnd::Kind end = stage_.draw_end(stage_.is_poison(event.text));
  if (end != AttemptEnd::Kind::succeeded) return processes_.end(process, end);
  if (course_.chance(plan.garbage)) return process.say(What::garbage);
  if (course_.chance(plan.failures)) return process.say(What::fail, event.number);
  if (!writes_early) process.say(What::output, event.number, event.text);
  process.say(What::done, event.number);
  if (process.told_end || process.leaves || !course_.chance(plan.leaves)) return;
  process.leaves = true;
  process.say(What::leave);
}

// --- checks -------------------------------------------------------------------------------------------------------

void WorkerDriver::check() const {
  const SimStage& plan = stage_.plan();
  for (std::uint32_t worker = 0; worker < processes_.size(); ++worker)
    if (processes_[worker].runs && work_.in_hand(worker) != processes_[worker].hand.size())
      course_.violate(fmt::format("{} miscounts what its worker {} has in hand", plan.name, worker));
  processes_.check(plan.workers * (plan.concurrency + kExtraCredit) * kRecordBytesMax);
}

}  // namespace sluice::sim
