#pragma once
// How the stages of a flow that take records go about them.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace sluice::node {

struct RecordSettings {
  std::size_t record_max = std::size_t{64} << 20;  // bytes
  std::optional<double> rate;                      // records a second, into the first of those stages
  std::uint32_t retries = 0;                       // of a record that failed
  std::string dead_letters, job_log;               // files; empty: none
  bool resume = false;                             // skip what the job log has as done
};

}  // namespace sluice::node
