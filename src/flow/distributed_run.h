#pragma once
// The life of a flow whose parts run on several hosts, as its orchestrator sees it.
//
//   preparing --every part is prepared--> connecting --every link is up--> starting --every part has started--> running
//       |  a part fails, or its host is lost: in any of the three                                                 |
//       v                                                                                       no process is left v
//   undoing: EndPart for all --every part is over--> finished <--every part is over-- draining: links deliver what is left
//
// All or nothing: no program starts before every link is up. Within `running` the machine of a flow on one host
// (flow/flow_run.h) decides about signals, grace and timeout; its actions are spread over the parts. A cut link or a lost
// host ends the flow: every part is killed, and the reason is kept.
//
// A part is over when it says so (`on_part_over`: no process is left and its links have ended) or when its host is lost.
//
// The seats of a stage of many workers are parts without a stage: losing one, or a link of it, ends nothing. What was
// under way there is done again elsewhere by the part that has the stage's records, which says so if nobody is left.
// While the flow runs, workers may join a stage: each is one more part with one seat (`add_seat`). Such a part connects and
// starts by itself, and whatever becomes of it costs its own links alone.
// Order that the shell must respect: poll_action until empty after every input, and carry the actions out in order.
// Threading: none of its own; no clock, no I/O.
#include <cstddef>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "flow/flow_run.h"
#include "flow/pipeline_status.h"
#include "flow/placement.h"

namespace sluice::flow {

using PartIndex = std::size_t;

struct DistributedRunOptions {
  PartGraph graph;
  std::vector<std::string> host_names;  // of each part, for messages
  std::size_t stages = 0;
  std::vector<std::string> stage_names = {};  // of a flow file's, for messages
  Duration grace = std::chrono::seconds(2);
  std::optional<Duration> timeout;
  bool keep = false;
  PipefailRule rule = PipefailRule::lenient;
  Duration start_time = std::chrono::seconds(30);  // for preparing, connecting and starting together
};

// --- actions ------------------------------------------------------------------------------------------------------

struct ConnectPart {
  PartIndex part = 0;
  bool operator==(const ConnectPart&) const = default;
};
struct StartPart {
  PartIndex part = 0;
  bool operator==(const StartPart&) const = default;
};
struct SignalPart {
  PartIndex part = 0;
  PassSignal signal;
  std::vector<StageIndex> stages;  // those that still run
  bool operator==(const SignalPart&) const = default;
};
struct SurveyPart {
  PartIndex part = 0;
  bool operator==(const SurveyPart&) const = default;
};
/// Kills every process of the part; its links too unless what was written is still to be delivered.
struct EndPart {
  PartIndex part = 0;
  bool links_too = true;
  bool operator==(const EndPart&) const = default;
};
struct DetachPart {
  PartIndex part = 0;
  bool operator==(const DetachPart&) const = default;
};
/// These links of its seats lead to a host that is lost, which may be silent rather than dead.
struct DropLinks {
  PartIndex part = 0;
  std::vector<std::size_t> links;
  bool operator==(const DropLinks&) const = default;
};
/// For the user.
struct Tell {
  std::string message;
  bool operator==(const Tell&) const = default;
};

using DistributedAction =
    std::variant<ConnectPart, StartPart, SignalPart, SurveyPart, EndPart, DetachPart, DropLinks, Tell>;

enum class DistributedEnd { completed, timed_out, signalled, not_started, link_lost };

class DistributedRun final {
 public:
  DistributedRun(DistributedRunOptions options, TimePoint now);

