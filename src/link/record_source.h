#pragma once
// Where the records of a link come from. A supply (record_supply.h) pulls while somebody has credit; when nobody has, it
// does not ask: that is how the tap is closed.
// Threading: every function is called on the supply's loop and must not block it.
#include <cstdint>
#include <expected>
#include <string>

#include "link/data_loops.h"
#include "link/loop_waker.h"
#include "link/record_batch.h"

namespace sluice::link {

class RecordSource {
 public:
  enum class Status {
    more,   // asking again at once is worth it
    waits,  // it wakes the supply when there is more
    ended,  // nothing more comes
  };
  struct Pulled {
    RecordBatch batch;  // ids above all before; may be empty
    Status status = Status::waits;
  };

  virtual ~RecordSource() = default;
  /// Once, before anything else. Errors, here and below: a sentence; the link ends with it.
  virtual std::expected<void, std::string> open(const DataLoops::Seat& seat, LoopWaker waker) = 0;
  virtual std::expected<Pulled, std::string> pull() = 0;
  /// All records below are settled, for whoever must tell somebody else.
  virtual void on_settled(RecordId below) { static_cast<void>(below); }
  /// The supply is over: it asks no more, and destroys the source.
  virtual void close() {}
};

}  // namespace sluice::link
