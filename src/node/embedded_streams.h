#pragma once
// The streams of an embedded run that lead through our own process: relays that count (--exact), records that are
// spread over the workers of a stage and gathered again, or that meet others at a junction, and marked error output.
//
// A stage of many workers is that many programs; one of jobs is one, whatever its workers. `connect` makes the pipes of all programs that do not share one with
// their neighbour, and gives the spawner's ends in the order in which it takes them (exec/spawn_protocol.h). Records
// move on threads of their own, which begin when the programs run; what they have to say is picked up by the loop.
// Threading: belongs to the loop that owns it.
#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "exec/spawn_protocol.h"
#include "flow/flow_summary.h"
#include "flow/plan.h"
#include "link/pipe_observer.h"
#include "node/junction_streams.h"
#include "node/record_settings.h"
#include "node/record_streams.h"
#include "node/stall_parties.h"
#include "node/stderr_marks.h"

namespace sluice::node {

struct EmbeddedStreamsOptions {
  std::string flow;  // its name
  bool mark_stderr = false;
  RecordSettings records;
};

/// What surrounds the stages of a plan that is a part of a flow over hosts. Of a whole flow: our own stdin and stdout,
/// and nothing else.
struct StreamSurroundings {
  struct Input {
    UniqueFd from;   // the pipe that comes from elsewhere
    UniqueFd guard;  // its write end
  };
  std::map<std::size_t, Input> inputs;                  // by the stage elsewhere that they stand for
  std::map<std::size_t, UniqueFd> outputs;              // likewise: the pipes that lead there
  UniqueFd own_input, own_output;                       // empty: our stdin and stdout
  std::map<std::size_t, std::vector<SeatPipes>> seats;  // of stages whose workers are on other hosts
  /// Where what a stage writes is to go that no link takes. Not set: see EmbeddedStreams.
  std::function<std::expected<UniqueFd, int>(std::size_t stage)> output_end;
  /// Where the stderr of a stage's processes is to go. Not set: where ours goes, with marks if they are wanted.
  std::function<std::expected<UniqueFd, int>(std::size_t stage)> error_end;
};

/// Whose program it is.
struct ProgramSeat {
  std::size_t stage = 0;
  std::uint32_t worker = 0;  // from 1, of a stage that has many; else 0
};

struct RelayFailed {
  std::size_t stage = 0;  // behind which it stands
  int error = 0;
};
using StreamEvent = std::variant<InputOver, RelayFailed, RecordsFailed, JunctionFailed>;

class EmbeddedStreams final {
 public:
  /// `plan` and `marks` outlive it.
  /// `far`: the stages whose workers are on other hosts.
  EmbeddedStreams(const flow::Plan& plan, const EmbeddedStreamsOptions& options, StderrMarks& marks,
                  const std::set<std::size_t>& far = {});
  ~EmbeddedStreams();

  /// Opens the files that stages of records write beside their output. Errors: a sentence.
  std::expected<void, std::string> open_files();
  /// One for each program, in the order in which the spawner has them: none for stages whose workers are elsewhere.
  const std::vector<ProgramSeat>& seats() const;

  /// Before `connect`: what leads from junctions into stages is to be watched.
  void watch_inputs();
  /// Of those, after it: the stage, and the pipe into it. Once.
  std::vector<std::pair<std::size_t, link::PipeObserver>> take_input_observers();
  /// The programs of the plan with their streams, and the descriptors that go with them. Errors: errno.
  std::expected<std::vector<exec::Program>, int> connect(std::vector<UniqueFd>& passed,
                                                         StreamSurroundings surroundings = {});
  /// The programs run: records begin to move.
  void start();
  /// See RecordStreams.
  std::expected<void, int> add_seat(std::size_t stage, SeatPipes pipes);

  /// Readable when a stage that takes records, or a junction, has something to say. Errors: errno.
  std::expected<UniqueFd, int> notices_descriptor() const;
  /// What leads to the stage elsewhere has ended well, or is not wanted there any more. Of one program it is not known.
  bool output_over(std::size_t elsewhere) const;
  /// The program that reads what comes from there as it is.
  std::optional<exec::ProgramIndex> reader_of(std::size_t elsewhere) const;
  void add_waits(std::vector<pollfd>& polled) const;
  /// As RecordStreams has it.
  std::expected<std::uint32_t, std::string> set_workers(std::size_t stage, std::uint32_t workers);
  /// The flow ends: no job is started any more.
  void stop_jobs();
  /// Every thread ends at once; what was under way is lost.
  void stop();
  /// How a stage of jobs has ended.
  std::optional<exec::ProcessStatus> status_of(std::size_t stage) const;

  /// Moves what can be moved now.
  void move();
  std::optional<StreamEvent> poll_event();
  /// No record is on its way any more.
  bool records_over() const;
  /// For the end of a stream of records.
  void add_waits_for_records(std::vector<pollfd>& polled) const;

  /// What was counted so far.
  void count(flow::FlowSummary& summary, bool exact) const;
  /// As RecordStreams has them.
  std::map<std::size_t, JobStageCounts> stage_counts() const;
  /// A link into a stage that takes each of its links apart, as `counts` of the stages has it.
  struct LinkApart {
    std::size_t from = 0;
    bool of_errors = false;
    std::size_t to = 0;
    JobStageCounts::Link counts;
  };
  std::vector<LinkApart> links_apart(const std::map<std::size_t, JobStageCounts>& counts) const;
  /// As JunctionStreams has them.
  std::vector<JunctionStreams::PathCounts> path_counts() const;
  /// What everybody waits for.
  std::vector<flow::StallParty> stall_parties() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
