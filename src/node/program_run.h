#pragma once
// One program on this host with its input and output in memory, from its start to its end.
// Threading: belongs to the control loop.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "exec/spawn_protocol.h"
#include "net/async.h"
#include "node/part_host.h"

namespace sluice::node {

struct ProgramRequest {
  exec::Program program;                 // its streams are set here
  std::vector<std::string> environment;  // NAME=VALUE
  std::string folder;                    // to work in
  std::string input;
  std::size_t output_max = 0;  // of stdout and stderr each
  std::optional<TimePoint> deadline;
};

struct CollectedOutput {
  std::string bytes;
  std::uint64_t dropped = 0;  // beyond the limit
};

struct ProgramEnd {
  exec::Exited exited;
  CollectedOutput output, error_output;
  bool timed_out = false;
};

struct ProgramFailure {
  int status = 125;  // what a shell would exit with
  std::string message;
};

class ProgramRun final {
 public:
  ProgramRun(PartSurroundings& surroundings, std::unique_ptr<SpawnerUse> spawner, ProgramRequest request);
  ~ProgramRun();
  ProgramRun(const ProgramRun&) = delete;
  ProgramRun& operator=(const ProgramRun&) = delete;

  /// Returns when nothing of it is left. Once only.
  net::Awaitable<std::expected<ProgramEnd, ProgramFailure>> run();
  /// Kills it; `run` returns soon.
  void kill();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
