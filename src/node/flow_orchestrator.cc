#include "node/flow_orchestrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "flow/distributed_run.h"
#include "node/counters_assembly.h"
#include "node/failure_message.h"
#include "node/flow_layout.h"
#include "node/flow_links.h"
#include "node/flow_memory.h"
#include "node/flow_messages.h"
#include "node/flow_news.h"
#include "node/flow_roles.h"
#include "node/flow_scaling.h"
#include "node/flow_stages.h"
#include "node/flow_stalls.h"
#include "node/host_commands.h"
#include "node/mailbox.h"
#include "node/part_reports.h"
#include "sluice/v1/flow_memory.pb.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

struct PartEvent {
  std::size_t part = 0;
  v1::HostEvent event;
};
struct PartLost {
  std::size_t part = 0;
  std::string reason;
};
struct Input {
  v1::RunInput input;
};
struct ClientLost {};
struct NodeLost {
  NodeId node;
  std::string reason;
};
struct StopRequest {
  std::optional<std::uint64_t> grace_ms;
  std::string reason;
};
struct Offered {
  NodeId node;
  v1::RoleOffer offer;
};
struct LetGo {};
using Event = std::variant<PartEvent, PartLost, Input, ClientLost, NodeLost, StopRequest, Offered,
                           std::shared_ptr<FlowScaling::Request>, LetGo>;

