#include "link/record_junction.h"

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

LinkBacklog backlog_of(JunctionLink& link, const JunctionOptions& options) {
  if (link.slow == SlowRule::block) return LinkBacklog(link.slow, options.window_bytes);
  if (link.slow == SlowRule::drop) return LinkBacklog(link.slow, options.drop_window_bytes);
  REQUIRE(link.store != nullptr);
  return LinkBacklog(std::move(link.store), options.window_bytes);
}

}  // namespace

RecordAmount JunctionCounts::under_way() const {
  RecordAmount left = accepted;
  left -= delivered;
  left -= dropped;
  left -= forgotten;
  return left;
}

RecordJunction::RecordJunction(JunctionShape shape, const JunctionOptions& options)
    : options_(options), inputs_(shape.inputs.size()), outputs_(shape.outputs) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) inputs_[i].shares = shape.inputs[i].shares;
  for (JunctionLink& link : shape.links) {
    REQUIRE(link.input < inputs_.size());
    REQUIRE(link.output < outputs_.size());
    Input& input = inputs_[link.input];
    REQUIRE(!input.shares || link.slow == SlowRule::block);
    input.links.push_back(links_.size());
    ++input.open_links;
    outputs_[link.output].links.push_back(links_.size());
    links_.push_back({.input = link.input, .output = link.output, .backlog = backlog_of(link, options), .counts = {}});
  }
}

// --- inputs --------------------------------------------------------------------------------------------------------

bool RecordJunction::wants(std::size_t index) const {
  const Input& input = inputs_[index];
  if (input.ended || input.open_links == 0) return false;
  if (input.shares) return input.shared.bytes() < options_.shared_bytes_max;
  return std::ranges::all_of(input.links, [this](std::size_t number) {
    const Link& link = links_[number];
    return !is_open(link) || link.backlog.wants();
  });
}

std::expected<void, JunctionError> RecordJunction::on_batch(std::size_t index, RecordBatch batch) {
  REQUIRE(wants(index));
  if (batch.empty()) return {};
  Input& input = inputs_[index];
  if (input.shares) {
    input.shared.put(std::move(batch));
    return {};
  }
  for (std::size_t number : input.links) {
    Link& link = links_[number];
    if (!is_open(link)) continue;
    link.counts.accepted += amount_of(batch);
    auto dropped = link.backlog.put(batch);
    if (!dropped) return std::unexpected(JunctionError{.link = number, .why = std::move(dropped.error())});
    link.counts.dropped += *dropped;
    link.counts.spilled_most = link.backlog.spilled_most();
  }
  return {};
}

void RecordJunction::on_end(std::size_t input) { inputs_[input].ended = true; }

// --- outputs -------------------------------------------------------------------------------------------------------

bool RecordJunction::has_more(const Link& link) const {
  const Input& input = inputs_[link.input];
  return input.shares ? !input.shared.empty() : !link.backlog.empty();
}

std::expected<RecordBatch, std::string> RecordJunction::take(Link& link) {
  Input& input = inputs_[link.input];
  if (!input.shares) return link.backlog.take();
  ++input.in_hand;
  return input.shared.take(UINT32_MAX, outputs_[link.output].shared_max);
}

std::expected<const RecordJunction::Delivery*, JunctionError> RecordJunction::delivery(std::size_t index) {
  Output& output = outputs_[index];
  for (std::size_t i = 0; i < output.links.size() && !output.delivery && !output.gone; ++i) {
    std::size_t place = (output.turn + i) % output.links.size(), number = output.links[place];
    if (!has_more(links_[number])) continue;
    auto batch = take(links_[number]);
    if (!batch) return std::unexpected(JunctionError{.link = number, .why = std::move(batch.error())});
    output.turn = place + 1;
    output.delivery = Delivery{.link = number, .input = links_[number].input, .batch = *std::move(batch)};
  }
  return output.delivery ? &*output.delivery : nullptr;
}

void RecordJunction::on_written(std::size_t index) {
  Output& output = outputs_[index];
  REQUIRE(output.delivery.has_value());
  Link& link = links_[output.delivery->link];
  deliver(link, amount_of(output.delivery->batch));
  if (inputs_[link.input].shares) --inputs_[link.input].in_hand;
  output.delivery.reset();
}

void RecordJunction::on_reader_gone(std::size_t index, std::uint32_t begun) {
  Output& output = outputs_[index];
  REQUIRE(!output.gone);
  output.gone = true;
  if (auto delivery = std::exchange(output.delivery, std::nullopt)) {
    if (begun > 0) deliver(links_[delivery->link], amount_of(delivery->batch.take_front(begun)));
    Input& input = inputs_[delivery->input];
    if (input.shares) {
      --input.in_hand;
      if (!delivery->batch.empty()) input.shared.put(std::move(delivery->batch));
    }
  }
  for (std::size_t number : output.links) close(links_[number]);
}

void RecordJunction::deliver(Link& link, const RecordAmount& amount) {
  link.counts.delivered += amount;
  if (inputs_[link.input].shares) link.counts.accepted += amount;
}

void RecordJunction::close(Link& link) {
  link.counts.forgotten += link.counts.under_way();
  link.backlog.clear();
  Input& input = inputs_[link.input];
  --input.open_links;
  if (input.open_links == 0) input.shared = PendingRecords();
}

// Another output's reader may still go away and give back what it has in hand.
bool RecordJunction::over(std::size_t index) const {
  const Output& output = outputs_[index];
  if (output.gone || output.delivery) return false;
  return std::ranges::all_of(output.links, [this](std::size_t number) {
    const Input& input = inputs_[links_[number].input];
    return input.ended && input.in_hand == 0 && !has_more(links_[number]);
  });
}

bool RecordJunction::finished() const {
  for (std::size_t i = 0; i < outputs_.size(); ++i)
    if (!outputs_[i].gone && !over(i)) return false;
  return true;
}

bool RecordJunction::blocks(std::size_t number) const {
  const Link& link = links_[number];
  return is_open(link) && !inputs_[link.input].shares && !link.backlog.wants();
}

bool RecordJunction::idle(std::size_t number) const {
  const Link& link = links_[number];
  const auto& delivery = outputs_[link.output].delivery;
  return !has_more(link) && !(delivery && delivery->link == number);
}

JunctionCounts RecordJunction::counts(std::size_t link) const { return links_[link].counts; }

}  // namespace sluice::link
