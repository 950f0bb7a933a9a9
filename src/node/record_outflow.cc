#include "node/record_outflow.h"

#include <cstring>
#include <span>
#include <utility>

#include "link/large_pipes.h"

namespace sluice::node {
namespace {

constexpr std::size_t kPipes = 16;  // of a flow, which share what a user has for them

}  // namespace

using link::LocalStream;
using link::RecordFraming;

bool RecordOutflow::frame(std::string_view record, std::string& stream) const {
  switch (framing_) {
    case RecordFraming::lines:
    case RecordFraming::null: {
      char delimiter = framing_ == RecordFraming::lines ? '\n' : '\0';
      if (!record.empty() && std::memchr(record.data(), delimiter, record.size()) != nullptr) return false;
      stream.append(record);
      stream.push_back(delimiter);
      return true;
    }
    case RecordFraming::json:
      stream.append(record);
      stream.push_back('\n');
      return true;
    case RecordFraming::len:
      for (int shift = 24; shift >= 0; shift -= 8) stream.push_back(static_cast<char>(record.size() >> shift));
      stream.append(record);
      return true;
  }
  return false;
}

std::string& RecordOutflow::block() {
  if (blocks_.empty() || blocks_.back().size() >= kBlock) {
    blocks_.push_back(std::exchange(spare_, {}));
    blocks_.back().clear();
    if (blocks_.back().capacity() < kBlock) blocks_.back().reserve(kBlock + kBlock / 8);
    block_size_ = 0;
  }
  return blocks_.back();
}

bool RecordOutflow::count(bool whole) {
  std::size_t size = blocks_.back().size();
  waiting_ += size - block_size_;
  block_size_ = size;
  return whole;
}

LocalStream::Outcome RecordOutflow::write_some() {
  std::string& first = blocks_.front();
  std::string_view rest = std::string_view(first).substr(at_);
  auto outcome = into_.write_some(std::as_bytes(std::span(rest)));
  if (outcome.status != LocalStream::Status::moved) return outcome;
  at_ += outcome.bytes;
  waiting_ -= outcome.bytes;
  written_ += outcome.bytes;
  if (!enlarged_ && written_ > link::kMuch) {
    into_.enlarge(link::large_pipe(kPipes));
    enlarged_ = true;
  }
  if (at_ < first.size()) return outcome;
  at_ = 0;
  if (first.capacity() <= 2 * kBlock) spare_ = std::move(first);
  blocks_.pop_front();
  return outcome;
}

void RecordOutflow::drop() {
  blocks_.clear();
  waiting_ = at_ = block_size_ = 0;
}

}  // namespace sluice::node
