#include "sim/map_driver.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using flow::AttemptEnd;
using link::RecordId;

constexpr RecordId kNoLimit = ~RecordId{0};
constexpr std::size_t kWindowBytes = 300;
constexpr std::size_t kAnswersKept = 4;
constexpr Duration kLookEvery = 20ms;
constexpr std::uint32_t kStallsMax = 3;

flow::MapWorkOptions work_options(const FlowStage& stage, const WorkLimits& limits) {
  return {.workers = stage.plan().workers,
          .retries = limits.retries,
          .buries = true,
          .waiting_bytes_max = stage.in.capacity_bytes(),
          .window_bytes = kWindowBytes,
          .part_max = limits.part_max,
          .backoff_first = kBackoffFirst,
          .backoff_max = kBackoffMax};
}

void say_kept(StageProcess& process) {
  for (std::string& answer : std::exchange(process.kept, {}))
    process.say(StageProcess::Said::What::answer, 0, std::move(answer));
}

}  // namespace

MapDriver::MapDriver(FlowCourse& course, FlowStage& stage, const WorkLimits& limits)
    : course_(course), stage_(stage), work_(work_options(stage, limits)), processes_(course, stage) {}

bool MapDriver::work() {
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

bool MapDriver::carry_out(std::uint32_t worker) {
  using Kind = flow::MapWork::Action::Kind;
  auto action = work_.poll(worker, kNoLimit, course_.now());
  if (action.kind == Kind::nothing) return false;
  if (action.kind == Kind::start) {
    processes_.start(worker);
    course_.at(course_.now() + kLookEvery, processes_.event(FlowEvent::Kind::look, worker));
  }
  if (action.kind == Kind::give) processes_.give(worker, action.batch);
  if (action.kind == Kind::close || action.ends) processes_[worker].told_end = true;
  read_on(worker);
  return true;
}

void MapDriver::stop() {
  processes_.stop();
  work_.stop();
}

// --- what its processes say ---------------------------------------------------------------------------------------

bool MapDriver::hear(std::uint32_t worker) {
  bool heard = processes_.hear(worker, [&](const StageProcess::Said& said) { take_answer(worker, said.text); });
  bool gone = processes_.gone(worker);
  if (gone) work_.on_ended(worker, processes_.remove(worker), course_.now());
  return heard || gone;
}

void MapDriver::take_answer(std::uint32_t worker, const std::string& answer) {
  auto answered = work_.on_answers(worker, 1, course_.now());
  if (!answered) return course_.violate(answered.error());
  if (processes_.settle(processes_[worker], answered->front().first) != answer)
    return course_.violate(fmt::format("the answer to {} was taken for that of another", answer));
  stage_.write(answer);
}

// As the shell of @map does it: one that has read everything and says nothing is given more, and at last its end.
void MapDriver::look(const FlowEvent& event, StageProcess& process) {
  auto worker = static_cast<std::uint32_t>(event.worker);
  bool stalls = !process.moved && process.inbox.empty() && process.busy == 0 && !process.hand.empty();
  process.moved = false;
  process.stalls = stalls ? process.stalls + 1 : 0;
  if (stalls && !work_.on_stalled(worker) && process.stalls > kStallsMax && work_.streaming(worker))
    work_.flush(worker);
  course_.at(course_.now() + kLookEvery, event);
}

// --- what its processes do ----------------------------------------------------------------------------------------

void MapDriver::on_event(const FlowEvent& event) {
  StageProcess* process = processes_.living(event);
  if (process == nullptr) return;
  if (event.kind == FlowEvent::Kind::look) return look(event, *process);
  if (event.kind != FlowEvent::Kind::done_with) return;
  if (auto workers = stage_.draw_scaling()) work_.set_workers(*workers);
  --process->busy;
  process->moved = true;
  finish(event, *process);
  read_on(event.worker);
}

void MapDriver::finish(const FlowEvent& event, StageProcess& process) {
  AttemptEnd::Kind end = stage_.draw_end(stage_.is_poison(event.text));
  if (end != AttemptEnd::Kind::succeeded) return processes_.end(process, end);
  process.kept.push_back(event.text);
  if (!stage_.plan().keeps_answers || process.kept.size() >= kAnswersKept) say_kept(process);
}

void MapDriver::read_on(std::size_t worker) {
  if (!processes_.read_on(worker, 1)) return;
  say_kept(processes_[worker]);
  processes_.end(processes_[worker], AttemptEnd::Kind::succeeded);
}

// --- checks -------------------------------------------------------------------------------------------------------

void MapDriver::check() const {
  for (std::uint32_t worker = 0; worker < processes_.size(); ++worker)
    if (processes_[worker].runs && work_.unanswered(worker) != processes_[worker].hand.size())
      course_.violate(fmt::format("{} miscounts what its worker {} has not answered", stage_.plan().name, worker));
  processes_.check(stage_.plan().workers * 2 * kWindowBytes);
}

}  // namespace sluice::sim
