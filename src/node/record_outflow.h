#pragma once
// The output of a stage whose records come one by one: framed, gathered into blocks, and written when there is room.
// Threading: belongs to one thread.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <string>
#include <string_view>

#include "link/local_stream.h"
#include "link/record_framing.h"

namespace sluice::node {

class RecordOutflow final {
 public:
  RecordOutflow(link::LocalStream into, link::RecordFraming framing) : into_(std::move(into)), framing_(framing) {}

  /// Appends the record as it stands in the stream. False: it holds the delimiter, and would be two.
  bool frame(std::string_view record, std::string& stream) const;
  /// Likewise, to what is to be written.
  bool put(std::string_view record) { return count(frame(record, block())); }
  /// What was framed before.
  void put_framed(std::string_view bytes) {
    block().append(bytes);
    count(true);
  }
  std::size_t waiting() const { return waiting_; }
  std::uint64_t written() const { return written_; }

  /// Writes what there is room for.
  link::LocalStream::Outcome write_some();
  /// Forgets what waits: nobody reads it.
  void drop();
  void close() { into_ = link::LocalStream(); }
  int descriptor() const { return into_.descriptor(); }

 private:
  // Records of a block that is written are gathered in the next one.
  static constexpr std::size_t kBlock = std::size_t{128} << 10;

  std::string& block();
  bool count(bool whole);

  link::LocalStream into_;
  link::RecordFraming framing_;
  std::deque<std::string> blocks_;
  std::string spare_;
  std::size_t at_ = 0;  // of the first block: written
  std::size_t waiting_ = 0;
  std::size_t block_size_ = 0;  // of the last one, as it was counted
  std::uint64_t written_ = 0;
  bool enlarged_ = false;
};

}  // namespace sluice::node
