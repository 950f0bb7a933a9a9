#pragma once
// The streams of records of an embedded run: spread over the workers of a stage, gathered from them, or led through a
// stage whose program is started by job. Each has a thread of its own, which begins when the programs run; what they
// have to say is picked up by the loop.
// Threading: belongs to the loop that owns it.
#include <cstddef>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "exec/process_status.h"
#include "exec/spawn_protocol.h"
#include "flow/flow_summary.h"
#include "flow/plan.h"
#include "node/job_stage.h"
#include "node/record_settings.h"

namespace sluice::node {

/// The input of that program has been delivered to its end, or is not wanted any more.
struct InputOver {
  exec::ProgramIndex program = 0;
};
/// Records can't go on: into the stage, or out of it; or one of them has failed for good.
struct RecordsFailed {
  std::size_t stage = 0;
  int status = 125;  // what the flow is to exit with
  std::string why;
};

/// What the links of a seat on another host carry.
struct SeatPipes {
  UniqueFd requests;  // to write
  UniqueFd replies;   // to read
  std::string host;   // for people
};

class RecordStreams final {
 public:
  /// `plan` outlives it. `flow`: its name.
  RecordStreams(const flow::Plan& plan, RecordSettings settings, std::string flow);
  ~RecordStreams();

  /// Opens the files that are written beside the output. Errors: a sentence.
  std::expected<void, std::string> open_files();

  /// A stream that is `ours` is a pipe of ours alone; else its description is shared with others, as stdin is.
  struct End {
    UniqueFd stream;
    bool ours = true;
    std::optional<std::size_t> writer{};  // the stage all of whose output comes here
  };
  void add_spread(std::size_t stage, End from, std::vector<UniqueFd> into, std::vector<exec::ProgramIndex> readers);
  void add_gather(std::size_t stage, std::vector<UniqueFd> from, End into, std::optional<exec::ProgramIndex> reader);
  /// `from`: one for each link into the stage. Returns the spawner's end of the socket for its jobs. `error`: for their stderr; empty: where the launch has it.
  /// Errors: errno.
  std::expected<UniqueFd, int> add_jobs(std::size_t stage, std::vector<End> from, End into, UniqueFd error,
                                        std::optional<exec::ProgramIndex> reader);
  /// The same for a stage whose workers run in seats on other hosts, one in each (far_seats.h). Errors: errno.
  std::expected<void, int> add_far(std::size_t stage, std::vector<End> from, End into, UniqueFd error,
                                   std::optional<exec::ProgramIndex> reader, std::vector<SeatPipes> seats);
  /// One more seat of a stage that others may join, while it runs. Errors: errno.
  std::expected<void, int> add_seat(std::size_t stage, SeatPipes pipes);
  /// All were added. Errors: errno.
  std::expected<void, int> prepare();

  /// The programs run: records begin to move.
  void start();
  /// Picks up what the threads have said.
  void take_notices();
  std::optional<std::variant<InputOver, RecordsFailed>> poll_event();
  /// No record is on its way any more.
  bool over() const;
  /// What the stage writes has come to its end, or is not wanted any more.
  bool output_over(std::size_t stage) const;
  /// Readable when there are notices; -1: there is no stream.
  int descriptor() const;
  /// So many workers for a stage that runs. Returns how many it was to have until now. Errors: a sentence; it keeps
  /// those.
  std::expected<std::uint32_t, std::string> set_workers(std::size_t stage, std::uint32_t workers);
  /// The flow ends: no job is started any more.
  void stop_jobs();
  /// Every thread ends at once; what was under way is lost.
  void stop();
  /// How a stage of jobs, or of workers in seats, has ended.
  std::optional<exec::ProcessStatus> status_of(std::size_t stage) const;

  /// What was counted so far.
  void count(flow::FlowSummary& summary, bool exact) const;
  /// How each stage stands whose records are moved here, by its place in the plan. Of a stage whose programs read and
  /// write pipes (`@xN`) it is known what these took and gave: a worker counts as busy while its input is full, and no
  /// record is known to be in flight.
  std::map<std::size_t, JobStageCounts> stage_counts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
