#pragma once
// The stages of a part, if some of them take records, or links meet there: their pipes, the threads that move records
// between them, and how each of them has ended.
//
// Workers run on this host, by the part's spawner, or in seats on others, which the part's links lead to. When an input
// of the part was cut, `stop` ends the threads at once; an output of the part stays open until what leads to it has ended
// well, or `release`, so that nobody takes what there was for all.
//
// Of a part that is kept, what no link takes of a stage, and the stderr of its processes, go to pipes that the launch
// captures (exec::Launch), under the stage's position in the part.
// Threading: belongs to the control loop; records move on threads of their own.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "flow/plan.h"
#include "net/async.h"
#include "node/embedded_streams.h"
#include "node/part_launch.h"
#include "node/part_owner.h"
#include "node/part_progress.h"
#include "node/part_surroundings.h"

namespace sluice::v1 {
class Moved;
class Prepare;
class SetWorkers;
class StageMoved;
class Waits;
}  // namespace sluice::v1

namespace sluice::node {

class PartLinks;

class PartRecords final : public std::enable_shared_from_this<PartRecords> {
 public:
  /// `prepare` outlives it; `plan` is that of its stages.
  PartRecords(const v1::Prepare& prepare, flow::Plan plan, PartSurroundings& surroundings, PartOwner& owner);

  /// Opens the files that are written beside the output. Errors: a sentence.
  std::expected<void, std::string> open_files();
  /// The programs of the launch, their pipes, and what it captures; starts the links of the seats. `own_input` and `own_output`: the client's
  /// streams, if stages of the part have them. Errors: errno.
  std::expected<PartStreams, int> connect(PartLinks& links, bool reads_errors, UniqueFd own_input, UniqueFd own_output,
                                          exec::Launch& launch);
  /// No program of them is on this host.
  bool all_far() const { return streams_.seats().empty(); }

  /// The programs run: records begin to move, until they are over or `stop` is called.
  void start();
  /// A seat with a worker that joins a stage of this part. Errors: errno.
  std::expected<void, int> add_seat(std::uint32_t stage, SeatPipes pipes);
  /// So many workers for a stage of the part, or why not.
  void set_workers(const v1::SetWorkers& wanted);
  /// The flow ends: nothing new is started.
  void stop_jobs();
  /// At once. What was under way is lost.
  void stop();
  /// What the part has written is whole, or nobody is misled any more.
  void release() { output_guards_.clear(); }
  /// Every byte of that input of the part, and its end, were delivered.
  void on_input_delivered(std::size_t input);

  /// Its position among the stages of the part.
  std::size_t stage_of(exec::ProgramIndex program) const { return streams_.seats()[program].stage; }
  ProgramPlace place_of_program(exec::ProgramIndex program) const {
    return {.stage = streams_.seats()[program].stage, .worker = streams_.seats()[program].worker};
  }
  /// What its stages have counted, beside what was seen of their programs.
  void report(v1::Moved& moved) const;
  /// What its stages, and what lies between them, wait for.
  void fill(v1::Waits& waits) const;
  std::size_t program_count() const { return streams_.seats().size(); }
  /// Of a program that has ended: tells the orchestrator if with it the stage has.
  void on_exited(const exec::Exited& exited);
  /// Every stage has ended, and no record is on its way any more.
  bool over() const;
  /// Every stage whose workers are elsewhere has ended.
  bool far_ended() const;

 private:
  struct Tally {
    std::size_t left = 0;  // programs that run
    std::optional<exec::Exited> worst;
    bool told = false;
  };

  struct Watch;

  net::Awaitable<void> watch();
  void move();
  void conclude_if_over();
  void end_watch();
  void handle(const InputOver& over);
  void handle(const RecordsFailed& failed);
  void handle(const RelayFailed&) {}
  void handle(const JunctionFailed& failed);
  void tell_far_ends();
  void tell_link_counts();
  void release_whole_outputs();
  bool is_whole(std::size_t output) const;
  /// In the plan, as a stage that is elsewhere.
  std::size_t stage_of_input(std::size_t input) const { return own_stages() + input; }
  std::size_t stage_of_output(std::size_t output) const;
  std::size_t own_stages() const;
  std::expected<void, int> surround_inputs(StreamSurroundings& around, PartStreams& streams);
  std::expected<void, int> surround_outputs(StreamSurroundings& around, PartStreams& streams);
  std::expected<void, int> surround_seats(StreamSurroundings& around, PartLinks& links);
  void tell_end(std::size_t stage, exec::Exited exited);
  void tell_losses(std::size_t stage, flow::StageSummary& counted);
  /// The index in the flow of a stage of the plan; nothing: it stands for the client's stdin or stdout.
  std::optional<std::uint32_t> in_flow(std::size_t stage) const;
  void report_links(const std::map<std::size_t, JobStageCounts>& counts, v1::Moved& moved) const;
  static void report_workers(const JobStageCounts& counts, bool by_job, v1::StageMoved& stage);
  struct CapturedPipes;
  std::expected<StreamSurroundings, int> surround(PartLinks& links, bool reads_errors, PartStreams& streams,
                                                  const std::shared_ptr<CapturedPipes>& captured);

  const v1::Prepare& prepare_;
  flow::Plan plan_;
  PartSurroundings& surroundings_;
  PartOwner& owner_;
  StderrMarks marks_;  // none: the part's stderr is read by others
  std::set<std::size_t> far_;
  EmbeddedStreams streams_;
  std::vector<Tally> tallies_;                                            // of each stage
  std::map<std::pair<std::size_t, std::uint32_t>, flow::StageEnd> lost_;  // workers of a spread stage on this host
  std::vector<UniqueFd> output_guards_;  // of each output of the part, until it is whole
  Watch* watch_ = nullptr;               // while it waits
  bool started_ = false;
  bool stopped_ = false;
};

/// The record rules of a part, and the files of the client, if the part is the client's.
RecordSettings record_settings_of(const v1::Prepare& prepare, PartSurroundings& surroundings);

}  // namespace sluice::node
