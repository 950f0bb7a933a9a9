#pragma once
// The input of a stage that handles records one by one or in batches: a stream, cut into records as far as they are
// asked for.
// Threading: belongs to one thread.
#include <cstdint>
#include <string>
#include <utility>

#include "link/local_stream.h"
#include "link/record_framing.h"

namespace sluice::node {

class RecordTap final {
 public:
  RecordTap(link::LocalStream from, const link::RecordCutter::Options& cut)
      : from_(std::move(from)), framing_(cut.framing), cutter_(cut) {}

  enum class Status {
    moved,
    nothing,  // wait for the descriptor; or, in_background(), look again soon
    ended,    // all of it was cut; said again and again
    failed,   // why()
  };
  /// Reads once, if nothing that was cut is left.
  Status read();
  /// What was cut and not taken yet. Batches are cut off it.
  link::RecordBatch& records() { return records_; }
  bool has_records() const { return !records_.empty(); }
  /// Reads no more, and closes the stream: who writes there gets SIGPIPE.
  void close();

  int descriptor() const { return from_.descriptor(); }  // -1: nothing to wait for
  bool in_background() const { return in_background_; }
  const std::string& why() const { return why_; }
  std::uint64_t bytes() const { return bytes_; }
  link::RecordFraming framing() const { return framing_; }

 private:
  Status take(std::expected<link::RecordBatch, std::string> batch);

  link::LocalStream from_;
  link::RecordFraming framing_;
  link::RecordCutter cutter_;
  link::RecordBatch records_;
  std::uint64_t bytes_ = 0;
  bool ended_ = false;
  bool in_background_ = false;
  std::string why_;
};

}  // namespace sluice::node
