#pragma once
// The options of `sluice run` for stages that take records: limits, failures, the job log.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "flow/graph.h"
#include "node/record_settings.h"

namespace CLI {
class App;
}

namespace sluice::cli {

struct RecordOptions {
  std::uint64_t record_bytes_max = std::uint64_t{64} << 20;
  bool losses_allowed = false;        // --on-loss=continue
  std::optional<double> rate;         // records a second into the first stage that takes them
  std::uint32_t retries = 0;          // of a record that failed
  std::string dead_letters, job_log;  // files; empty: none
  bool resume = false;                // what the job log has as done is skipped
  std::vector<std::string> given;     // the names of those that were
};

/// Fills itself while the arguments are parsed; the values are judged afterwards, with messages of ours.
class RecordOptionReader final {
 public:
  /// `app` must not outlive this.
  void add_to(CLI::App& app);
  /// `app` has parsed. Errors: a sentence.
  std::expected<RecordOptions, std::string> read(const CLI::App& app) const;

 private:
  std::string record_max_, on_loss_, rate_, retries_, dead_letters_, job_log_;
  bool resume_ = false;
};

node::RecordSettings record_settings(const RecordOptions& options);

/// Why an option that was given means nothing for this flow, or nothing.
std::optional<std::string> without_use(const RecordOptions& options, const flow::FlowGraph& graph);

}  // namespace sluice::cli
