#include "sim/flow_stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::sim {

using flow::AttemptEnd;

std::uint64_t number_of(const std::string& record) { return std::stoull(record); }

std::string without_end(std::string_view record) { return std::string(record.substr(0, record.size() - 1)); }

FlowStage::FlowStage(FlowCourse& course, const SimStage& plan, std::size_t index, std::size_t pipe_bytes)
    : in(pipe_bytes), out(pipe_bytes), course_(course), plan_(plan), index_(index) {}

// --- records ------------------------------------------------------------------------------------------------------

std::optional<std::string> FlowStage::take() {
  auto record = in.take();
  if (record && ++taken_[*record] > 1) course_.violate(fmt::format("{} was given {} twice", plan_.name, *record));
  return record;
}

void FlowStage::write(std::string record) {
  record.push_back(mark(index_));
  if (++written_[record] > 1) course_.violate(fmt::format("{} wrote {} twice", plan_.name, record));
  queue_bytes_ += record.size();
  queue_.push_back(std::move(record));
}

void FlowStage::bury(const std::string& record) {
  if (!buried_.insert(record).second) course_.violate(fmt::format("{} was buried twice", record));
}

bool FlowStage::flush() {
  bool moved = false;
  while (!queue_.empty() && out.has_room(queue_.front().size())) {
    queue_bytes_ -= queue_.front().size();
    out.put(std::move(queue_.front()));
    queue_.pop_front();
    moved = true;
  }
  if (over_ && queue_.empty() && !std::exchange(out.ended, true)) moved = true;
  return moved;
}

// --- its life -----------------------------------------------------------------------------------------------------

AttemptEnd::Kind FlowStage::draw_end(bool poisoned) {
  if (poisoned || course_.chance(plan_.deaths)) return AttemptEnd::Kind::lost;
  if (course_.chance(plan_.statuses)) return AttemptEnd::Kind::failed;
  return AttemptEnd::Kind::succeeded;
}

std::optional<std::uint32_t> FlowStage::draw_scaling() {
  if (!course_.chance(plan_.scalings)) return std::nullopt;
  return static_cast<std::uint32_t>(1 + course_.below(plan_.workers));
}

bool FlowStage::is_poison(const std::string& record) const {
  return plan_.poison > 0 && number_of(record) % plan_.poison == 0;
}

bool FlowStage::end_if(bool finished) {
  over_ = over_ || finished;
  return finished;
}

void FlowStage::leave() {
  over_ = left_ = in.no_reader = out.ended = true;
  queue_.clear();
  queue_bytes_ = 0;
  while (auto record = in.take()) lost_.insert(*std::move(record));
}

void FlowStage::go_on_at(std::optional<TimePoint> when) {
  if (!when || when == deadline_) return;
  deadline_ = when;
  course_.at(*when, {.kind = FlowEvent::Kind::go_on, .stage = index_});
}

// --- checks -------------------------------------------------------------------------------------------------------

void FlowStage::check() const {
  if (queue_bytes_ > out.capacity_bytes() + std::max(plan_.batch, 1u) * kRecordBytesMax)
    course_.violate(fmt::format("{} hoards what it has written", plan_.name));
}

std::string FlowStage::describe() const {
  return fmt::format("{} role {} over {} left {}: in {} (ended {}), taken {}, queue {}, out {}, written {}", plan_.name,
                     static_cast<int>(plan_.role), over_, left_, in.size(), in.ended, taken_.size(), queue_.size(),
                     out.size(), written_.size());
}

}  // namespace sluice::sim
