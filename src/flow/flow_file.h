#pragma once
// A flow file: a graph of named stages and links, written in YAML (docs/flow-files.md).
//
// This is what the file says, read and judged by itself: names are known, values have their types and ranges, every
// stage is linked, and no cycle is without a spill. Whether this build can run it is another question, which
// flow_file_graph.h answers.
// Invariants: the stages of a link exist; `FileStage::stage` has the command, and the words that the keys stand for.
// Threading: pure functions.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flow/file_mistake.h"
#include "flow/graph.h"
#include "flow/shell_text.h"

namespace sluice::flow {

struct FileStage {
  std::string name;
  TextPlace place;
  Stage stage;
  bool worker = false;                       // linked with the library: it is given records and answers them
  std::optional<std::uint32_t> concurrency;  // records that one such worker has at a time
  std::vector<std::pair<std::string, std::string>> environment;
  std::optional<std::uint32_t> retries;      // of a record that failed
  std::optional<double> records_per_second;  // at most
  Restart restart = Restart::never;
  bool share = false;                                  // its links share the records, which are copied otherwise
  bool reads_stdin = false;                            // of the stages that no link leads to
  std::map<std::string, TextPlace, std::less<>> keys;  // where each stands that was given
};

struct FileLink {
  std::size_t from = 0;  // stage
  std::size_t to = 0;
  bool of_errors = false;  // from its stderr
  SlowPolicy slow;
  TextPlace place;
};

struct FlowFile {
  std::string name;
  std::vector<FileStage> stages;  // in the order of the file
  std::vector<FileLink> links;    // likewise; those of stderr are behind the others
};

/// Of one flow. A node keeps room for so many links of a flow, too.
inline constexpr std::size_t kFileStagesMax = 4096;
inline constexpr std::size_t kFileLinksMax = 4096;

/// Why no stage and no role can have this name, or nothing.
std::string name_problem(std::string_view name);

/// `dialect` is that of the shell that will run the stages. Any name may be a node's: who has a cluster asks it.
/// Errors: every mistake, in the order of their places.
std::expected<FlowFile, std::vector<FileMistake>> read_flow_file(std::string_view text, ShellDialect dialect = {});

}  // namespace sluice::flow
