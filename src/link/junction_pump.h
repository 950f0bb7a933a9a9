#pragma once
// Drives a RecordJunction between descriptors: reads streams, cuts them into whole records, and writes those on.
//
// An input whose records nobody has to tell apart (each of its outputs has no other input, and nothing is dropped or
// shared) passes its bytes as they are, whatever they are. A stream that ends within a record gets the delimiter only if
// something comes behind it. An output is closed when all that leads to it has ended; its
// owner hears of each. An input that nobody reads any more is closed, so that who writes there gets SIGPIPE as in a shell.
// What waits is bounded by the backlogs, and a block or one longer record of each input. A pump that fails keeps its
// outputs open until it is destroyed: who reads there must be killed first, or it takes a part for the whole. It has a
// thread of its own.
// Threading: made and destroyed by one thread; `on_over` and `on_end` are called on the thread of the pump.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "link/record_framing.h"
#include "link/record_junction.h"
#include "link/record_spread.h"

namespace sluice::link {

struct PumpInput {
  UniqueFd from;     // the read end of a pipe that is ours
  std::string name;  // in errors, as the next ones
  RecordCutter::Options cut;
  bool shares = false;
};
struct PumpOutput {
  UniqueFd into;
  std::string name;
  /// It is a pipe of ours alone; else its description is shared with others, as stdout is.
  bool is_ours = true;
};
struct PumpLink {
  JunctionLink link;
  std::string name;
};
struct PumpPlan {
  std::vector<PumpInput> inputs;
  std::vector<PumpOutput> outputs;
  std::vector<PumpLink> links;
  std::size_t pipes_of_flow = 0;  // how many are enlarged when much passes them; the user's limit is for all of them
};

class JunctionPump final {
 public:
  /// `on_over`: an output is written to its end, or its reader has gone; once each. Errors: errno; no thread can be started,
  /// or no descriptor is left.
  static std::expected<JunctionPump, int> start(PumpPlan plan, std::function<void(std::size_t output)> on_over,
                                                std::function<void(RecordStreamEnd)> on_end);
  JunctionPump(JunctionPump&&) noexcept;
  JunctionPump& operator=(JunctionPump&&) = delete;
  /// Stops it if it has not ended.
  ~JunctionPump();

  /// in = out + dropped + what is under way, whenever it is asked for.
  struct Balance {
    std::uint64_t in = 0;       // of one that shares: `out`
    std::uint64_t out = 0;      // written to the reader of the link
    std::uint64_t dropped = 0;  // by its rule, or because its reader had gone
  };
  struct Counts {
    Balance bytes;                      // of the stream, with its delimiters
    Balance records;                    // 0 if they were not told apart
    std::uint64_t dropped_by_rule = 0;  // records
    std::uint64_t spilled_most = 0;     // bytes that were on the disk at once
    bool records_known = false;
  };
  /// Any time.
  Counts counts(std::size_t link) const;
  /// What it waits for, as of when it last had nothing to do. Any time.
  struct Standing {
    std::vector<bool> reads;   // by input: more of it is wanted
    std::vector<bool> blocks;  // by link: it has no room, and so keeps its input from being read
    std::vector<bool> idle;    // by link: nothing is on its way to the output
  };
  Standing standing() const;
  /// How long the stream of an input was, as far as it was read. Any time.
  std::uint64_t bytes_read(std::size_t input) const;

 private:
  struct Running;
  explicit JunctionPump(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::link
