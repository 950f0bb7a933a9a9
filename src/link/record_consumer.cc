#include "link/record_consumer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// Credit and acknowledgements are said when this part of the window is free again: seldom, and before the producer has
// to wait.
constexpr std::uint64_t kUnsaidShare = 4;

}  // namespace

RecordConsumer::RecordConsumer(const RecordConsumerOptions& options)
    : options_(options),
      record_window_(options.records),
      byte_window_(options.bytes),
      decoder_(options.record_max, options.blocks) {
  REQUIRE(options.record_max < std::size_t{1} << 32);
}

// --- the connection -----------------------------------------------------------------------------------------------

void RecordConsumer::on_connected() {
  connected_ = true;
  said_ = Said();
  decoder_ = ProducerFrameDecoder(options_.record_max, options_.blocks);
  for (auto& [delivery, rejection] : rejected_) rejection.said = false;
}

void RecordConsumer::on_disconnected() { connected_ = false; }

std::expected<void, std::string> RecordConsumer::on_bytes(std::span<const std::byte> bytes, TimePoint now) {
  while (!cancelled_) {
    auto frame = decoder_.next(bytes);
    Checked checked;
    if (frame && !*frame) break;
    if (!frame) {
      checked = std::unexpected(frame.error());
    } else {
      checked = std::visit([&](auto&& one) { return on(std::move(one), now); }, **std::move(frame));
    }
    if (checked) continue;
    cancel(checked.error());
    return checked;
  }
  return {};
}

RecordConsumer::Checked RecordConsumer::on(RecordDelivery delivery, TimePoint now) {
  if (ended_) return std::unexpected("a delivery stands behind the end");
  if (auto credit = check_credit(delivery); !credit) return credit;
  received_ += delivery.batch.count();
  received_bytes_ += delivery.batch.size();
  if (idle_since_) {
    record_window_.on_idle(now - *idle_since_);
    byte_window_.on_idle(now - *idle_since_);
    idle_since_.reset();
  }
  if (delivery.starved.of_records) record_window_.on_starved();
  if (delivery.starved.of_bytes) byte_window_.on_starved();
  waiting_.push_back({.delivery = std::move(delivery), .received = now});
  return {};
}

RecordConsumer::Checked RecordConsumer::check_credit(const RecordDelivery& delivery) const {
  if (delivery.first != received_ + 1)
    return std::unexpected(fmt::format("delivery {} came where {} was expected", delivery.first, received_ + 1));
  if (received_ + delivery.batch.count() > granted_.deliveries)
    return std::unexpected("more records came than there was credit for");
  bool is_within = received_bytes_ + delivery.batch.size() <= granted_.bytes;
  // To the producer those that were sent back are settled, as soon as it knows.
  if (!is_within && (delivery.batch.count() > 1 || unsettled() > rejected_.size()))
    return std::unexpected("more bytes of records came than there was credit for");
  return {};
}

RecordConsumer::Checked RecordConsumer::on(const RecordNoted& noted, TimePoint now) {
  if (rejected_.erase(noted.delivery) > 0) {
    settle({.first = noted.delivery, .last = noted.delivery}, now);
    return {};
  }
  if (!settled_.contains(noted.delivery)) return std::unexpected("a record was noted that was not sent back");
  return {};
}

RecordConsumer::Checked RecordConsumer::on(const RecordEnd& end, TimePoint now) {
  if (end.deliveries != received_)
    return std::unexpected(fmt::format("the end says {} deliveries, and {} came", end.deliveries, received_));
  if (unsettled() > rejected_.size()) return std::unexpected("the end came before everything was acknowledged");
  // The producer noted these, and said so on a connection that broke.
  while (!rejected_.empty()) {
    DeliveryNumber delivery = rejected_.begin()->first;
    rejected_.erase(rejected_.begin());
    settle({.first = delivery, .last = delivery}, now);
  }
  ended_ = true;
  return {};
}

RecordConsumer::Checked RecordConsumer::on(const RecordCancel& cancel, TimePoint) {
  cancelled_ = cancel.reason;
  return {};
}

// --- what it says -------------------------------------------------------------------------------------------------

std::optional<std::string> RecordConsumer::poll_transmit(TimePoint now) {
  if (!connected_) return std::nullopt;
  if (!std::exchange(said_.attach, true)) return encode(RecordAttach{.next = received_ + 1});
  if (cancel_reason_) {
    // What is settled need not be done again by another.
    if (settled_.size() > said_.settled) return say_settled();
    if (std::exchange(said_.cancel, true)) return std::nullopt;
    return encode(RecordCancel{.reason = *cancel_reason_});
  }
  if (auto rejection = poll_rejection()) return rejection;
  if (ack_due(now)) return say_settled();
  if (auto credit = poll_credit()) return credit;
  if (said_.paused != paused_) {
    said_.paused = paused_;
    return paused_ ? encode(RecordPause{}) : encode(RecordResume{});
  }
  if (draining_ && !std::exchange(said_.drain, true)) return encode(RecordDrain{});
  if (ended_ && !std::exchange(said_.done, true)) return encode(RecordDone{.deliveries = received_});
  return std::nullopt;
}

