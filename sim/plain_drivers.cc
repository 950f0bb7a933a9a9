#include "sim/plain_drivers.h"

#include <algorithm>
#include <utility>

namespace sluice::sim {

// --- a tap --------------------------------------------------------------------------------------------------------

bool TapDriver::work() {
  if (busy_ || !stage_.writable()) return false;
  if (next_ > records_) return stage_.end_if(true);
  busy_ = true;
  course_.within(stage_.plan().service_time_max,
                 {.kind = FlowEvent::Kind::go_on, .stage = stage_.index(), .text = std::to_string(next_++) + ":"});
  return true;
}

void TapDriver::on_event(const FlowEvent& event) {
  busy_ = false;
  stage_.write(event.text);
}

// --- a sink -------------------------------------------------------------------------------------------------------

bool SinkDriver::work() {
  if (busy_) return false;
  auto record = stage_.take();
  if (!record) return stage_.end_if(stage_.in.ended);
  busy_ = true;
  course_.within(stage_.plan().service_time_max,
                 {.kind = FlowEvent::Kind::go_on, .stage = stage_.index(), .text = *std::move(record)});
  return true;
}

void SinkDriver::on_event(const FlowEvent&) {
  busy_ = false;
  std::uint64_t enough = stage_.plan().leaves_after;
  if (enough > 0 && stage_.taken().size() >= enough) stage_.leave();
}

// --- a merger -----------------------------------------------------------------------------------------------------

MergerDriver::MergerDriver(FlowCourse& course, FlowStage& stage, std::vector<std::size_t> feeders)
    : course_(course), stage_(stage), feeders_(std::move(feeders)) {}

bool MergerDriver::work() {
  if (held() >= stage_.plan().concurrency || !stage_.writable()) return false;
  auto text = stage_.take();
  if (!text) {
    if (stage_.in.ended && !held_.empty()) course_.violate("a merger lacks a copy of a record at its end");
    return stage_.end_if(stage_.in.ended);
  }
  std::string record = text->substr(0, text->find(':') + 1);
  std::string& marks = held_[record];
  marks.push_back(text->back());
  if (marks.size() < feeders_.size()) return true;
  stage_.write(record + marks);
  held_.erase(record);
  return true;
}

std::size_t MergerDriver::held() const {
  std::size_t held = 0;
  for (const auto& [record, marks] : held_) held += marks.size();
  return held;
}

std::optional<StageDriver::Full> MergerDriver::full() const {
  Full full{.held = held(), .held_max = stage_.plan().concurrency, .lacks = {}};
  if (full.held < full.held_max) return std::nullopt;
  for (std::size_t feeder : feeders_)
    if (std::ranges::any_of(held_, [&](const auto& one) { return !one.second.contains(FlowStage::mark(feeder)); }))
      full.lacks.push_back(feeder);
  return full;
}

}  // namespace sluice::sim
