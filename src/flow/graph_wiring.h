#pragma once
// How the links of a graph come together: which are a pipe of their own between two stages, and which meet others and need
// a junction, where records are copied, shared, merged, dropped or spilled.
//
// What the only stage that no link leaves writes goes to the flow's stdout as it is, the records of several are merged.
// Of a part of a flow over hosts, a link to another host is wired as the stage there would be. So of a junction whose
// stages are on several hosts each has its part: records are copied where they are written, and merged where they are
// read.
// Invariants: each link is plain, or in one junction; the junctions have no input and no output in common.
// Threading: pure functions.
#include <cstddef>
#include <optional>
#include <vector>

#include "flow/graph.h"

namespace sluice::flow {

struct Junction {
  struct Input {
    std::size_t stage = 0;
    bool of_errors = false;  // its stderr, else its stdout
    bool share = false;
    RecordFraming framing = RecordFraming::lines;
  };
  struct Output {
    std::optional<std::size_t> stage;  // nothing: the flow's stdout
  };
  struct Path {
    std::size_t input = 0;
    std::size_t output = 0;
    SlowPolicy slow{};
  };
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<Path> paths;
};

struct Wiring {
  std::vector<bool> plain;  // by link
  std::vector<Junction> junctions;
  std::optional<std::size_t> reads_stdin;    // the one stage that does
  std::optional<std::size_t> writes_stdout;  // the one stage that does, without a junction

  /// Whether the stdout of the stage is told apart into records.
  bool output_at_junction(std::size_t stage) const;
};

Wiring wire(const FlowGraph& graph);

}  // namespace sluice::flow
