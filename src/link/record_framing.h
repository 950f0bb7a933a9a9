#pragma once
// Where records begin and end in a stream of bytes, and how they are written into one.
//
//   lines  each ends with a newline           null  each ends with a zero byte
//   len    each stands behind its length: 4 bytes, unsigned, in network byte order
//   json   values one behind the other (RFC 8259), with or without white space between; each is written as one line end
//          behind its own bytes
// A stream that ends within a line, or before a zero byte, has its last record there: it is given its delimiter.
// Threading: values.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "link/record_batch.h"

namespace sluice::link {

enum class RecordFraming : std::uint8_t { lines, null, json, len };

/// Appends the records as they stand in a stream of that framing. Requires: the batch was cut from one.
void append_framed(const RecordBatch& batch, RecordFraming framing, std::string& stream);

/// How many bytes stand beside each record of a batch in such a stream.
std::size_t framing_bytes(RecordFraming framing);

/// Finds where a JSON value ends (RFC 8259): where its brackets or its quotes close; a number or a word, where white
/// space or another value follows. Whether what is between is JSON is not its business.
class JsonValueEnd final {
 public:
  enum class Step { within, ends_before, ends_behind, closes_nothing };
  /// The next character of the value; the first is no white space.
  Step on_character(char c);
  /// It may end here: a number or a word does where the stream does.
  bool is_plain() const { return depth_ == 0 && !in_string_; }

 private:
  std::size_t depth_ = 0;
  bool begun_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

/// Cuts a stream into batches of whole records. Lines and the like are not copied: batches share the buffers that were
/// read into.
class RecordCutter final {
 public:
  struct Options {
    RecordFraming framing = RecordFraming::lines;
    std::size_t record_max = std::size_t{64} << 20;  // bytes, without a length or a delimiter that is added
    std::size_t block_size = std::size_t{128} << 10;
  };

  explicit RecordCutter(const Options& options);

  /// Where the next bytes of the stream are to be put; never empty.
  std::span<std::byte> room();
  /// `size` of them were put there. The records that are whole now, maybe none; ids go on where they were.
  /// Errors: a sentence; a record is longer than `record_max`, or is no JSON. Nothing more may be put.
  std::expected<RecordBatch, std::string> on_bytes(std::size_t size);
  /// The stream has ended. Errors: it ended within a record of `len` or `json`.
  std::expected<RecordBatch, std::string> on_end();

 private:
  using Cut = std::expected<RecordBatch, std::string>;

  bool is_delimited() const {
    return options_.framing == RecordFraming::lines || options_.framing == RecordFraming::null;
  }
  std::string_view unfinished() const { return {buffer_.get() + begin_, end_ - begin_}; }
  Cut cut_delimited(std::size_t fresh);
  Cut cut_sized();
  Cut cut_json();
  Cut batch_of(const std::vector<std::uint32_t>& sizes, std::string_view bytes);
  Cut numbered(RecordBatch batch);
  std::unexpected<std::string> too_long() const;

  Options options_;
  std::shared_ptr<char[]> buffer_;  // with the batches that were cut from it
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;  // of the record that is not finished
  std::size_t end_ = 0;    // of what was read
  RecordId next_id_ = 1;
  std::size_t looked_at_ = 0;  // of the JSON value that is not finished
  JsonValueEnd json_;
};

}  // namespace sluice::link