// After the grace. A client that is stopped (Ctrl-Z), or that nobody reads, must not keep a node from ending.
constexpr std::chrono::seconds kClientTime{5};
// A client says otherwise, if it likes.
constexpr std::chrono::milliseconds kStallTimeout{10'000};

std::uint64_t unix_ms_now() {
  auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace

struct FlowOrchestrator::Impl final : HostListener {
  struct PartState {
    std::unique_ptr<HostSession> session;  // none: the client's, or closed
    bool prepared = false;
    bool over = false;
  };

  Impl(net::asio::any_io_executor executor, FlowSurroundings& around, FlowClient* to_client, FlowId flow_id,
       const v1::RunStart& run_start, FlowWorld world, Logger& to_log)
      : surroundings(around),
        id(flow_id),
        start(run_start),
        log(to_log),
        layout(start, std::move(world)),
        news(to_client, layout, id, log),
        stages(start, layout),
        events(executor),
        changed(executor),
        roles(start, id),
        scaling(executor, layout),
        reports(executor),
        started_ms(unix_ms_now()) {}

  static FlowWorld world_of(FlowSurroundings& around, std::vector<flow::NodeChoice> nodes, bool has_client) {
    return {.nodes = std::move(nodes),
            .gone = around.gone_nodes(),
            .self = around.self(),
            .has_client = has_client,
            .address_of = [&around](const NodeId& node) { return around.address_of(node); }};
  }

  FlowSurroundings& surroundings;
  FlowId id;
  v1::RunStart start;
  Logger& log;
  FlowLayout layout;
  FlowNews news;
  FlowStages stages;
  Mailbox<Event> events;
  Condition changed;               // the programs run, or the flow has ended
  bool gone_on = false;            // without us
  std::optional<FlowLinks> links;  // while it runs
  std::vector<PartState> parts;
  FlowRoles roles;
  bool has_asked_offers = false;
  bool has_refused_workers = false;
  std::set<std::size_t> gone_seats;  // parts of workers that had joined
  FlowScaling scaling;
  PartReports reports;
  std::optional<FlowStalls> stalls;  // of a flow that can stall
  std::optional<flow::DistributedRun> machine;
  std::optional<TimePoint> client_due;  // the flow was told to stop: until then its client must have ended its own part
  bool ended = false;
  std::uint64_t started_ms;
  std::uint64_t ended_ms = 0;
  std::optional<v1::FlowMemory> memory;  // of an earlier daemon, which has started the parts
  std::optional<TimePoint> deadline;     // ... and the flow's timeout
  v1::FlowEnded end_message;

  // --- inputs ---------------------------------------------------------------------------------------------------

  void on_event(std::size_t part, v1::HostEvent event) override { events.put(PartEvent{part, std::move(event)}); }
  void on_lost(std::size_t part, std::string reason) override { events.put(PartLost{part, std::move(reason)}); }
  Awaitable<void> room() override { return news.room(); }

  // --- parts ------------------------------------------------------------------------------------------------------

  void send(std::size_t part, const v1::HostCommand& command) {
    if (parts[part].over) return;
    if (parts[part].session) return parts[part].session->send(command);
    if (layout.on_client(part)) news.tell_command(part, command);
  }

  void open_parts() {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const flow::Host& host = layout.graph().parts[i].host;
      if (host) parts[i].session = surroundings.open_host(*host, i, *this);
      v1::HostCommand command;
      *command.mutable_prepare() = prepare(i);
      send(i, command);
    }
  }

  v1::Prepare prepare(std::size_t part) const {
    v1::Prepare prepare = layout.prepare(id, part);
    links->add_ends(part, prepare);
    if (!prepare.keep().outlives_orchestrator()) return prepare;
    prepare.mutable_keep()->set_flow_text(start.text());
    prepare.mutable_keep()->set_started_unix_ms(started_ms);
    return prepare;
  }

  void let_parts_go() {
    for (PartState& part : parts)
      if (part.session) part.session->let_go();
  }

  void close_parts() {
    for (PartState& part : parts)
      if (part.session) part.session->close();
  }

  // --- the run ----------------------------------------------------------------------------------------------------

  Awaitable<void> run() {
    if (memory) co_return co_await resume();
    if (auto read = check_request(start); !read) co_return refuse(125, read.error());
    if (layout.shares_workers()) co_await surroundings.ask_free_cores(layout.nodes());
    layout.place_stages();
    if (!layout.placed()) {
      news.tell_plan(id);
      co_return refuse(125, layout.first_problem());
    }
    layout.make_parts();
    parts.resize(layout.graph().parts.size());
    links.emplace(surroundings, layout);
    if (!news.has_client() && !start.dry_run())
      if (auto kept = remember(); !kept) co_return refuse(125, kept.error());
    if (auto relays = links->set_up_relays(); !relays) co_return refuse(125, relays.error());
    machine.emplace(machine_options(), Clock::now());
    open_parts();
    co_await run_to_the_end();
  }

  // Each part says what has become of it, as if it happened now.
  Awaitable<void> resume() {
    if (auto read = check_request(start); !read) co_return refuse(125, read.error());
    if (auto laid_out = lay_out_again(*memory, layout); !laid_out) co_return refuse(125, laid_out.error());
    links.emplace(surroundings, layout, *memory);
    parts.resize(layout.graph().parts.size());
    flow::DistributedRunOptions options = machine_options();
    if (deadline) options.timeout = std::max(Duration::zero(), *deadline - Clock::now());
    machine.emplace(std::move(options), Clock::now());
    machine->resume(Clock::now());
    for (const flow::Part& part : layout.graph().parts)
      if (part.joined) roles.on_known(*part.seats_of);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      parts[i].prepared = true;
      parts[i].session = surroundings.resume_host(*layout.graph().parts[i].host, id, i, *this);
    }
    co_await run_to_the_end();
  }

  std::expected<void, std::string> remember() const {
    v1::Flow record;
    describe(record);
    auto kept = surroundings.remember(record, limits());
    return kept ? remember_parts() : kept;
  }

  std::expected<void, std::string> remember_parts() const {
    if (!layout.outlives_orchestrator()) return {};
    v1::FlowMemory known;
    *known.mutable_start() = start;
    known.set_started_unix_ms(started_ms);
    remember_layout(layout, known);
    links->fill(known);
    return surroundings.remember_parts(id, known);
  }

  Awaitable<void> run_to_the_end() {
    std::chrono::milliseconds patience = kStallTimeout;
    if (start.has_stall_timeout_ms()) patience = std::chrono::milliseconds(start.stall_timeout_ms());
    if (patience.count() > 0 && can_stall(layout.flow_graph())) stalls.emplace(layout.graph(), patience);
    co_await drive();
    if (gone_on) {
      scaling.on_end();
      co_return let_parts_go();
    }
    close_parts();
    links.reset();
    conclude();
  }

  std::optional<FlowLimits> limits() const {
    if (start.timeout_ms() == 0) return std::nullopt;
    return FlowLimits{.deadline = Clock::now() + std::chrono::milliseconds(start.timeout_ms()),
                      .grace = std::chrono::milliseconds(start.grace_ms())};
  }

  flow::DistributedRunOptions machine_options() const {
    flow::DistributedRunOptions options{.graph = layout.graph(),
                                        .host_names = layout.host_names(),
                                        .stages = layout.stage_count(),
                                        .stage_names = layout.stage_names(),
                                        .grace = std::chrono::milliseconds(start.grace_ms()),
                                        .keep = start.keep_stragglers(),
                                        .rule = *pipefail_from(start.pipefail()),
                                        .start_time = layout.start_time()};
    if (start.timeout_ms() != 0) options.timeout = std::chrono::milliseconds(start.timeout_ms());
    return options;
  }

  Awaitable<void> drive() {
    while (!machine->finished() && !gone_on) {
      look_for_workers();
      act();
      if (machine->started()) changed.notify();
      if (machine->finished()) break;
      auto event = co_await events.take(next_deadline());
      if (event)
        std::visit([this](auto& what) { handle(what); }, *event);
      else
        on_deadline(Clock::now());
    }
    act();
  }

  std::optional<TimePoint> next_deadline() const {
    auto next = machine->poll_deadline();
    for (std::optional<TimePoint> due : {client_due, roles.poll_deadline()})
      if (due && (!next || *due < *next)) next = due;
    if (looks_for_stalls()) next = next ? std::min(*next, stalls->poll_deadline()) : stalls->poll_deadline();
    return next;
  }

  bool looks_for_stalls() const { return stalls && machine->running(); }

  void on_deadline(TimePoint now) {
    if (auto waits = roles.poll_awaiting(now)) {
      if (machine->running()) tell_awaiting(*waits);
      return;
    }
    if (looks_for_stalls() && stalls->poll_deadline() <= now) return look_for_stall(now);
    bool client_is_late = client_due && *client_due <= now;
    if (!client_is_late) return machine->on_deadline(false, now);
    client_due.reset();
    ClientLost lost;
    if (!news.has_lost_client()) handle(lost);
  }

  void refuse(int status, const std::string& message) {
    end_message.set_end(v1::FlowEnded::END_NOT_STARTED);
    end_message.set_status(status);
    end_message.set_message(message);
    tell_end();
  }

  void conclude() {
    for (std::size_t part = 0; part < parts.size(); ++part) news.tell_last_line(part);  // of nodes that were lost
    fill_end(*machine, end_message);
    // A client makes its own words of what it was told.
    if (!news.has_client() && end_message.message().empty()) end_message.set_message(why_ended());
    tell_end();
  }

  // Empty: as it was to.
  std::string why_ended() const {
    if (end_message.end() == v1::FlowEnded::END_TIMED_OUT) return "timed out (--timeout); every stage was ended";
    if (end_message.end() == v1::FlowEnded::END_COMPLETED && end_message.status() != 0) return why_failed();
    return {};
  }

  std::string why_failed() const {
    v1::Flow flow;
    describe(flow);
    return failure_message(flow, stages.ends());
  }

  void tell_end() {
    ended = true;
    ended_ms = unix_ms_now();
    log.debug("flow ended", {{"flow", id.text()}, {"status", end_message.status()}, {"reason", end_message.message()}});
    changed.notify();
    reports.on_end();
    scaling.on_end();
    news.tell_end(end_message);
  }

  // --- workers that join ------------------------------------------------------------------------------------------

  // Once the flow runs: those that wait already are asked for, others are told as they come.
  void look_for_workers() {
    if (!machine->running() || !roles.any()) return;
    if (!std::exchange(has_asked_offers, true)) {
      surroundings.ask_offers();
      roles.on_running(Clock::now());
    }
    while (auto join = roles.poll_join()) admit(*join);
  }

  void tell_awaiting(const FlowRoles::Awaiting& waits) {
    news.note(fmt::format("{} waits for workers: sluice worker --role {} --join sluice://{}/{} -- CMD",
                          title(waits.stage), waits.role, surroundings.address_of(layout.self()),
                          layout.name_of(layout.self())));
  }

  // A worker that had joined, or was about to. `needed`: by its stage.
  void note_gone(std::size_t part, bool needed) {
    const flow::Part& whose = layout.graph().parts[part];
    if (!whose.joined || !gone_seats.insert(part).second) return;
    roles.on_gone(*whose.seats_of, needed ? std::optional(Clock::now()) : std::nullopt);
  }

  void on_part_over(std::size_t part, const v1::Over& over, TimePoint now) {
    parts[part].over = true;
    news.tell_last_line(part);
    bool lost = over.seat() == v1::Over::SEAT_LOST, left = over.seat() == v1::Over::SEAT_LEFT;
    if (layout.graph().parts[part].joined && (lost || left))
      machine->on_seat_gone(part, lost ? std::optional<std::string>("it ended without a word") : std::nullopt);
    note_gone(part, lost || left);
    machine->on_part_over(part, now);
  }

  std::string title(std::size_t stage) const {
    return flow::title_of_stage(start.stages(static_cast<int>(stage)).text().name(), stage);
  }

  void refuse_workers(const RoleJoin& join) {
    if (std::exchange(has_refused_workers, true)) return;
    std::string full = "as many workers have come and gone as a flow can know; start it anew for more";
    news.note(fmt::format("a worker on {} can't join {}: {}", join.host, title(join.stage), full));
    log.warn("a flow takes no more workers", {{"flow", id.text()}, {"reason", full}});
  }

  void admit(const RoleJoin& join) {
    if (!layout.has_room_for_seat()) return refuse_workers(join);
    FlowLayout::JoinedSeat seat = layout.add_seat(join.stage, join.node);
    const flow::PartGraph& graph = layout.graph();
    const flow::Seat& links_of = graph.parts[seat.part].seats.front();
    machine->add_seat(graph.parts[seat.part], graph.links[links_of.requests], graph.links[links_of.replies],
                      layout.host_names()[seat.part]);
    parts.emplace_back();
    if (auto relays = links->add_new(); !relays) {
      parts.back().over = true;
      note_gone(seat.part, true);
      return machine->on_part_failed(seat.part, 125, relays.error(), Clock::now());
    }
    news.note(fmt::format("a worker on {} joins {}", join.host, title(join.stage)));
    if (auto kept = remember_parts(); !kept) log.error("a worker that joined is not noted", {{"reason", kept.error()}});
    PartState& state = parts.back();
    state.prepared = true;
    state.session = surroundings.open_host(join.node, seat.part, *this);
    v1::HostCommand command;
    *command.mutable_prepare() = prepare(seat.part);
    command.mutable_prepare()->set_offer_id(join.offer_id);
    command.mutable_prepare()->clear_files();
    command.mutable_prepare()->clear_progress_ms();
    send(seat.part, command);
    send(seat.home, links->add_seat_command(seat.part));
  }

  // --- events -----------------------------------------------------------------------------------------------------

  void handle(PartLost& lost) { lose_host_of(lost.part, lost.reason); }
  void handle(NodeLost& lost) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (layout.graph().parts[i].host == flow::Host(lost.node) && !parts[i].over) lose_host_of(i, lost.reason);
  }
  void lose_host_of(std::size_t part, const std::string& reason) {
    if (!parts[part].over) note_gone(part, true);
    machine->on_host_lost(part, reason, Clock::now());
  }
  void handle(Offered& offered) { roles.on_offered(offered.node, offered.offer); }
  void handle(LetGo&) { gone_on = true; }
  void handle(ClientLost&) {
    news.on_client_lost();
    machine->on_client_lost(Clock::now());
  }
  void handle(StopRequest& stop) {
    if (stop.grace_ms) machine->set_grace(std::chrono::milliseconds(*stop.grace_ms));
    news.note(stop.reason);
    std::chrono::milliseconds grace(stop.grace_ms.value_or(start.grace_ms()));
    if (news.has_client() && !client_due) client_due = Clock::now() + grace + kClientTime;
    machine->on_signal(SIGTERM, flow::SignalSource::process, false, Clock::now());
  }
  void handle(std::shared_ptr<FlowScaling::Request>& request) {
    auto runs = [this](std::size_t part) { return machine->started() && !parts[part].over; };
    if (auto order = scaling.begin(request, runs)) send(order->part, order->command);
  }

  void handle(Input& input) {
    if (input.input.has_signal()) {
      const v1::UserSignal& signal = input.input.signal();
      auto source = signal.from_terminal() ? flow::SignalSource::terminal : flow::SignalSource::process;
      on_user_signal(signal.number(), source, signal.terminal_raw());
    } else if (input.input.has_host_event()) {
      v1::HostEvent& event = *input.input.mutable_host_event();
      std::size_t part = event.part();
      if (part < parts.size() && layout.on_client(part)) handle_part(part, event);
    }
  }

  // The kernel's signal reached the client's stages and no others: those on nodes are told by us.
  void on_user_signal(int signal, flow::SignalSource source, bool terminal_raw) {
    if (source == flow::SignalSource::terminal && !(terminal_raw && signal != 1)) pass_to_nodes(signal);
    machine->on_signal(signal, source, terminal_raw, Clock::now());
  }

  void pass_to_nodes(int number) {
    flow::PassSignal signal{.signal = number, .strays_too = true, .then_continue = true};
    for (std::size_t i = parts.size(); i-- > 0;)
      if (!layout.on_client(i))
        send(i, command_of(flow::SignalPart{.part = i, .signal = signal, .stages = layout.graph().parts[i].stages}));
  }

  void handle(PartEvent& event) { handle_part(event.part, event.event); }

  void handle_part(std::size_t part, v1::HostEvent& event) {
    TimePoint now = Clock::now();
    switch (event.event_case()) {
      case v1::HostEvent::kPrepared:
        return on_prepared(part, event.prepared(), now);
      case v1::HostEvent::kConnected:
        return machine->on_connected(part, now);
      case v1::HostEvent::kStarted:
        return on_started(part, event.started(), now);
      case v1::HostEvent::kFailed:
        parts[part].over = true;
        note_gone(part, true);
        return machine->on_part_failed(part, event.failed().status(), on_host(part, event.failed().message()), now);
      case v1::HostEvent::kExited:
        return on_exited(part, event.exited(), now);
      case v1::HostEvent::kLinkEnded:
        return on_link_ended(event.link_ended(), now);
      case v1::HostEvent::kSurvey:
        return machine->on_survey(part, stragglers_from(event.survey()), now);
      case v1::HostEvent::kChildless:
        return machine->on_part_childless(part, now);
      case v1::HostEvent::kErrorOutput:
        return news.tell_errors(part, event.error_output());
      case v1::HostEvent::kOver:
        return on_part_over(part, event.over(), now);
      case v1::HostEvent::kUnreached:
        return on_unreached(part, event.unreached(), now);
      case v1::HostEvent::kLeaving:
        return news.note(fmt::format("{} is about to leave the cluster; what runs there was told to end",
                                     layout.host_names()[part]));
      case v1::HostEvent::kRemark:
        return news.note(event.remark().text());
      case v1::HostEvent::kWorkersSet:
        return scaling.on_answer(std::move(*event.mutable_workers_set()));
      case v1::HostEvent::kLinkCounts:
        return news.tell_link_counts(std::move(*event.mutable_link_counts()));
      case v1::HostEvent::kWaits:
        return on_waits(part, std::move(*event.mutable_waits()), now);
      case v1::HostEvent::kMoved:
        return on_moved(part, std::move(*event.mutable_moved()));
      case v1::HostEvent::EVENT_NOT_SET:
        return;
    }
  }

  void on_prepared(std::size_t part, const v1::Prepared& prepared, TimePoint now) {
    int status = 0;
    std::string problem;
    for (const v1::StageHow& how : prepared.stages()) {
      layout.set_how(how);
      if (how.problem().empty() || !problem.empty()) continue;
      problem = on_host(part, how.problem());
      status = how.problem_status();
    }
    parts[part].prepared = true;
    if (std::ranges::all_of(parts, &PartState::prepared)) news.tell_plan(id);
    if (start.dry_run()) {
      parts[part].over = true;
      dry_part(part, now);
    } else if (problem.empty()) {
      machine->on_prepared(part, now);
    } else {
      send(part, command_of(flow::EndPart{.part = part, .links_too = true}));
      machine->on_part_failed(part, status, problem, now);
      parts[part].over = true;
    }
  }

  std::string on_host(std::size_t part, const std::string& message) const {
    return layout.on_client(part) || message.empty() ? message
                                                     : fmt::format("{} (on {})", message, layout.host_names()[part]);
  }

  // A look at the plan ends when every part has been looked at.
  void dry_part(std::size_t part, TimePoint now) { machine->on_part_failed(part, 0, "", now); }

  void on_started(std::size_t part, const v1::Started& started, TimePoint now) {
    const std::vector<std::size_t>& programs = layout.graph().parts[part].stages;
    for (std::size_t i = 0; i < programs.size() && i < static_cast<std::size_t>(started.pids_size()); ++i) {
      int pid = started.pids(static_cast<int>(i));
      stages.on_started(part, programs[i], pid);
      news.tell_started(part, programs[i], pid);
    }
    machine->on_started(part, now);
  }

  void on_exited(std::size_t part, const v1::Exited& exited, TimePoint now) {
    stages.on_exited(part, exited.stage(), exited.wait_status());
    if (exited.reader_done()) stages.on_reader_done(part, exited.stage());
    roles.on_ended(exited.stage());
    news.tell_exited(part, stages.pid_of(part, exited.stage()), exited);
    machine->on_worker_ended(part, exited.stage(), stage_end_from(exited), now);
  }

  void on_link_ended(const v1::LinkEnded& link_ended, TimePoint now) {
    tell_moved_bytes(link_ended);
    if (link_ended.kind() != v1::LinkEnded::KIND_CUT && link_ended.kind() != v1::LinkEnded::KIND_FAILED) return;
    if (auto link = links->find(link_ended.link_id())) machine->on_link_lost(*link, link_ended.message(), now);
  }

  // The producer's end of a link has counted what the stage before it wrote.
  void tell_moved_bytes(const v1::LinkEnded& link_ended) {
    bool whole =
        link_ended.kind() == v1::LinkEnded::KIND_ENDED || link_ended.kind() == v1::LinkEnded::KIND_READER_CLOSED;
    auto link = links->find(link_ended.link_id());
    if (!whole || link_ended.is_input() || !link || layout.graph().links[*link].of_seat) return;
    auto stage = layout.stream_with(*link).from;
    if (!stage || !layout.carries_all_of(*link, *stage)) return;
    news.tell_output(*stage, link_ended.bytes_moved());
  }

  void on_unreached(std::size_t part, const v1::Unreached& unreached, TimePoint now) {
    auto link = links->find(unreached.link_id());
    if (!link) return;
    LinkRemedy remedy = links->on_unreached(*link, part);
    if (!remedy.note.empty()) news.note(remedy.note);
    for (const LinkRemedy::Dial& dial : remedy.dials) send(dial.part, links->redial_command(*link, dial.to));
    if (remedy.dials.empty()) machine->on_link_lost(*link, unreached.message(), now);
  }

  void on_moved(std::size_t part, v1::Moved moved) {
    if (moved.report() != 0) return reports.on_answer(part, std::move(moved));
    news.tell_moved(part, std::move(moved));
  }

  // --- counters ---------------------------------------------------------------------------------------------------

  Awaitable<void> count(v1::FlowCounters& counters) {
    auto runs = [this](std::size_t part) { return !ended && !parts[part].over; };
    if (!ended && machine && machine->started()) {
      bool crowded = news.crowded();
      auto hears = [&](std::size_t part) { return runs(part) && !(crowded && layout.on_client(part)); };
      std::uint64_t number =
          reports.ask(parts.size(), hears, [this](std::size_t part, const auto& command) { send(part, command); });
      co_await reports.wait(number, runs);
    }
    fill(counters);
  }

  void fill(v1::FlowCounters& counters) const {
    v1::Flow flow;
    describe(flow);
    fill_counters(flow, counters);
    AssemblyInput input{
        .whole = layout.flow_graph(),
        .graph = layout.graph(),
        .host_names = layout.host_names(),
        .moved = {},
        .text_of = [this](std::size_t stage) -> const v1::StageText& {
          return start.stages(static_cast<int>(stage)).text();
        },
        .find_link = [this](const std::string& link) { return links ? links->find(link) : std::nullopt; },
        .stages = layout.stage_count()};
    std::set<std::string> silent;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      input.moved.push_back(reports.of(i));
      if (reports.is_silent(i)) silent.insert(layout.host_names()[i]);
    }
    for (const std::string& host : silent) counters.add_silent_hosts(host);
    assemble(input, counters);
  }

  // --- stages that wait for each other ----------------------------------------------------------------------------

  void look_for_stall(TimePoint now) {
    auto runs = [this](std::size_t part) { return !parts[part].over; };
    if (auto found = stalls->poll_stall(runs, now)) on_stall(*found);
    auto question = stalls->poll_question(now);
    if (!question) return;
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (stalls->is_asked(i) && !(news.crowded() && layout.on_client(i))) send(i, *question);
  }

  void on_stall(const flow::StallFinding& found) {
    if (found.stalled) return machine->on_stalled(found.sentence);
    news.note(found.sentence);
  }

  void on_waits(std::size_t part, v1::Waits waits, TimePoint now) {
    if (!looks_for_stalls()) return;
    stalls->on_answer(part, std::move(waits));
    look_for_stall(now);
  }

  // --- the machine's actions --------------------------------------------------------------------------------------

  void act() {
    while (auto action = machine->poll_action()) std::visit([this](const auto& what) { carry_out(what); }, *action);
  }

  void carry_out(const flow::Tell& action) { news.note(action.message); }
  void carry_out(const flow::DropLinks& action) { send(action.part, links->drop_command(action.links)); }
  void carry_out(const flow::StartPart& action) {
    links->start_relays();
    send(action.part, command_of(action));
  }
  void carry_out(const auto& action) { send(action.part, command_of(action)); }

  // --- what it is now ---------------------------------------------------------------------------------------------

  void describe(v1::Flow& flow) const {
    flow.set_id(id.text());
    flow.set_name(start.name());
    flow.set_text(start.text());
    flow.set_background(!news.has_client());
    flow.set_started_unix_ms(started_ms);
    flow.set_ended_unix_ms(ended_ms);
    flow.set_node(layout.name_of(layout.self()));
    flow.set_node_id(surroundings.self().text());
    flow.set_pipefail(start.pipefail());
    if (ended)
      flow.set_state(v1::FLOW_STATE_ENDED);
    else
      flow.set_state(machine && machine->started() ? v1::FLOW_STATE_RUNNING : v1::FLOW_STATE_STARTING);
    flow.set_status(end_message.status());
    flow.set_message(end_message.message());
    for (const std::string& note : news.last_notes()) flow.add_notes(note);
    stages.describe(flow);
  }
};

