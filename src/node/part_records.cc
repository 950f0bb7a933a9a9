#include "node/part_records.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/pipe.h"
#include "flow/quoting.h"
#include "node/flow_messages.h"
#include "node/part_links.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

namespace asio = net::asio;
using net::Awaitable;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kCommandColumns = 60;  // in a message

UniqueFd duplicate(int descriptor) { return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)); }

// Its position among the stages of the part.
std::size_t place_of(std::uint32_t stage, const v1::Prepare& prepare) {
  auto found = std::ranges::find(prepare.stages(), stage, &v1::StageText::index);
  return static_cast<std::size_t>(found - prepare.stages().begin());
}

std::set<std::size_t> far_stages(const v1::Prepare& prepare) {
  std::set<std::size_t> far;
  for (const v1::SeatEnds& seat : prepare.seats())
    if (std::size_t place = place_of(seat.stage(), prepare); place < static_cast<std::size_t>(prepare.stages_size()))
      far.insert(place);
  for (int i = 0; i < prepare.stages_size(); ++i)
    if (!prepare.stages(i).role().empty()) far.insert(static_cast<std::size_t>(i));
  return far;
}

// The status word of wait(2).
std::int32_t wait_status_of(exec::ProcessStatus status) {
  return status.by_signal() ? status.signal() : status.exit_code() << 8;
}

}  // namespace

RecordSettings record_settings_of(const v1::Prepare& prepare, PartSurroundings& surroundings) {
  RecordSettings settings = surroundings.record_files();
  const v1::RecordRules& rules = prepare.records();
  if (rules.record_bytes_max() != 0) settings.record_max = rules.record_bytes_max();
  settings.rate.reset();
  if (rules.has_rate()) settings.rate = rules.rate();
  settings.retries = rules.retries();
  return settings;
}

PartRecords::PartRecords(const v1::Prepare& prepare, flow::Plan plan, PartSurroundings& surroundings, PartOwner& owner)
    : prepare_(prepare),
      plan_(std::move(plan)),
      surroundings_(surroundings),
      owner_(owner),
      far_(far_stages(prepare)),
      streams_(plan_, {.flow = prepare.flow_name(), .records = record_settings_of(prepare, surroundings)}, marks_,
               far_),
      tallies_(plan_.stages.size()) {
  for (const ProgramSeat& seat : streams_.seats()) ++tallies_[seat.stage].left;
  for (std::size_t i = own_stages(); i < tallies_.size(); ++i) tallies_[i].told = true;
}

std::size_t PartRecords::own_stages() const { return static_cast<std::size_t>(prepare_.stages_size()); }

std::size_t PartRecords::stage_of_output(std::size_t output) const {
  return own_stages() + static_cast<std::size_t>(prepare_.inputs_size()) + output;
}

std::expected<void, std::string> PartRecords::open_files() { return streams_.open_files(); }

// --- pipes --------------------------------------------------------------------------------------------------------

// The read ends of what is captured, by name, with a write end for whoever else writes there.
struct PartRecords::CapturedPipes {
  std::map<exec::OutputName, Pipe> pipes;

  // The processes of one stage share what they write to.
  std::expected<UniqueFd, int> end_of(std::size_t stage, exec::OutputKind kind) {
    exec::OutputName name{.program = static_cast<exec::ProgramIndex>(stage), .kind = kind};
    if (!pipes.contains(name)) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      pipes.emplace(name, std::move(*pipe));
    }
    UniqueFd end = duplicate(pipes.at(name).write_end.get());
    if (!end) return std::unexpected(errno);
    return end;
  }

  void pass_to(exec::Launch& launch, PartStreams& streams) {
    for (auto& [name, pipe] : pipes) {
      launch.captures.push_back(name);
      streams.passed.push_back(std::move(pipe.read_end));
    }
  }
};

std::expected<PartStreams, int> PartRecords::connect(PartLinks& links, bool reads_errors, UniqueFd own_input,
                                                     UniqueFd own_output, exec::Launch& launch) {
  PartStreams streams;
  auto captured = std::make_shared<CapturedPipes>();
  auto around = surround(links, reads_errors, streams, captured);
  if (!around) return std::unexpected(around.error());
  around->own_input = std::move(own_input);
  around->own_output = std::move(own_output);
  auto programs = streams_.connect(streams.passed, *std::move(around));
  if (!programs) return std::unexpected(programs.error());
  launch.programs = *std::move(programs);
  captured->pass_to(launch, streams);
  captured->pipes.clear();  // whoever writes there alone keeps it open
  return streams;
}

