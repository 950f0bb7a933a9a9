#include "link/record_supply.h"

#include <utility>

#include "base/require.h"
#include "link/record_supply_pump.h"

namespace sluice::link {

RecordSupply::RecordSupply(std::shared_ptr<RecordSupplyCore> core, std::weak_ptr<RecordSupplyPump> pump,
                           std::optional<LoopMailbox> loop)
    : core_(std::move(core)), pump_(std::move(pump)), loop_(std::move(loop)) {}

RecordSupply& RecordSupply::operator=(RecordSupply&& other) noexcept {
  if (this == &other) return *this;
  drop();
  core_ = std::move(other.core_);
  pump_ = std::move(other.pump_);
  loop_ = std::move(other.loop_);
  return *this;
}

RecordSupply::~RecordSupply() { drop(); }

void RecordSupply::drop() {
  if (!core_) return;
  core_->dropped = true;
  cancel("nobody waits for the link any more");
  core_.reset();
}

template <class Work>
void RecordSupply::post(Work work) const {
  if (!loop_) return;
  loop_->post([pump = pump_, work = std::move(work)]() mutable {
    if (auto running = pump.lock()) work(*running);
  });
}

void RecordSupply::connect(ConsumerNumber consumer, std::uint32_t generation, net::Connection::Parts parts) {
  post([=, parts = std::move(parts)](RecordSupplyPump& pump) mutable {
    pump.connect(consumer, generation, std::move(parts));
  });
}

void RecordSupply::lose(ConsumerNumber consumer, std::string reason) {
  post([=, reason = std::move(reason)](RecordSupplyPump& pump) mutable { pump.lose(consumer, std::move(reason)); });
}

void RecordSupply::retry(RecordBatch record) {
  post([record = std::move(record)](RecordSupplyPump& pump) mutable { pump.retry(std::move(record)); });
}

void RecordSupply::bury(RecordBatch record) {
  post([record = std::move(record)](RecordSupplyPump& pump) { pump.bury(record); });
}

void RecordSupply::cancel(std::string reason) {
  post([reason = std::move(reason)](RecordSupplyPump& pump) { pump.cancel(reason); });
}

RecordSupply::Progress RecordSupply::progress() const {
  return {.accepted = core_->accepted.load(std::memory_order_relaxed),
          .acknowledged = core_->acknowledged.load(std::memory_order_relaxed),
          .waiting_bytes = core_->waiting_bytes.load(std::memory_order_relaxed)};
}

RecordSupply start_supply(DataLoops& loops, std::unique_ptr<RecordSource> source, RecordSupplyOptions options,
                          RecordSupplyCallbacks callbacks) {
  REQUIRE(source != nullptr);
  REQUIRE(callbacks.on_end != nullptr);
  auto core = std::make_shared<RecordSupplyCore>(options.owner, std::move(callbacks));
  auto seat = loops.take_seat();
  if (!seat) {
    post_end(core, {.kind = RecordSupplyEnd::Kind::failed_local, .message = why_no_seat(seat.error()), .counts = {}});
    return RecordSupply(std::move(core), {}, std::nullopt);
  }
  auto loop = seat->mailbox();
  auto pump = std::make_shared<RecordSupplyPump>(*std::move(seat), core, options, std::move(source));
  std::weak_ptr<RecordSupplyPump> handle = pump;
  // The loop alone destroys it, with its source.
  loop.post([pump = std::move(pump)] { pump->start(); });
  return RecordSupply(std::move(core), std::move(handle), loop);
}

}  // namespace sluice::link