FlowOrchestrator::FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings,
                                   FlowClient* client, FlowId id, const v1::RunStart& start, Logger& log)
    : impl_(std::make_unique<Impl>(std::move(executor), surroundings, client, id, start,
                                   Impl::world_of(surroundings, surroundings.nodes(), client != nullptr), log)) {}

FlowOrchestrator::FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings, FlowId id,
                                   const v1::FlowMemory& memory, std::optional<TimePoint> deadline, Logger& log)
    : impl_(std::make_unique<Impl>(
          std::move(executor), surroundings, nullptr, id, memory.start(),
          Impl::world_of(surroundings, nodes_from(memory).value_or(std::vector<flow::NodeChoice>()), false), log)) {
  impl_->memory = memory;
  impl_->deadline = deadline;
  impl_->started_ms = memory.started_unix_ms();
}

FlowOrchestrator::~FlowOrchestrator() = default;

void FlowOrchestrator::place_here_on_node() { impl_->layout.place_here_on_node(); }
Awaitable<void> FlowOrchestrator::run() {
  co_await impl_->run();
  impl_->events.close();  // what a client still says is dropped, and nothing of it is kept
}
void FlowOrchestrator::on_input(v1::RunInput input) { impl_->events.put(Input{std::move(input)}); }
void FlowOrchestrator::on_client_lost() { impl_->events.put(ClientLost{}); }
void FlowOrchestrator::on_node_lost(const NodeId& node, const std::string& reason) {
  impl_->events.put(NodeLost{node, reason});
}
void FlowOrchestrator::stop(std::optional<std::uint64_t> grace_ms, const std::string& reason) {
  impl_->events.put(StopRequest{grace_ms, reason});
}