std::expected<void, int> PartRecords::surround_inputs(StreamSurroundings& around, PartStreams& streams) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(prepare_.inputs_size()); ++i) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    UniqueFd guard = duplicate(pipe->write_end.get());
    if (!guard) return std::unexpected(errno);
    around.inputs[stage_of_input(i)] = {.from = std::move(pipe->read_end), .guard = std::move(guard)};
    streams.inputs.push_back(std::move(pipe->write_end));
  }
  return {};
}

std::expected<void, int> PartRecords::surround_outputs(StreamSurroundings& around, PartStreams& streams) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(prepare_.outputs_size()); ++i) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    output_guards_.push_back(duplicate(pipe->write_end.get()));
    if (!output_guards_.back()) return std::unexpected(errno);
    around.outputs[stage_of_output(i)] = std::move(pipe->write_end);
    streams.outputs.push_back(std::move(pipe->read_end));
  }
  return {};
}

std::expected<void, int> PartRecords::surround_seats(StreamSurroundings& around, PartLinks& links) {
  for (int i = 0; i < prepare_.seats_size(); ++i) {
    auto requests = make_pipe(), replies = make_pipe();
    if (!requests || !replies) return std::unexpected(requests ? replies.error() : requests.error());
    around.seats[place_of(prepare_.seats(i).stage(), prepare_)].push_back(
        {.requests = std::move(requests->write_end),
         .replies = std::move(replies->read_end),
         .host = prepare_.seats(i).requests().peer_name()});
    links.start_seat(static_cast<std::size_t>(i), std::move(requests->read_end), std::move(replies->write_end));
  }
  return {};
}

std::expected<StreamSurroundings, int> PartRecords::surround(PartLinks& links, bool reads_errors, PartStreams& streams,
                                                             const std::shared_ptr<CapturedPipes>& captured) {
  StreamSurroundings around;
  if (auto made = surround_inputs(around, streams); !made) return std::unexpected(made.error());
  if (auto made = surround_outputs(around, streams); !made) return std::unexpected(made.error());
  if (auto made = surround_seats(around, links); !made) return std::unexpected(made.error());
  if (prepare_.has_keep()) {
    around.output_end = [captured](std::size_t stage) { return captured->end_of(stage, exec::OutputKind::output); };
    around.error_end = [captured](std::size_t stage) { return captured->end_of(stage, exec::OutputKind::error); };
    return around;
  }
  if (!reads_errors) return around;
  around.error_end = [this, errors = &streams.errors](std::size_t stage) -> std::expected<UniqueFd, int> {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    errors->push_back(
        {.read_end = std::move(pipe->read_end), .stage = prepare_.stages(static_cast<int>(stage)).index()});
    return std::move(pipe->write_end);
  };
  return around;
}

// --- running ------------------------------------------------------------------------------------------------------

void PartRecords::start() {
  if (stopped_) return;
  started_ = true;
  streams_.start();
  owner_.spawn(watch());
}

std::expected<void, int> PartRecords::add_seat(std::uint32_t stage, SeatPipes pipes) {
  if (stopped_ || !started_) return {};
  return streams_.add_seat(place_of(stage, prepare_), std::move(pipes));
}

struct PartRecords::Watch {
  asio::posix::stream_descriptor descriptor;
};

Awaitable<void> PartRecords::watch() {
  auto self = shared_from_this();
  auto notices = streams_.notices_descriptor();
  if (!notices)
    co_return owner_.fail(kRefusedStatus, fmt::format("records can't be watched: {}; raise the limit (ulimit -n)",
                                                      std::strerror(notices.error())));
  Watch watch{asio::posix::stream_descriptor(surroundings_.executor(), notices->release())};
  watch_ = &watch;
  while (!over()) {
    move();
    conclude_if_over();
    if (!over()) co_await watch.descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
  }
  watch_ = nullptr;
  owner_.check_over();
}

void PartRecords::move() {
  if (stopped_) return;
  streams_.move();
  while (auto event = streams_.poll_event()) std::visit([this](const auto& what) { handle(what); }, *event);
  tell_far_ends();
  release_whole_outputs();
}

