#include "node/worker_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace sluice::node {

using link::RecordBatch;
using link::RecordId;
using link::WorkerRange;

WorkerOutput::Passed WorkerOutput::put(std::string_view record) {
  if (!outflow_.put(record)) return holds_delimiter();
  return 1;
}

WorkerOutput::Passed WorkerOutput::settle(flow::UnsettledOutputs& outputs, std::span<const WorkerRange> ranges) {
  if (ordered_) return settle_in_order(outputs, ranges);
  std::uint64_t passed = 0;
  bool whole = true;
  outputs.settle(ranges, [&](RecordId, std::string_view record) {
    ++passed;
    whole = outflow_.put(record) && whole;
  });
  if (!whole) return holds_delimiter();
  return passed;
}

// What was written for one record is one piece in the order, since it may be many records, or none.
WorkerOutput::Passed WorkerOutput::settle_in_order(flow::UnsettledOutputs& outputs,
                                                   std::span<const WorkerRange> ranges) {
  std::uint64_t passed = 0;
  bool whole = true;
  std::map<RecordId, std::string> framed;
  outputs.settle(ranges, [&](RecordId id, std::string_view record) {
    ++passed;
    whole = outflow_.frame(record, framed[id]) && whole;
  });
  if (!whole) return holds_delimiter();
  auto piece = framed.begin();
  for (const WorkerRange& range : ranges) {
    RecordId at = range.first;
    const RecordId end = range.first + range.count;
    while (at < end) {
      RecordId next = piece != framed.end() ? std::min(piece->first, end) : end;
      if (next > at) order_.skip(at, static_cast<std::uint32_t>(next - at));
      at = next;
      if (at == end) break;
      auto size = static_cast<std::uint32_t>(piece->second.size());
      order_.put(at++, RecordBatch::of_sized(piece->first, std::span(&size, 1), piece->second));
      ++piece;
    }
  }
  put_out();
  return passed;
}

void WorkerOutput::skip(RecordId record) {
  if (!ordered_) return;
  order_.skip(record, 1);
  put_out();
}

void WorkerOutput::put_out() {
  while (auto batch = order_.poll()) outflow_.put_framed(batch->bytes());
}

std::unexpected<std::string> WorkerOutput::holds_delimiter() const {
  return std::unexpected(
      fmt::format("wrote a record that holds {}, which ends a record of this stage; 'framing: len' takes any",
                  framing_ == link::RecordFraming::null ? "a zero byte" : "a line end"));
}

}  // namespace sluice::node