void FlowOrchestrator::on_offered(const NodeId& node, const std::vector<v1::RoleOffer>& offers) {
  for (const v1::RoleOffer& offer : offers) impl_->events.put(Offered{node, offer});
}

Awaitable<std::expected<v1::ScaleStageResponse, rpc::Status>> FlowOrchestrator::scale(std::string stage,
                                                                                      std::uint32_t workers) {
  return impl_->scaling.ask(
      std::move(stage), workers,
      [impl = impl_.get()](std::shared_ptr<FlowScaling::Request> request) { impl->events.put(std::move(request)); });
}

bool FlowOrchestrator::survives_daemon() const {
  return !impl_->news.has_client() && has_started() &&
         (impl_->layout.needs_only_this_host() || impl_->layout.outlives_orchestrator());
}
void FlowOrchestrator::let_go() { impl_->events.put(LetGo{}); }

Awaitable<void> FlowOrchestrator::started_or_ended() {
  while (!impl_->ended && !has_started()) co_await impl_->changed.wait();
}

bool FlowOrchestrator::has_started() const { return impl_->machine && impl_->machine->started(); }

void FlowOrchestrator::describe(v1::Flow& flow) const { impl_->describe(flow); }

Awaitable<void> FlowOrchestrator::count(v1::FlowCounters& counters) { return impl_->count(counters); }

}  // namespace sluice::node