// Whoever notices it: what the part has written is whole then.
void PartRecords::conclude_if_over() {
  if (stopped_ || !over()) return;
  release_whole_outputs();
  stop();  // what it keeps open of its processes' stderr, too
}

void PartRecords::end_watch() {
  if (watch_ != nullptr) watch_->descriptor.cancel();
}

void PartRecords::handle(const InputOver& over) { owner_.release_input(over.program); }

void PartRecords::handle(const RecordsFailed& failed) {
  owner_.fail(failed.status, fmt::format("{}: {}", title_of(plan_, failed.stage), failed.why),
              static_cast<int>(plan_.stages[failed.stage].number));
}

void PartRecords::handle(const JunctionFailed& failed) { owner_.fail(kRefusedStatus, failed.why); }

void PartRecords::on_input_delivered(std::size_t input) {
  if (auto reader = streams_.reader_of(stage_of_input(input))) owner_.release_input(*reader);
}

// Not before each stage that wrote there has told how it ended: one may have lost a worker, and records with it.
bool PartRecords::is_whole(std::size_t output) const {
  std::size_t there = stage_of_output(output);
  if (!streams_.output_over(there)) return false;
  return std::ranges::all_of(plan_.links, [&](const flow::PlannedLink& planned) {
    bool leads_there = planned.link.to == there;
    bool waits = planned.carrier == flow::LinkCarrier::byte_link || plan_.stages[planned.link.from].workers > 0;
    return !leads_there || !waits || tallies_[planned.link.from].told;
  });
}

void PartRecords::release_whole_outputs() {
  for (std::size_t i = 0; i < output_guards_.size(); ++i)
    if (output_guards_[i] && is_whole(i)) output_guards_[i].reset();
}

// Of a graph; a row has no link that is counted so.
void PartRecords::tell_link_counts() {
  if (plan_.wiring.junctions.empty() || !started_) return;
  flow::FlowSummary summary;
  summary.stages.resize(plan_.stages.size());
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) summary.stages[i].workers.resize(plan_.stages[i].workers);
  streams_.count(summary, false);
  v1::HostEvent event;
  for (const flow::LinkSummary& link : summary.links) to_message(link, *event.mutable_link_counts()->add_links());
  owner_.emit(std::move(event));
}

void PartRecords::set_workers(const v1::SetWorkers& wanted) {
  v1::HostEvent event;
  v1::WorkersSet& answer = *event.mutable_workers_set();
  answer.set_request(wanted.request());
  auto stage = std::ranges::find(prepare_.stages(), wanted.stage(), &v1::StageText::index);
  if (stage == prepare_.stages().end() || !started_ || stopped_) {
    answer.set_problem("it does not run");
    return owner_.emit(std::move(event));
  }
  auto set = streams_.set_workers(static_cast<std::size_t>(stage - prepare_.stages().begin()), wanted.workers());
  if (set)
    answer.set_before(*set);
  else
    answer.set_problem(set.error());
  owner_.emit(std::move(event));
}

void PartRecords::stop_jobs() {
  if (started_ && !stopped_) streams_.stop_jobs();
}

void PartRecords::stop() {
  if (std::exchange(stopped_, true)) return;
  tell_link_counts();
  streams_.stop();
  end_watch();
}

// --- ends ---------------------------------------------------------------------------------------------------------

void PartRecords::tell_far_ends() {
  for (std::size_t stage : far_) {
    auto status = streams_.status_of(stage);
    if (!status || tallies_[stage].told) continue;
    tell_end(stage, exec::Exited{.wait_status = wait_status_of(*status), .output_reader = exec::Reader::gone});
  }
  if (far_ended()) owner_.on_programs_childless();
}

bool PartRecords::far_ended() const {
  return std::ranges::all_of(far_, [this](std::size_t stage) { return tallies_[stage].told; });
}

