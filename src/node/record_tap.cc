#include "node/record_tap.h"

#include <fmt/format.h>

#include <cstring>

namespace sluice::node {

using link::LocalStream;

RecordTap::Status RecordTap::read() {
  if (!why_.empty()) return Status::failed;
  if (!records_.empty()) return Status::moved;
  if (ended_) return Status::ended;
  auto outcome = from_.read_some(cutter_.room());
  in_background_ = outcome.status == LocalStream::Status::in_background;
  switch (outcome.status) {
    case LocalStream::Status::moved:
      bytes_ += outcome.bytes;
      return take(cutter_.on_bytes(outcome.bytes));
    case LocalStream::Status::ended:
      from_ = LocalStream();
      ended_ = true;
      return take(cutter_.on_end());
    case LocalStream::Status::failed:
      why_ = fmt::format("reading the records failed: {}", std::strerror(outcome.error));
      return Status::failed;
    case LocalStream::Status::would_block:
    case LocalStream::Status::in_background:
    case LocalStream::Status::reader_gone:
      break;
  }
  return Status::nothing;
}

RecordTap::Status RecordTap::take(std::expected<link::RecordBatch, std::string> batch) {
  if (!batch) {
    why_ = std::move(batch.error());
    return Status::failed;
  }
  records_ = *std::move(batch);
  return Status::moved;
}

void RecordTap::close() {
  from_ = LocalStream();
  records_ = {};
  ended_ = true;
}

}  // namespace sluice::node