std::string RecordConsumer::say_settled() {
  said_.settled = settled_.size();
  said_.settled_bytes = settled_bytes_;
  unsaid_since_.reset();
  return encode(RecordAck{.up_to = settled_.up_to(), .ranges = settled_.above(kAckRangesMax)});
}

std::optional<std::string> RecordConsumer::poll_rejection() {
  for (auto& [delivery, rejection] : rejected_)
    if (!std::exchange(rejection.said, true)) return encode(rejection.nack);
  return std::nullopt;
}

bool RecordConsumer::ack_due(TimePoint now) const {
  std::uint64_t records = settled_.size() - said_.settled;
  if (records == 0) return false;
  if (waiting_.empty() || said_.settled == 0) return true;
  if (records * kUnsaidShare >= record_window_.size()) return true;
  if ((settled_bytes_ - said_.settled_bytes) * kUnsaidShare >= byte_window_.size()) return true;
  return unsaid_since_ && now >= *unsaid_since_ + options_.ack_delay_max;
}

std::optional<TimePoint> RecordConsumer::poll_deadline() const {
  if (!connected_ || !unsaid_since_) return std::nullopt;
  return *unsaid_since_ + options_.ack_delay_max;
}

// With what is acknowledged, so that the producer never sees more credit than there is room for.
std::optional<std::string> RecordConsumer::poll_credit() {
  granted_.deliveries = std::max(granted_.deliveries, said_.settled + record_window_.size());
  granted_.bytes = std::max(granted_.bytes, said_.settled_bytes + byte_window_.size());
  if (said_.credit == granted_) return std::nullopt;
  said_.credit = granted_;
  return encode(granted_);
}

// --- the program --------------------------------------------------------------------------------------------------

std::optional<RecordDelivery> RecordConsumer::poll_delivery(const Limits& limits, TimePoint now) {
  REQUIRE(limits.records >= 1);
  if (waiting_.empty()) {
    if (received_ > 0 && !idle_since_) idle_since_ = now;
    return std::nullopt;
  }
  if (rejected_.size() >= options_.rejections_max) return std::nullopt;
  Waiting& next = waiting_.front();
  RecordDelivery delivery{.first = next.delivery.first,
                          .starved = next.delivery.starved,
                          .batch = next.delivery.batch.take_front(limits.records, limits.bytes)};
  next.delivery.first += delivery.batch.count();
  record_window_.on_taken(delivery.batch.count(), now - next.received, now);
  byte_window_.on_taken(delivery.batch.size(), now - next.received, now);
  if (next.delivery.batch.empty()) waiting_.pop_front();
  handed_up_to_ += delivery.batch.count();
  handed_.push_back(
      {.first = delivery.first, .last = handed_up_to_, .left = delivery.batch.count(), .bytes = delivery.batch.size()});
  return delivery;
}

void RecordConsumer::settle(DeliveryRange range, TimePoint now) {
  REQUIRE(range.last <= handed_up_to_);
  auto rejected = rejected_.lower_bound(range.first);
  REQUIRE(rejected == rejected_.end() || rejected->first > range.last);
  for (const DeliveryRange& part : settled_.add(range)) free_room(part);
  while (!handed_.empty() && handed_.front().left == 0) handed_.pop_front();
  if (settled_.size() > said_.settled && !unsaid_since_) unsaid_since_ = now;
}

void RecordConsumer::free_room(DeliveryRange part) {
  auto handed = std::prev(std::ranges::upper_bound(handed_, part.first, {}, &Handed::first));
  for (; handed != handed_.end() && handed->first <= part.last; ++handed) {
    handed->left -= std::min(part.last, handed->last) - std::max(part.first, handed->first) + 1;
    if (handed->left == 0) settled_bytes_ += handed->bytes;
  }
}

void RecordConsumer::reject(DeliveryNumber delivery, NackCause cause, std::string reason) {
  REQUIRE(delivery <= handed_up_to_);
  REQUIRE(!settled_.contains(delivery));
  auto [place, is_new] = rejected_.try_emplace(delivery);
  REQUIRE(is_new);
  place->second.nack = {.delivery = delivery, .cause = cause, .reason = std::move(reason)};
}

void RecordConsumer::cancel(std::string reason) {
  if (!cancel_reason_) cancel_reason_ = std::move(reason);
}

}  // namespace sluice::link
