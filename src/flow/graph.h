#pragma once
// A flow before anything is decided about it: stages and links, as the user said it.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/quantity.h"
#include "flow/restart.h"
#include "flow/shell_text.h"
#include "flow/stage_words.h"

namespace sluice::flow {

struct Stage {
  std::string name;     // in a flow file; empty: it has a number only
  std::string command;  // what the user wrote, without its @ words: for people
  StageWords words;
  // The words to execute, when no shell would change them; `shell_text` says the same for a shell.
  std::optional<std::vector<std::string>> plain_words;
  std::vector<PathWord> path_words;        // files that it may need with it
  std::vector<std::string> path_patterns;  // for such files, which only a shell resolves
  bool first_word_quoted = false;
  bool without_shell = false;  // `run -- CMD`: even a builtin's name is a file's
  std::string shell_text;
  bool error_joins_output = false;  // of plain words; `shell_text` has its own `2>&1`
  // In place of what holds for the whole flow:
  std::optional<std::uint32_t> retries;      // of a record that failed
  std::optional<double> records_per_second;  // at most
  bool share = false;                        // its links share the records, which are copied otherwise
  bool reads_stdin = false;                  // it is the one that does, said so
  /// In the graph of a part of a flow: it runs in another part, and here a link to another host stands for it.
  bool elsewhere = false;
  std::optional<std::size_t> number = std::nullopt;  // likewise: its place in the flow
  // Of a worker:
  std::uint32_t concurrency = 0;  // records that it works on at a time; 0: as many as it wishes
  Restart restart = Restart::never;
};

/// "stage 3", or "stage 'merger'" of a flow file.
std::string title_of_stage(std::string_view name, std::size_t index);

/// "3", or "merger".
std::string label_of(std::string_view name, std::size_t index);
/// Where a link leaves it: "merger", or "stderr of merger".
std::string source_of(std::string_view name, std::size_t index, bool of_errors);

/// What a branch that is slow does to those beside it.
struct SlowPolicy {
  enum class Kind { block, drop, spill };
  Kind kind = Kind::block;
  ByteCount spill_max;  // of `spill`: what is kept on disk
};

/// "drop", "spill 100 MiB"; empty if it blocks.
std::string slow_text(const SlowPolicy& slow);

struct Link {
  std::size_t from = 0;  // stage
  std::size_t to = 0;
  bool of_errors = false;  // from its stderr
  SlowPolicy slow{};
};

/// Which stages have the streams of the flow itself.
struct FlowEnds {
  std::optional<std::size_t> reads_stdin;
  std::vector<std::size_t> write_stdout;
};

struct FlowGraph {
  std::vector<Stage> stages;
  std::vector<Link> links;
  std::optional<FlowEnds> ends = std::nullopt;  // of a part of a flow, whose links do not tell
};

/// A stage that no link leads to reads the flow's stdin if it is the only one, or says so; else nobody does. A stage whose
/// stdout no link leaves writes to the flow's.
FlowEnds ends_of(const FlowGraph& graph);

/// The stage beside which one runs that has no place of its own: where the first of its links comes from, those of
/// stderr last. Nothing: no link leads to it.
std::optional<std::size_t> left_neighbour(const FlowGraph& graph, std::size_t stage);

/// A link from each stage to the next, as a pipeline text says it.
std::vector<Link> links_of_row(std::size_t stages);
/// They are these, and block.
bool is_row(const std::vector<Link>& links, std::size_t stages);

}  // namespace sluice::flow
