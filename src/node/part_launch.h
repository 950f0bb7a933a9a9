#pragma once
// What the spawner is asked to start for one part of a flow, and the pipes between its programs and the part's links.
// Threading: pure functions but for the descriptors that they open.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/environment.h"
#include "exec/spawn_protocol.h"
#include "flow/plan.h"
#include "node/part_surroundings.h"

namespace sluice::v1 {
class Prepare;
class StageHow;
}  // namespace sluice::v1

namespace sluice::node {

/// How the stages of a part run on this host, in their order.
struct ResolvedPart {
  std::vector<exec::Program> programs;
  std::vector<v1::StageHow> hows;
  std::optional<flow::Plan> plan;  // if some take records: of them all
};

/// What the programs of a part get.
exec::Environment part_environment(const v1::Prepare& prepare, PartSurroundings& surroundings);
/// `directory`: where they work. Errors: a sentence. A stage that can't run has its problem in `hows`.
std::expected<ResolvedPart, std::string> resolve_part(const v1::Prepare& prepare, PartSurroundings& surroundings,
                                                      const std::string& directory);

/// The ends of the pipes of a part.
struct PartStreams {
  /// Those of the stderr of one stage.
  struct ErrorEnd {
    UniqueFd read_end;
    std::uint32_t stage = 0;  // in the flow
  };
  std::vector<UniqueFd> passed;  // in the order in which the spawner takes them
  UniqueFd input;                // our write end of the first stage's stdin
  UniqueFd output;               // our read end of the last stage's stdout
  std::vector<ErrorEnd> errors;  // our read ends
};

/// Says in `launch` what each program reads and writes, and makes the pipes for it. Errors: errno.
/// `reads_errors`: they do not share our stderr, as a client's stages may.
std::expected<PartStreams, int> make_part_streams(const v1::Prepare& prepare,
                                                  const std::vector<exec::Program>& programs, bool reads_errors,
                                                  exec::Launch& launch);

}  // namespace sluice::node
