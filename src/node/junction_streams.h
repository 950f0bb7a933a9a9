#pragma once
// The junctions of an embedded run: where links of its graph meet, or do not wait for a slow reader. Each has a thread of
// its own (link/junction_pump), which begins when the programs run; what they have to say is picked up by the loop.
// Threading: belongs to the loop that owns it.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "exec/spawn_protocol.h"
#include "flow/flow_summary.h"
#include "flow/plan.h"
#include "link/junction_pump.h"
#include "node/record_settings.h"
#include "node/record_streams.h"

namespace sluice::node {

/// Records can't go on at a junction. It says at which.
struct JunctionFailed {
  std::string why;
};

class JunctionStreams final {
 public:
  /// `plan` outlives it.
  JunctionStreams(const flow::Plan& plan, const RecordSettings& settings);
  ~JunctionStreams();

  /// Opens the files of links that spill. Errors: a sentence.
  std::expected<void, std::string> open_files();

  struct Output {
    RecordStreams::End into;
    std::optional<exec::ProgramIndex> reader;  // the program whose input it is
  };
  /// The streams of the next junction of the plan: of each input one for each program that writes there.
  void add(std::vector<std::vector<UniqueFd>> inputs, std::vector<Output> outputs);
  /// All were added. Errors: errno.
  std::expected<void, int> prepare();

  /// The programs run: records begin to move.
  void start();
  /// Picks up what the threads have said.
  void take_notices();
  std::optional<std::variant<InputOver, JunctionFailed>> poll_event();
  /// No record is on its way any more.
  bool over() const;
  /// Every thread ends at once, and its outputs close; what was under way is lost.
  void stop();
  /// What leads to the stage has ended well, or is not wanted there any more.
  bool output_over(std::size_t stage) const;
  /// Readable when there are notices; -1: there is no junction.
  int descriptor() const;

  /// What each junction of the plan waits for, as its parts have it there.
  struct Standing {
    struct Input {
      bool reads = false;       // more of it is wanted
      std::uint64_t moved = 0;  // grows whenever something is
    };
    struct Path {
      bool blocks = false;  // it keeps its input from being read
      bool idle = true;     // nothing is on its way to the output
      std::uint64_t moved = 0;
    };
    std::vector<Input> inputs;
    std::vector<Path> paths;
  };
  std::vector<Standing> standing() const;

  /// What each path of each junction has moved so far; of one that was stopped, until then.
  struct PathCounts {
    std::size_t from = 0;  // stage of the plan
    bool of_errors = false;
    std::optional<std::size_t> to;  // nothing: the flow's stdout
    link::JunctionPump::Balance bytes;
    std::optional<link::JunctionPump::Balance> records;  // nothing: they are not told apart
  };
  std::vector<PathCounts> path_counts() const;

  /// What was counted so far.
  void count(flow::FlowSummary& summary, bool exact) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
