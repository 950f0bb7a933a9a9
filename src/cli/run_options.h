#pragma once
// What `sluice run` was asked to do, read from its arguments.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "cli/record_options.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "flow/pipeline_status.h"
#include "node/cluster_run.h"
#include "node/embedded_run.h"

namespace sluice::cli {

struct RunOptions {
  std::string text;                                 // the pipeline, or the name of a flow file
  std::string file;                                 // -f: a flow file, whatever its name; - is stdin
  std::optional<std::vector<std::string>> command;  // run -- CMD ARGS
  std::optional<Duration> timeout;
  std::optional<Duration> stall_timeout = std::chrono::seconds(10);
  Duration grace = std::chrono::seconds(2);
  std::vector<std::string> environment;  // NAME=VALUE, or NAME to take it away
  std::string directory;
  std::string name;
  std::string shell;
  flow::PipefailRule pipefail = flow::PipefailRule::lenient;
  node::ProgressMode progress = node::ProgressMode::automatic;
  bool exact = false;
  bool json = false;
  bool dry_run = false;
  bool mark_stderr = false;
  bool keep = false;
  bool quiet = false;
  bool background = false;
  std::string node, discover, key, cert;  // which node, and the proof for it, as options
  Settings settings;                      // what holds where no option says otherwise
  node::OutputMarks marks = node::OutputMarks::automatic;
  std::uint64_t keep_bytes_max = std::uint64_t{10} << 20;
  std::vector<std::string> ship;  // files for stages elsewhere, beside those that they name
  std::uint64_t ship_bytes_max = std::uint64_t{64} << 20;
  RecordOptions records;
  std::vector<std::string> not_yet;  // options that need what this version lacks, with what they need
};

struct HelpText {
  std::string text;
};

/// Errors: a sentence for the user, with the nearest option for a mistyped one.
/// A HelpText is returned when help was asked for.
std::expected<std::variant<RunOptions, HelpText>, std::string> read_run_options(const Arguments& arguments);

/// Prints what may stand for the last of the words behind `run`.
int complete_run_options(const Arguments& words);

extern const std::vector<std::string> kPipefailNames;
extern const std::vector<std::string> kProgressNames;

}  // namespace sluice::cli
