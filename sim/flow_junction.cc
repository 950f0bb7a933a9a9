#include "sim/flow_junction.h"

#include <fmt/format.h>

#include <algorithm>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::sim {
namespace {

using link::RecordBatch;
using link::RecordId;

constexpr std::size_t kBatchRecords = 3;  // that are taken from a pipe at once

}  // namespace

// Where a link spills to.
class FlowJunction::Store final : public link::SpillStore {
 public:
  explicit Store(std::uint64_t capacity) : capacity_(capacity) {}
  std::uint64_t capacity() const override { return capacity_; }
  std::uint64_t size() const override { return bytes_.size(); }
  std::expected<void, std::string> append(std::string_view bytes) override {
    if (bytes.size() > room()) return std::unexpected("more was spilled than there is room for");
    bytes_.append(bytes);
    return {};
  }
  std::expected<void, std::string> take(std::span<char> into) override {
    if (into.size() > bytes_.size()) return std::unexpected("more was taken than was spilled");
    std::ranges::copy_n(bytes_.begin(), static_cast<std::ptrdiff_t>(into.size()), into.begin());
    bytes_.erase(0, into.size());
    return {};
  }

 private:
  std::uint64_t capacity_;
  std::string bytes_;
};

FlowJunction::FlowJunction(FlowCourse& course, const FlowWorldOptions& options)
    : course_(course), options_(options), ends_(options.stages.size()), delivered_(options.links.size()) {
  link::JunctionShape shape;
  for (const SimLink& link : options.links) {
    auto& input = ends_[link.from].input;
    auto& output = ends_[link.to].output;
    if (!input) {
      input = shape.inputs.size();
      shape.inputs.push_back({.shares = options.stages[link.from].shares});
    }
    if (!output) output = shape.outputs++;
    link::JunctionLink made{.input = *input, .output = *output, .slow = link.slow};
    if (link.slow == link::SlowRule::spill) made.store = std::make_unique<Store>(link.spill_bytes);
    shape.links.push_back(std::move(made));
  }
  machine_ = std::make_unique<link::RecordJunction>(std::move(shape), options.junction);
}

void FlowJunction::set_shared_delivery_max(std::size_t stage, std::size_t bytes) {
  machine_->set_shared_delivery_max(*ends_[stage].output, bytes);
}

// --- out of a stage -----------------------------------------------------------------------------------------------

bool FlowJunction::read_from(FlowStage& stage) {
  Ends& ends = ends_[stage.index()];
  std::size_t input = *ends.input;
  bool moved = false;
  while (machine_->wants(input) && !stage.out.empty()) {
    std::string block;
    for (std::size_t i = 0; i < kBatchRecords && !stage.out.empty(); ++i) block += *stage.out.take() + "\n";
    RecordBatch batch = RecordBatch::of_delimited(ends.next_id, '\n', std::move(block)).value();
    ends.next_id = batch.last() + 1;
    if (auto put = machine_->on_batch(input, std::move(batch)); !put) course_.violate(put.error().why);
    moved = true;
  }
  if (machine_->unread(input) && !std::exchange(stage.out.no_reader, true)) moved = true;
  if (stage.out.ended && stage.out.empty() && !std::exchange(ends.told_end, true)) {
    machine_->on_end(input);
    moved = true;
  }
  return moved;
}

// --- into a stage -------------------------------------------------------------------------------------------------

bool FlowJunction::write_to(FlowStage& stage) {
  Ends& ends = ends_[stage.index()];
  std::size_t output = *ends.output;
  if (machine_->reader_gone(output) || stage.in.ended) return false;
  bool moved = false;
  while (true) {
    auto delivery = machine_->delivery(output);
    if (!delivery) course_.violate(delivery.error().why);
    if (!delivery || *delivery == nullptr) break;
    const RecordBatch& batch = (*delivery)->batch;
    moved = hand_over(stage, batch) || moved;
    if (ends.handed_over < batch.count()) break;
    check_order((*delivery)->link, batch);
    machine_->on_written(output);
    ends.handed_over = 0;
  }
  if (stage.in.no_reader) {
    machine_->on_reader_gone(output, ends.handed_over);
    return true;
  }
  if (!machine_->over(output)) return moved;
  return stage.in.ended = true;
}

// As much of it as the pipe takes.
bool FlowJunction::hand_over(FlowStage& stage, const RecordBatch& batch) {
  std::uint32_t& handed_over = ends_[stage.index()].handed_over;
  std::uint32_t at = 0, before = handed_over;
  for_each_record(batch, [&](RecordId, std::string_view record) {
    if (at++ != handed_over || stage.in.no_reader || !stage.in.has_room(record.size() - 1)) return;
    stage.in.put(without_end(record));
    ++handed_over;
  });
  return handed_over > before;
}

void FlowJunction::check_order(std::size_t link, const RecordBatch& batch) {
  RecordId before = std::exchange(delivered_[link], batch.last());
  if (batch.first() <= before && !options_.stages[options_.links[link].from].shares)
    course_.violate(fmt::format("link {} leads records out of their order", link));
}

}  // namespace sluice::sim
