#include "flow/distributed_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/require.h"

namespace sluice::flow {
namespace {

constexpr int kRefusedStatus = 125;  // docs/pipelines.md, "Exit status"
constexpr int kTimedOutStatus = 124;
constexpr std::size_t kNamed = 5;

// Not found, or not to be executed.
bool is_no_program(int status) { return status == 127 || status == 126; }

std::string list(const std::vector<Straggler>& stragglers) {
  std::string text;
  for (std::size_t i = 0; i < std::min(stragglers.size(), kNamed); ++i)
    text += fmt::format("{}{} (pid {})", i == 0 ? "" : ", ", stragglers[i].name, stragglers[i].pid);
  if (stragglers.size() > kNamed) text += fmt::format(" and {} more", stragglers.size() - kNamed);
  return text;
}

}  // namespace

DistributedRun::DistributedRun(DistributedRunOptions options, TimePoint now)
    : options_(std::move(options)), told_(options_.stages), due_(now + options_.start_time) {
  REQUIRE(options_.stages > 0);
  REQUIRE(options_.host_names.size() == options_.graph.parts.size());
  for (PartIndex part = 0; part < options_.graph.parts.size(); ++part) {
    awaited_.insert(part);
    for (StageIndex stage : options_.graph.parts[part].stages) workers_.push_back({.part = part, .stage = stage});
  }
}

// --- starting -----------------------------------------------------------------------------------------------------

void DistributedRun::resume(TimePoint now) {
  REQUIRE(phase_ == Phase::preparing);
  awaited_.clear();
  start_running(now);
}

void DistributedRun::on_prepared(PartIndex part, TimePoint now) {
  if (phase_ != Phase::preparing) return;
  awaited_.erase(part);
  advance(now);
}

void DistributedRun::on_connected(PartIndex part, TimePoint now) {
  if (phase_ != Phase::connecting) return;
  awaited_.erase(part);
  advance(now);
}

void DistributedRun::on_started(PartIndex part, TimePoint now) {
  if (phase_ != Phase::starting) return;
  awaited_.erase(part);
  advance(now);
}

void DistributedRun::advance(TimePoint now) {
  if (!awaited_.empty()) return;
  if (phase_ == Phase::starting) return start_running(now);
  bool prepared = phase_ == Phase::preparing;
  phase_ = prepared ? Phase::connecting : Phase::starting;
  for (PartIndex part = 0; part < options_.graph.parts.size(); ++part) {
    awaited_.insert(part);
    if (prepared)
      actions_.push_back(ConnectPart{part});
    else
      actions_.push_back(StartPart{part});
  }
}

void DistributedRun::start_running(TimePoint now) {
  phase_ = Phase::running;
  due_.reset();
  FlowRunOptions options{
      .stages = options_.stages, .grace = options_.grace, .timeout = options_.timeout, .keep = options_.keep};
  run_.emplace(options, now);
  if (options_.timeout) timeout_at_ = now + *options_.timeout;
  tell_run_of_ended_stages(now);  // some are quicker than the word that all have started
  check_childless();
  check_over();
}

void DistributedRun::on_part_failed(PartIndex part, int status, std::string message, TimePoint) {
  over_.insert(part);
  if (may_be_lost(part) && run_) {  // before that, its program is not there
    lose_seats(part, message);
    drop_links_of(part);
  } else if (!lost_reason_.empty() && message.starts_with(lost_reason_) && phase_ != Phase::finished) {
    // The other ends of its links were told why, and their word came first.
    message_ = std::move(message);
    (run_ ? lost_status_ : failed_status_) = status;
  } else if (run_) {
    lose(std::move(message), status);
  } else {
    give_up(status, std::move(message));
  }
  childless_.insert(part);
  check_childless();
  check_over();
}

// The first reason is the one that the user is told. But a program that can't be executed cuts the links of its part, and
// the word of the other ends may come before its own.
void DistributedRun::give_up(int status, std::string message) {
  if (phase_ == Phase::undoing && failed_status_ == kRefusedStatus && is_no_program(status)) {
    failed_status_ = status;
    message_ = std::move(message);
  }
  if (phase_ == Phase::undoing || phase_ == Phase::finished) return;
  failed_status_ = status;
  message_ = std::move(message);
  phase_ = Phase::undoing;
  due_.reset();
  end_all();
}

void DistributedRun::end_all(bool links_too) {
  // Readers before their writers, as in a flow on one host.
  for (PartIndex part = options_.graph.parts.size(); part-- > 0;)
    if (!over_.contains(part)) actions_.push_back(EndPart{part, links_too});
}

// --- running ------------------------------------------------------------------------------------------------------

void DistributedRun::on_worker_ended(PartIndex part, StageIndex stage, StageEnd end, TimePoint now) {
  auto worker = std::ranges::find_if(
      workers_, [&](const Worker& each) { return each.part == part && each.stage == stage && !each.end; });
  if (worker == workers_.end()) return;
  worker->end = end;
  tell_run_of_ended_stages(now);
}

std::optional<StageEnd> DistributedRun::end_of(StageIndex stage) const {
  std::optional<StageEnd> highest;
  for (const Worker& worker : workers_) {
    if (worker.stage != stage) continue;
    if (!worker.end) return std::nullopt;
    if (!highest || worker.end->status.shell_status() > highest->status.shell_status()) highest = worker.end;
  }
  return highest;
}

void DistributedRun::tell_run_of_ended_stages(TimePoint now) {
  if (phase_ != Phase::running) return;
  for (StageIndex stage = 0; stage < options_.stages; ++stage) {
    if (told_[stage] || !end_of(stage)) continue;
    told_[stage] = true;
    run_->on_stage_ended(stage, now);
  }
  pump();
}

void DistributedRun::on_link_lost(std::size_t link, std::string message, TimePoint) {
  if (phase_ == Phase::finished || link >= options_.graph.links.size()) return;
  if (const PartLink& ends = options_.graph.links[link]; ends.of_seat)
    if (PartIndex seats = is_seats(ends.from) ? ends.from : ends.to; may_be_lost(seats))
      return lose_seats(seats, message);
  std::string whole = fmt::format("{} was lost: {}", link_name(link), message);
  if (!lost_ && phase_ != Phase::undoing) lost_reason_ = std::move(message);
  if (run_)
    lose(std::move(whole));
  else
    give_up(kRefusedStatus, std::move(whole));
}

void DistributedRun::on_host_lost(PartIndex part, std::string reason, TimePoint now) {
  if (over_.contains(part)) return;
  if (may_be_lost(part)) {
    lose_seats(part, reason);
    drop_links_of(part);
    over_.insert(part);
    awaited_.erase(part);
    if (phase_ == Phase::starting) advance(now);
    on_part_childless(part, now);
    return check_over();
  }
  std::string message = fmt::format("lost {}: {}", options_.host_names[part], reason);
  for (std::size_t link = 0; link < options_.graph.links.size(); ++link)
    if (const PartLink& ends = options_.graph.links[link]; !ends.of_seat && (ends.from == part || ends.to == part))
      message += fmt::format("; with it {}", link_name(link));
  // What ran there is beyond our reach; its node ends it, or died with it.
  for (Worker& worker : workers_)
    if (worker.part == part && !worker.end) worker.end = StageEnd{.status = exec::ProcessStatus::ended_by(9)};
  on_part_failed(part, kRefusedStatus, std::move(message), now);
}

void DistributedRun::on_client_lost(TimePoint now) {
  for (PartIndex part = 0; part < options_.graph.parts.size(); ++part) {
    if (options_.graph.parts[part].host) continue;
    over_.insert(part);
    childless_.insert(part);
    for (Worker& worker : workers_)
      if (worker.part == part && !worker.end) worker.end = StageEnd{.status = exec::ProcessStatus::ended_by(1)};
  }
  if (run_)
    lose("the client is gone");
  else
    give_up(kRefusedStatus, "the client is gone");
  tell_run_of_ended_stages(now);
  check_childless();
  check_over();
}

// At the end of a stage its seats go, too: that is no loss.
void DistributedRun::lose_seats(PartIndex part, const std::string& why) {
  StageIndex stage = *options_.graph.parts[part].seats_of;
  if (lost_ || end_of(stage) || !seats_lost_.insert(part).second) return;
  if (has_joined(part) && why.empty()) return;  // somebody else has it
  if (has_joined(part)) {
    actions_.push_back(
        Tell{fmt::format("lost a worker that had joined {} through {}: {}; what it had not done is done elsewhere",
                         title_of(stage), options_.host_names[part], why)});
    return;
  }
  std::string_view then = options_.graph.parts[part].runs_again ? "; what they had not done is done elsewhere" : "";
  actions_.push_back(
      Tell{fmt::format("lost the workers of {} on {}: {}{}", title_of(stage), options_.host_names[part], why, then)});
}

void DistributedRun::on_seat_gone(PartIndex part, const std::optional<std::string>& why) {
  REQUIRE(has_joined(part));
  if (why) return lose_seats(part, *why);
  StageIndex stage = *options_.graph.parts[part].seats_of;
  if (lost_ || end_of(stage) || !seats_lost_.insert(part).second) return;
  actions_.push_back(
      Tell{fmt::format("a worker that had joined {} through {} has left", title_of(stage), options_.host_names[part])});
}

void DistributedRun::drop_links_of(PartIndex seats) {
  DropLinks action;
  for (std::size_t link = 0; link < options_.graph.links.size(); ++link) {
    const PartLink& ends = options_.graph.links[link];
    if (ends.from != seats && ends.to != seats) continue;
    action.part = ends.from == seats ? ends.to : ends.from;
    action.links.push_back(link);
  }
  if (!action.links.empty() && !over_.contains(action.part)) actions_.push_back(std::move(action));
}

PartIndex DistributedRun::add_seat(Part part, PartLink requests, PartLink replies, std::string host_name) {
  REQUIRE(running() && part.seats_of && part.joined);
  options_.graph.parts.push_back(std::move(part));
  options_.graph.links.push_back(requests);
  options_.graph.links.push_back(replies);
  options_.host_names.push_back(std::move(host_name));
  return options_.graph.parts.size() - 1;
}

// The first loss is the cause; the others follow from it.
void DistributedRun::lose(std::string message, int status) {
  if (lost_ || phase_ == Phase::finished) return;
  lost_ = true;
  lost_status_ = status;
  message_ = std::move(message);
  end_all();
}

void DistributedRun::on_stalled(std::string why) {
  if (running()) lose(std::move(why));
}

std::string DistributedRun::link_name(std::size_t link) const {
  const PartLink& ends = options_.graph.links[link];
  const Part& from = options_.graph.parts[ends.from];
  const Part& to = options_.graph.parts[ends.to];
  if (ends.of_seat)
    return fmt::format("the link between {} on {} and {}", title_of(*(from.seats_of ? from : to).seats_of),
                       options_.host_names[ends.from], options_.host_names[ends.to]);
  auto stream = std::ranges::find_if(from.outputs, [link](const PartStream& output) {
    return std::ranges::find(output.links, link) != output.links.end();
  });
  REQUIRE(stream != from.outputs.end());
  std::string source = stream->from ? title_of(*stream->from) : "stdin";
  std::string sink = stream->to ? title_of(*stream->to) : "stdout";
  return fmt::format("the link from {} on {} to {} on {}", source, options_.host_names[ends.from], sink,
                     options_.host_names[ends.to]);
}

std::string DistributedRun::title_of(StageIndex stage) const {
  return title_of_stage(stage < options_.stage_names.size() ? options_.stage_names[stage] : "", stage);
}

void DistributedRun::on_survey(PartIndex part, std::vector<Straggler> stragglers, TimePoint now) {
  if (surveyed_.erase(part) == 0) return;
  std::ranges::move(stragglers, std::back_inserter(survey_));
  if (!surveyed_.empty() || !run_) return;
  run_->on_stragglers(std::exchange(survey_, {}), now);
  pump();
}

void DistributedRun::on_part_childless(PartIndex part, TimePoint now) {
  childless_.insert(part);
  if (surveyed_.contains(part)) on_survey(part, {}, now);
  check_childless();
}

void DistributedRun::on_part_over(PartIndex part, TimePoint now) {
  over_.insert(part);
  on_part_childless(part, now);
  check_over();
}

void DistributedRun::check_childless() {
  auto is_gone = [&](const Worker& worker) { return childless_.contains(worker.part); };
  if (phase_ != Phase::running || !std::ranges::all_of(workers_, is_gone)) return;
  for (PartIndex part = 0; part < options_.graph.parts.size(); ++part)
    if (is_seats(part) && !has_joined(part) && !childless_.contains(part)) return;
  run_->on_childless();
  pump();
  phase_ = Phase::draining;
  due_ = timeout_at_;
}

void DistributedRun::check_over() {
  bool may_finish = phase_ == Phase::draining || phase_ == Phase::undoing;
  if (!may_finish || over_.size() < options_.graph.parts.size()) return;
  check_ends();
  phase_ = Phase::finished;
  due_.reset();
}

// A client or a node that says that its part is over owes us how each program of it ended.
void DistributedRun::check_ends() {
  auto untold = std::ranges::find_if(workers_, [](const Worker& worker) { return !worker.end; });
  if (!run_ || untold == workers_.end()) return;
  lose(fmt::format("{} did not say how {} ended", options_.host_names[untold->part], title_of(untold->stage)));
}

void DistributedRun::on_signal(int signal, SignalSource source, bool terminal_raw, TimePoint now) {
  if (phase_ == Phase::running) {
    run_->on_signal(signal, source, terminal_raw, now);
    return pump();
  }
  if (phase_ == Phase::finished) return;
  if (signal_draining_ == 0) signal_draining_ = signal;
  if (run_)
    lose("ended by a signal");
  else
    give_up(128 + signal, "ended by a signal before it had started");
}

void DistributedRun::set_grace(Duration grace) {
  options_.grace = grace;
  if (run_) run_->set_grace(grace);
}

void DistributedRun::on_deadline(bool terminal_raw, TimePoint now) {
  if (phase_ == Phase::running) {
    run_->on_deadline(terminal_raw, now);
    return pump();
  }
  if (!due_ || now < *due_) return;
  due_.reset();
  if (phase_ == Phase::draining) {
    timed_out_draining_ = true;
    return lose("timed out while the output was delivered");
  }
  std::string hosts;
  for (PartIndex part : awaited_) hosts += (hosts.empty() ? "" : ", ") + options_.host_names[part];
  give_up(kRefusedStatus,
          fmt::format("gave up after {}: no answer from {}", format_duration(options_.start_time), hosts));
}

// --- the actions of the run, over the parts -----------------------------------------------------------------------

void DistributedRun::pump() {
  if (!run_) return;
  while (auto action = run_->poll_action()) spread(*action);
}

void DistributedRun::spread(const FlowAction& action) {
  if (auto* pass = std::get_if<PassSignal>(&action)) return signal_parts(*pass);
  if (std::holds_alternative<AskForStragglers>(action)) return survey_parts();
  // Stragglers are killed when the stages have ended: what those wrote is still delivered.
  if (std::holds_alternative<KillEverything>(action)) return end_all(run_->end() != FlowEnd::completed);
  if (std::holds_alternative<LeaveStragglers>(action)) {
    for (PartIndex part = 0; part < options_.graph.parts.size(); ++part)
      if (!over_.contains(part)) actions_.push_back(DetachPart{part});
    return;
  }
  if (auto* tell = std::get_if<TellAwaitingStragglers>(&action))
    actions_.push_back(Tell{fmt::format(
        "the stages have ended; waiting for what still reads from them: {} (Ctrl-C ends it)", list(tell->stragglers))});
  if (auto* tell = std::get_if<TellEndingStragglers>(&action))
    actions_.push_back(Tell{fmt::format("the stages have ended, but left running: {}; ending that (--keep spares it)",
                                        list(tell->stragglers))});
  if (std::holds_alternative<TellKilling>(action))
    actions_.push_back(Tell{fmt::format("not everything ended within the grace of {}; killing the rest (--grace)",
                                        format_duration(options_.grace))});
  if (auto* tell = std::get_if<TellUnkillable>(&action))
    actions_.push_back(
        Tell{fmt::format("still there after SIGKILL, of another user or stuck in the kernel: {}; waiting for it",
                         list(tell->stragglers))});
}

void DistributedRun::signal_parts(const PassSignal& signal) {
  for (PartIndex part = options_.graph.parts.size(); part-- > 0;) {
    if (childless_.contains(part)) continue;
    SignalPart action{.part = part, .signal = signal};
    for (const Worker& worker : workers_)
      if (worker.part == part && !worker.end) action.stages.push_back(worker.stage);
    if (is_seats(part) && !over_.contains(part)) action.stages.push_back(*options_.graph.parts[part].seats_of);
    bool has_programs = !options_.graph.parts[part].stages.empty() || is_seats(part);
    if (!action.stages.empty() || (signal.strays_too && has_programs)) actions_.push_back(std::move(action));
  }
}

void DistributedRun::survey_parts() {
  survey_.clear();
  surveyed_.clear();
  for (const Worker& worker : workers_)
    if (!childless_.contains(worker.part)) surveyed_.insert(worker.part);
  for (PartIndex part = 0; part < options_.graph.parts.size(); ++part)
    if (is_seats(part) && !has_joined(part) && !childless_.contains(part)) surveyed_.insert(part);
  for (PartIndex part : surveyed_) actions_.push_back(SurveyPart{part});
}

std::optional<DistributedAction> DistributedRun::poll_action() {
  if (actions_.empty()) return std::nullopt;
  DistributedAction action = std::move(actions_.front());
  actions_.pop_front();
  return action;
}

std::optional<TimePoint> DistributedRun::poll_deadline() const {
  return phase_ == Phase::running ? run_->poll_deadline() : due_;
}

// --- the end ------------------------------------------------------------------------------------------------------

DistributedEnd DistributedRun::end() const {
  if (signal() != 0 && (!run_ || signal_draining_ != 0)) return DistributedEnd::signalled;
  if (!run_) return DistributedEnd::not_started;
  if (timed_out_draining_ || run_->end() == FlowEnd::timed_out) return DistributedEnd::timed_out;
  if (run_->end() == FlowEnd::signalled) return DistributedEnd::signalled;
  return lost_ ? DistributedEnd::link_lost : DistributedEnd::completed;
}

int DistributedRun::status() const {
  REQUIRE(finished());
  switch (end()) {
    case DistributedEnd::not_started:
      return failed_status_;
    case DistributedEnd::timed_out:
      return kTimedOutStatus;
    case DistributedEnd::signalled:
      return 128 + signal();
    case DistributedEnd::link_lost:
      return lost_status_;
    case DistributedEnd::completed:
      break;
  }
  std::vector<StageEnd> ends;
  for (StageIndex stage = 0; stage < options_.stages; ++stage)
    if (auto stage_end = end_of(stage)) ends.push_back(*stage_end);
  REQUIRE(ends.size() == options_.stages);
  return pipeline_status(ends, options_.rule);
}

}  // namespace sluice::flow