void PartRecords::on_exited(const exec::Exited& exited) {
  const ProgramSeat& seat = streams_.seats()[exited.program];
  Tally& tally = tallies_[seat.stage];
  exec::Exited end = exited;
  if (flow::runs_by_job(plan_.stages[seat.stage])) {
    move();  // it has said how it ended before its program could
    if (auto status = streams_.status_of(seat.stage)) end.wait_status = wait_status_of(*status);
  }
  flow::StageEnd how{.status = exec::ProcessStatus::from_wait(end.wait_status),
                     .reader_done = end.output_reader != exec::Reader::open};
  bool lost = seat.worker > 0 && flow::was_lost(how);
  if (lost && !plan_.losses_allowed)
    owner_.fail(how.status.shell_status(),
                fmt::format("worker {} of {} `{}` was ended by signal {}: what it had been given is lost, and the "
                            "flow is ended (--on-loss=continue goes on)",
                            seat.worker, title_of(plan_, seat.stage),
                            flow::on_one_line(plan_.stages[seat.stage].command, kCommandColumns), how.status.signal()),
                static_cast<int>(plan_.stages[seat.stage].number));
  if (lost) lost_.insert_or_assign({seat.stage, seat.worker}, how);
  --tally.left;
  bool forgiven = lost && plan_.losses_allowed && (tally.left > 0 || tally.worst);
  if (!forgiven) {
    if (tally.worst) {
      end.user_us += tally.worst->user_us;
      end.system_us += tally.worst->system_us;
      end.peak_memory_bytes = std::max(end.peak_memory_bytes, tally.worst->peak_memory_bytes);
      auto before = exec::ProcessStatus::from_wait(tally.worst->wait_status);
      if (before.shell_status() > how.status.shell_status()) end.wait_status = tally.worst->wait_status;
    }
    tally.worst = end;
  }
  if (tally.left == 0) tell_end(seat.stage, *tally.worst);
  release_whole_outputs();
  conclude_if_over();
}

void PartRecords::tell_end(std::size_t stage, exec::Exited exited) {
  tallies_[stage].told = true;
  v1::HostEvent event;
  v1::Exited& message = *event.mutable_exited();
  to_message(exited, prepare_.stages(static_cast<int>(stage)).index(), message);
  flow::FlowSummary summary;
  summary.stages.resize(plan_.stages.size());
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) summary.stages[i].workers.resize(plan_.stages[i].workers);
  streams_.count(summary, false);
  flow::StageSummary& counted = summary.stages[stage];
  tell_losses(stage, counted);
  message.set_cpu_us(std::max(exited.user_us + exited.system_us, counted.cpu_us));
  message.set_peak_memory_bytes(std::max(exited.peak_memory_bytes, counted.peak_memory_bytes));
  for (const flow::WorkerSummary& worker : counted.workers) {
    v1::WorkerRecords& records = *message.add_workers();
    records.set_given(worker.records_given.value_or(0));
    records.set_written(worker.records_written.value_or(0));
  }
  if (counted.jobs) {
    message.mutable_jobs()->set_started(counted.jobs->started);
    message.mutable_jobs()->set_retried(counted.jobs->retried);
    message.mutable_jobs()->set_dead_letters(counted.jobs->dead_letters);
    message.mutable_jobs()->set_skipped(counted.jobs->skipped);
  }
  owner_.emit(std::move(event));
}

void PartRecords::tell_losses(std::size_t stage, flow::StageSummary& counted) {
  for (std::size_t i = 0; i < counted.workers.size(); ++i) {
    flow::WorkerSummary& worker = counted.workers[i];
    worker.number = static_cast<std::uint32_t>(i + 1);
    if (auto lost = lost_.find({stage, worker.number}); lost != lost_.end()) worker.end = lost->second;
    if (!worker.end || !plan_.losses_allowed) continue;
    v1::HostEvent event;
    event.mutable_remark()->set_text(flow::loss_sentence(worker, title_of(plan_, stage)));
    owner_.emit(std::move(event));
  }
}

// Of a stage that is elsewhere, what stands at the other end of its link.
std::optional<std::uint32_t> PartRecords::in_flow(std::size_t stage) const {
  if (stage < own_stages()) return prepare_.stages(static_cast<int>(stage)).index();
  std::size_t stream = stage - own_stages(), inputs = static_cast<std::size_t>(prepare_.inputs_size());
  if (stream < inputs) {
    const v1::PartStream& input = prepare_.inputs(static_cast<int>(stream));
    return input.has_from() ? std::optional(input.from()) : std::nullopt;
  }
  const v1::PartStream& output = prepare_.outputs(static_cast<int>(stream - inputs));
  return output.has_to() ? std::optional(output.to()) : std::nullopt;
}