  /// The parts run already: another orchestrator has started them. In place of the steps up to there.
  void resume(TimePoint now);
  void on_prepared(PartIndex part, TimePoint now);
  void on_connected(PartIndex part, TimePoint now);
  void on_started(PartIndex part, TimePoint now);
  /// The part could not be prepared, connected or started; nothing of it is left. `status`: what the flow is to exit with.
  void on_part_failed(PartIndex part, int status, std::string message, TimePoint now);
  /// One worker of a stage has ended: a stage of @all has one on each node, and its status is the highest.
  void on_worker_ended(PartIndex part, StageIndex stage, StageEnd end, TimePoint now);
  /// An end of a link was cut, or could not write or read what it stands for.
  void on_link_lost(std::size_t link, std::string message, TimePoint now);
  void on_survey(PartIndex part, std::vector<Straggler> stragglers, TimePoint now);
  /// No process of the part is left; its links may still carry what was written.
  void on_part_childless(PartIndex part, TimePoint now);
  void on_part_over(PartIndex part, TimePoint now);
  /// The one worker of a part that has joined has gone, before its stage had no more for it; the part is over then.
  /// `why`: nothing is wrong, it has finished what it had.
  void on_seat_gone(PartIndex part, const std::optional<std::string>& why);
  void on_host_lost(PartIndex part, std::string reason, TimePoint now);
  /// Requires: running(), and as in `PartGraph` one part and its two links, whose numbers are the next.
  PartIndex add_seat(Part part, PartLink requests, PartLink replies, std::string host_name);
  /// Workers may join.
  bool running() const { return phase_ == Phase::running && !lost_; }
  /// Its stages only wait for each other. `why`: a sentence.
  void on_stalled(std::string why);
  void on_signal(int signal, SignalSource source, bool terminal_raw, TimePoint now);
  /// Of what begins to end from now on.
  void set_grace(Duration grace);
  /// The client is gone: everything is ended at once.
  void on_client_lost(TimePoint now);
  void on_deadline(bool terminal_raw, TimePoint now);

  std::optional<DistributedAction> poll_action();
  std::optional<TimePoint> poll_deadline() const;

  /// Programs run, or have run.
  bool started() const { return run_.has_value(); }
  bool finished() const { return phase_ == Phase::finished; }
  DistributedEnd end() const;
  int signal() const { return signal_draining_ != 0 ? signal_draining_ : run_ ? run_->signal() : 0; }
  /// What the flow exits with. Requires finished().
  int status() const;
  /// Why it did not complete; empty if it did.
  const std::string& message() const { return message_; }

 private:
  enum class Phase { preparing, connecting, starting, running, draining, undoing, finished };

  struct Worker {
    PartIndex part = 0;
    StageIndex stage = 0;
    std::optional<StageEnd> end;
  };

  void advance(TimePoint now);
  void start_running(TimePoint now);
  void tell_run_of_ended_stages(TimePoint now);
  void give_up(int status, std::string message);
  void lose(std::string message, int status = 125);
  bool is_seats(PartIndex part) const { return options_.graph.parts[part].seats_of.has_value(); }
  /// Its processes are another host's affair.
  bool has_joined(PartIndex part) const { return options_.graph.parts[part].joined; }
  bool may_be_lost(PartIndex part) const {
    return is_seats(part) && (phase_ == Phase::starting || phase_ == Phase::running || phase_ == Phase::draining);
  }
  void lose_seats(PartIndex part, const std::string& why);
  void drop_links_of(PartIndex seats);
  void end_all(bool links_too = true);
  void pump();
  void spread(const FlowAction& action);
  void signal_parts(const PassSignal& signal);
  void survey_parts();
  void check_childless();
  void check_over();
  void check_ends();
  std::optional<StageEnd> end_of(StageIndex stage) const;
  std::string link_name(std::size_t link) const;
  std::string title_of(StageIndex stage) const;

  DistributedRunOptions options_;
  Phase phase_ = Phase::preparing;
  std::vector<Worker> workers_;
  std::set<PartIndex> awaited_;    // parts whose step of this phase has not been confirmed
  std::set<PartIndex> childless_;  // or over
  std::set<PartIndex> over_;
  std::vector<bool> told_;  // stages of whose end the run knows
  std::optional<FlowRun> run_;
  std::optional<TimePoint> due_;  // of the start; while draining, of the timeout
  std::optional<TimePoint> timeout_at_;
  int failed_status_ = 0;
  std::string message_;
  bool lost_ = false;
  int lost_status_ = 125;
  std::string lost_reason_;         // what an end of a link has said, if that was the first word of a loss
  std::set<PartIndex> seats_lost_;  // of which the user was told
  bool timed_out_draining_ = false;
  int signal_draining_ = 0;
  std::set<PartIndex> surveyed_;  // whose answer is awaited
  std::vector<Straggler> survey_;
  std::deque<DistributedAction> actions_;
};

}  // namespace sluice::flow
