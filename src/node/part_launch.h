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
  std::optional<flow::Plan> plan;  // of a part that is no plain row
};

/// Its stages take bytes and are joined by kernel pipes, from its one input, if any, to its one output.
bool is_plain_row(const v1::Prepare& prepare);
/// It has no stage, and its one stream is the client's stdin or stdout.
bool is_end_of_client(const v1::Prepare& prepare);
/// Its stages are linked each to the next.
bool is_row(const v1::Prepare& prepare);

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
  std::vector<UniqueFd> passed;   // in the order in which the spawner takes them
  std::vector<UniqueFd> inputs;   // our write ends, of each input of the part
  std::vector<UniqueFd> outputs;  // our read ends, of each output
  std::vector<ErrorEnd> errors;   // our read ends
};

/// Says in `launch` what each program of a plain row reads and writes, and makes the pipes for it. Errors: errno.
std::expected<PartStreams, int> make_part_streams(const v1::Prepare& prepare,
                                                  const std::vector<exec::Program>& programs,
                                                  const PartSurroundings& surroundings, exec::Launch& launch);

}  // namespace sluice::node