void PartRecords::report_links(const std::map<std::size_t, JobStageCounts>& counts, v1::Moved& moved) const {
  for (const EmbeddedStreams::LinkApart& link : streams_.links_apart(counts)) {
    v1::LinkRead& message = *moved.add_link_reads();
    if (auto from = in_flow(link.from)) message.set_from(*from);
    message.set_of_errors(link.of_errors);
    message.set_to(prepare_.stages(static_cast<int>(link.to)).index());
    v1::RecordsMoved& records = *message.mutable_records();
    std::uint64_t in_flight = link.counts.waiting + link.counts.in_flight;
    records.set_read(link.counts.records_read);
    records.set_dead(link.counts.dead);
    records.set_in_flight(in_flight);
    records.set_waiting(link.counts.waiting);
    records.set_done(link.counts.records_read - std::min(link.counts.records_read, link.counts.dead + in_flight));
    records.set_read_bytes(link.counts.bytes);
  }
  auto fill = [](const link::JunctionPump::Balance& balance, v1::PathBalance& message) {
    message.set_in(balance.in);
    message.set_out(balance.out);
    message.set_dropped(balance.dropped);
  };
  for (const JunctionStreams::PathCounts& path : streams_.path_counts()) {
    v1::PathMoved& message = *moved.add_paths();
    if (auto from = in_flow(path.from)) message.set_from(*from);
    if (auto to = path.to ? in_flow(*path.to) : std::nullopt) message.set_to(*to);
    message.set_of_errors(path.of_errors);
    fill(path.bytes, *message.mutable_bytes());
    if (path.records) fill(*path.records, *message.mutable_records());
  }
}

// Who reads is counted before who writes, so that what has come out is seen to have gone in.
void PartRecords::report(v1::Moved& moved) const {
  const std::map<std::size_t, JobStageCounts> all = streams_.stage_counts();
  for (const auto& [index, counts] : all) {
    v1::StageMoved& stage = stage_in(moved, prepare_.stages(static_cast<int>(index)).index());
    if (far_.contains(index) || flow::runs_by_job(plan_.stages[index]))
      stage.set_running(started_ && !tallies_[index].told);
    v1::RecordsMoved& records = *stage.mutable_records();
    records.set_read(counts.records_read);
    records.set_done(counts.records_settled - counts.skipped);
    records.set_dropped(counts.skipped);
    records.set_dead(counts.dead);
    std::uint64_t in_flight = counts.waiting;
    for (const JobStageCounts::Worker& worker : counts.workers) in_flight += worker.in_flight;
    records.set_in_flight(in_flight);
    records.set_waiting(counts.waiting);
    records.set_written(counts.records_out);
    records.set_read_bytes(counts.input_bytes);
    records.set_written_bytes(counts.output_bytes);
    if (flow::runs_by_job(plan_.stages[index])) records.set_credit(counts.credit);
    report_workers(counts, flow::runs_by_job(plan_.stages[index]), stage);
  }
  report_links(all, moved);
}

void PartRecords::fill(v1::Waits& waits) const {
  std::vector<flow::StallParty> parties(stall_party_count(plan_));
  if (started_ && !stopped_) parties = streams_.stall_parties();
  for (const flow::StallParty& party : parties) to_message(party, *waits.add_parties());
}

// Of programs that were looked at more is known than what their pipes tell.
void PartRecords::report_workers(const JobStageCounts& counts, bool by_job, v1::StageMoved& stage) {
  bool looked_at = !stage.workers().empty();
  flow::Activity all;
  for (std::size_t i = 0; i < counts.workers.size(); ++i) {
    const JobStageCounts::Worker& worker = counts.workers[i];
    auto number = static_cast<std::uint32_t>(i + 1);
    auto place = std::ranges::find(*stage.mutable_workers(), number, &v1::WorkerMoved::worker);
    v1::WorkerMoved& message = place != stage.mutable_workers()->end() ? *place : *stage.add_workers();
    message.set_worker(number);
    message.set_records_in(worker.records_given);
    message.set_records_out(worker.records_written);
    if (by_job) message.set_in_flight(worker.in_flight);
    if (looked_at) continue;
    message.set_running(stage.running() && worker.state != link::WorkerState::gone);
    flow::Activity activity{.busy = worker.times.busy, .idle = worker.times.idle, .held_back = worker.times.held_back};
    to_message(activity, *message.mutable_activity());
    all += activity;
  }
  if (!looked_at) to_message(all, *stage.mutable_activity());
}

bool PartRecords::over() const {
  if (stopped_ || !started_) return true;
  return std::ranges::all_of(tallies_, &Tally::told) && streams_.records_over();
}

}  // namespace sluice::node
