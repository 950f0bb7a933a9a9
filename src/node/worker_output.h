#pragma once
// The output of a stage of workers: what they wrote for records that are done, on its way to the stage's reader; with
// @ordered in the order of the records, else as it comes.
// Threading: belongs to one thread.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flow/unsettled_outputs.h"
#include "link/local_stream.h"
#include "link/record_framing.h"
#include "link/record_order.h"
#include "link/worker_frames.h"
#include "node/record_outflow.h"

namespace sluice::node {

class WorkerOutput final {
 public:
  WorkerOutput(link::LocalStream into, link::RecordFraming framing, bool ordered)
      : outflow_(std::move(into), framing), framing_(framing), ordered_(ordered) {}

  /// So many records went on. Errors: a sentence; one of them holds what ends a record of the stage.
  using Passed = std::expected<std::uint64_t, std::string>;
  /// What belongs to no record goes on at once.
  Passed put(std::string_view record);
  /// These are done; `outputs` has what was written for them. Requires: the ranges are in order.
  Passed settle(flow::UnsettledOutputs& outputs, std::span<const link::WorkerRange> ranges);
  /// Nothing comes for that record.
  void skip(link::RecordId record);

  /// So much waits that nothing should be added.
  bool full() const { return outflow_.waiting() > kWaitingMax; }
  /// So much waits for its turn that no record above this one should be begun.
  link::RecordId limit() const { return order_.bytes() > kOrderMax ? order_.next() : ~link::RecordId{0}; }
  RecordOutflow& stream() { return outflow_; }
  const RecordOutflow& stream() const { return outflow_; }

 private:
  static constexpr std::size_t kWaitingMax = std::size_t{512} << 10, kOrderMax = std::size_t{8} << 20;

  Passed settle_in_order(flow::UnsettledOutputs& outputs, std::span<const link::WorkerRange> ranges);
  void put_out();
  std::unexpected<std::string> holds_delimiter() const;

  RecordOutflow outflow_;
  link::RecordFraming framing_;
  bool ordered_;
  link::RecordOrder order_;
};

}  // namespace sluice::node
