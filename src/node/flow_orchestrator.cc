#include "node/flow_orchestrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <set>
#include <utility>
#include <variant>

#include "base/require.h"
#include "flow/distributed_run.h"
#include "link/link_claim.h"
#include "node/flow_messages.h"
#include "node/mailbox.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

using net::Awaitable;

constexpr std::uint32_t kGeneration = 1;
constexpr std::uint64_t kSlowestShipping = std::uint64_t{256} << 10;  // bytes a second
constexpr unsigned kLinkAttemptsMax = 5;                              // of both ends together

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
struct LetGo {};
using Event = std::variant<PartEvent, PartLost, Input, ClientLost, NodeLost, StopRequest, LetGo>;

std::string bytes_text(std::span<const std::uint8_t> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::uint64_t unix_ms_now() {
  auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace

struct FlowOrchestrator::Impl final : HostListener {
  struct Link {
    LinkId id;
    link::LinkToken token{};
    bool relayed = false;
    unsigned attempts = 0;  // to make it that have failed
  };
  struct PartState {
    std::unique_ptr<HostSession> session;  // none: the client's, or closed
    bool over = false;
  };

  Impl(net::asio::any_io_executor executor, FlowSurroundings& around, FlowClient* to_client, FlowId flow_id,
       const v1::RunStart& run_start, Logger& to_log)
      : surroundings(around),
        client(to_client),
        id(flow_id),
        start(run_start),
        log(to_log),
        events(executor),
        changed(executor) {
    started_ms = unix_ms_now();
  }

  FlowSurroundings& surroundings;
  FlowClient* client;
  FlowId id;
  v1::RunStart start;
  Logger& log;
  Mailbox<Event> events;
  Condition changed;     // the programs run, or the flow has ended
  bool gone_on = false;  // without us
  std::vector<flow::StagePlace> places;
  flow::PartGraph graph;
  std::vector<std::string> host_names;
  std::vector<Link> links;
  std::vector<PartState> parts;
  std::map<std::pair<std::size_t, std::size_t>, int> pids;  // by part and stage
  std::map<std::pair<std::size_t, std::size_t>, int> wait_statuses;
  std::map<std::size_t, v1::StageHow> hows;
  std::optional<flow::DistributedRun> machine;
  bool client_gone = false;
  bool here_on_node = false;
  bool plan_sent = false;
  bool ended = false;
  std::uint64_t started_ms = 0;
  std::uint64_t ended_ms = 0;
  v1::FlowEnded end_message;

  // --- inputs ---------------------------------------------------------------------------------------------------

  void on_event(std::size_t part, v1::HostEvent event) override { events.put(PartEvent{part, std::move(event)}); }
  void on_lost(std::size_t part, std::string reason) override { events.put(PartLost{part, std::move(reason)}); }
  Awaitable<void> room() override {
    if (client != nullptr && !client_gone) co_await client->room();
  }

  void tell(v1::RunOutput output) {
    if (client != nullptr && !client_gone) client->send(std::move(output));
  }
  void note(const std::string& text) {
    v1::RunOutput output;
    output.set_note(text);
    tell(std::move(output));
  }

  // --- planning -------------------------------------------------------------------------------------------------

  /// Errors: why the request can't run at all.
  std::expected<void, std::string> read_request() {
    if (start.stages().empty()) return std::unexpected("a flow without a stage");
    for (const v1::StageRequest& stage : start.stages())
      if (!stage_from(stage.text())) return std::unexpected("a stage without a command");
    if (!pipefail_from(start.pipefail()))
      return std::unexpected(fmt::format("pipefail '{}' is unknown", start.pipefail()));
    return {};
  }

  void place() {
    std::vector<flow::Whereabouts> wanted;
    for (const v1::StageRequest& stage : start.stages()) wanted.push_back(whereabouts_from(stage));
    places = flow::place_stages(
        wanted, {.nodes = surroundings.nodes(), .home = surroundings.self(), .client_name = start.client_name()});
    if (client == nullptr || here_on_node) put_here_on_node();
    for (std::size_t i = 0; i < places.size(); ++i) {
      const auto& problems = start.stages(static_cast<int>(i)).ship_problems();
      bool elsewhere = std::ranges::any_of(places[i].hosts, [](const flow::Host& host) { return host.has_value(); });
      if (elsewhere && !problems.empty() && places[i].problem.empty()) places[i].problem = problems[0];
    }
  }

  void put_here_on_node() {
    // Without a client that could run something, "here" is the node that was asked.
    for (flow::StagePlace& place : places)
      for (flow::Host& host : place.hosts)
        if (!host) {
          host = surroundings.self();
          place.place = name_of(*host);
        }
  }

  std::string name_of(const NodeId& node) const {
    for (const flow::NodeChoice& choice : surroundings.nodes())
      if (choice.id == node) return choice.name;
    return node.text().substr(0, kShortIdDigits);
  }

  std::string client_name() const { return start.client_name().empty() ? "the client" : start.client_name(); }

  void make_graph() {
    graph = flow::make_parts(
        places, {.client_input = client != nullptr && !start.no_input(), .client_output = client != nullptr});
    for (const flow::Part& part : graph.parts) host_names.push_back(part.host ? name_of(*part.host) : client_name());
    for (std::size_t i = 0; i < graph.links.size(); ++i)
      links.push_back({.id = LinkId::random(), .token = link::random_token()});
    parts.resize(graph.parts.size());
  }

  v1::FlowPlan plan() const {
    v1::FlowPlan plan;
    plan.set_flow_id(id.text());
    for (std::size_t i = 0; i < places.size(); ++i) {
      v1::PlannedStage& stage = *plan.add_stages();
      const v1::StageRequest& request = start.stages(static_cast<int>(i));
      stage.set_index(static_cast<std::uint32_t>(i));
      stage.set_command(request.text().command());
      for (const std::string& word : request.at_words()) stage.add_at_words(word);
      stage.set_place(places[i].place);
      stage.set_place_reason(places[i].reason);
      for (const flow::Host& host : places[i].hosts)
        if (host) stage.add_node_ids(host->text());
      auto how = hows.find(i);
      if (how != hows.end()) stage.set_how(how->second.how());
      if (!places[i].problem.empty()) add_problem(plan, i, 125, fmt::format("stage {}: {}", i + 1, places[i].problem));
      if (how != hows.end() && !how->second.problem().empty())
        add_problem(plan, i, how->second.problem_status(), how->second.problem());
    }
    for (const flow::PartLink& link : graph.links) {
      v1::PlannedLink& planned = *plan.add_links();
      const flow::Part& from = graph.parts[link.from];
      const flow::Part& to = graph.parts[link.to];
      planned.set_from(from.stages.empty() ? -1 : static_cast<int>(from.stages.back()));
      planned.set_to(to.stages.empty() ? -1 : static_cast<int>(to.stages.front()));
      planned.set_carrier(needs_relay(link) ? "byte link, relayed by " + name_of(surroundings.self()) : "byte link");
    }
    for (const v1::ShippedFile& file : start.files())
      if (std::ranges::any_of(graph.parts, [&](const flow::Part& part) { return needs(part, file.path()); }))
        *plan.add_ships() = file;
    return plan;
  }

  // The client has its own files.
  bool needs(const flow::Part& part, const std::string& path) const {
    return part.host && std::ranges::any_of(part.stages, [&](std::size_t stage) {
             const auto& ships = start.stages(static_cast<int>(stage)).ships();
             return std::ranges::find(ships, path) != ships.end();
           });
  }

  static void add_problem(v1::FlowPlan& plan, std::size_t stage, int status, const std::string& message) {
    v1::PlanProblem& problem = *plan.add_problems();
    problem.set_stage(static_cast<std::uint32_t>(stage));
    problem.set_status(status);
    problem.set_message(message);
  }

  void send_plan() {
    if (std::exchange(plan_sent, true)) return;
    v1::RunOutput output;
    *output.mutable_plan() = plan();
    tell(std::move(output));
  }

  // --- links ------------------------------------------------------------------------------------------------------

  // A client reaches only the node that it speaks to.
  bool needs_relay(const flow::PartLink& link) const {
    const flow::Host& from = graph.parts[link.from].host;
    const flow::Host& to = graph.parts[link.to].host;
    if (from.has_value() == to.has_value()) return false;
    return (from ? *from : *to) != surroundings.self();
  }

  v1::LinkEnd link_end(std::size_t index, bool producer) const {
    const flow::PartLink& link = graph.links[index];
    std::size_t mine = producer ? link.from : link.to;
    std::size_t other = producer ? link.to : link.from;
    const flow::Host& my_host = graph.parts[mine].host;
    const flow::Host& other_host = graph.parts[other].host;
    v1::LinkEnd end;
    end.set_link_id(bytes_text(links[index].id.bytes));
    end.set_token(bytes_text(links[index].token));
    end.set_generation(kGeneration);
    end.set_peer_name(host_names[other]);
    bool relayed = needs_relay(link);
    // The consumer dials, so that it can go away while the producer's address stays; a client always dials.
    bool dials = !my_host || relayed || (!producer && other_host);
    end.set_how(dials ? v1::LinkEnd::HOW_DIAL : v1::LinkEnd::HOW_LISTEN);
    if (!dials || !my_host) return end;
    NodeId target = relayed ? surroundings.self() : *other_host;
    end.set_address(surroundings.address_of(target));
    end.set_node_id(target.text());
    return end;
  }

  std::expected<void, std::string> set_up_relays() {
    for (std::size_t i = 0; i < graph.links.size(); ++i)
      if (needs_relay(graph.links[i]) && !set_up_relay(links[i]))
        return std::unexpected("too many links wait on this node; try again later");
    return {};
  }

  bool set_up_relay(Link& link) {
    link.relayed = surroundings.relay_link(link.id, bytes_text(link.token), kGeneration);
    return link.relayed;
  }

  // The consumer could not dial: the producer does. If neither can, both dial this node, which reaches both. Whoever must
  // dial this node and fails tries again: packets may get lost.
  void on_unreached(std::size_t part, const v1::Unreached& unreached, TimePoint now) {
    auto link =
        std::ranges::find(links, unreached.link_id(), [](const Link& each) { return bytes_text(each.id.bytes); });
    if (link == links.end()) return;
    auto index = static_cast<std::size_t>(link - links.begin());
    const flow::PartLink& ends = graph.links[index];
    bool between_nodes = graph.parts[ends.from].host && graph.parts[ends.to].host;
    ++link->attempts;
    if (between_nodes && link->attempts == 1) return redial(ends.from, *link, *graph.parts[ends.to].host);
    if (between_nodes && link->attempts == 2 && !is_at_home(ends) && set_up_relay(*link)) {
      note(fmt::format("{} and {} cannot reach each other: {} relays between them", host_names[ends.from],
                       host_names[ends.to], name_of(surroundings.self())));
      redial(ends.from, *link, surroundings.self());
      return redial(ends.to, *link, surroundings.self());
    }
    if ((link->relayed || !between_nodes) && link->attempts <= kLinkAttemptsMax)
      return redial(part, *link, surroundings.self());
    machine->on_link_lost(index, unreached.message(), now);
  }

  bool is_at_home(const flow::PartLink& link) const {
    flow::Host home = surroundings.self();
    return graph.parts[link.from].host == home || graph.parts[link.to].host == home;
  }

  void redial(std::size_t part, const Link& link, const NodeId& to) {
    v1::HostCommand command;
    v1::Redial& redial = *command.mutable_redial();
    redial.set_link_id(bytes_text(link.id.bytes));
    redial.set_address(surroundings.address_of(to));
    redial.set_node_id(to.text());
    send(part, command);
  }

  void forget_relays() {
    for (const Link& link : links)
      if (link.relayed) surroundings.forget_relay(link.id);
  }

  // --- parts ------------------------------------------------------------------------------------------------------

  v1::HostCommand prepare_command(std::size_t index) const {
    const flow::Part& part = graph.parts[index];
    v1::HostCommand command;
    v1::Prepare& prepare = *command.mutable_prepare();
    prepare.set_flow_id(id.text());
    prepare.set_flow_name(start.name());
    prepare.set_part(static_cast<std::uint32_t>(index));
    for (std::size_t stage : part.stages) *prepare.add_stages() = start.stages(static_cast<int>(stage)).text();
    for (std::size_t link : part.inputs) {
      *prepare.add_inputs() = link_end(link, false);
      prepare.add_input_marks(marks_input(part) ? host_names[graph.links[link].from] + ": " : "");
    }
    if (part.output) *prepare.mutable_output() = link_end(*part.output, true);
    for (const v1::ShippedFile& file : start.files())
      if (needs(part, file.path())) *prepare.add_files() = file;
    prepare.set_files_node_id(start.files_node_id().empty() ? surroundings.self().text() : start.files_node_id());
    *prepare.mutable_environment() = start.environment();
    prepare.set_shell(start.shell());
    prepare.set_inner_pipefail(start.inner_pipefail());
    prepare.set_account_io(start.account_io());
    prepare.set_look_only(start.dry_run());
    if (client == nullptr) {
      prepare.mutable_keep()->set_output_bytes_max(start.keep_bytes_max());
      prepare.mutable_keep()->set_outlives_daemon(needs_only_this_host());
    }
    return command;
  }

  // A part elsewhere must not go on without us, nor ours without one elsewhere.
  bool needs_only_this_host() const {
    return graph.links.empty() && graph.parts.size() == 1 && graph.parts[0].host == flow::Host(surroundings.self());
  }

  // The lines of @all carry their node's name when nothing else would tell whose they are.
  bool marks_input(const flow::Part& part) const {
    if (start.marks() == v1::RunStart::MARKS_NEVER || !places.front().everywhere) return false;
    bool from_all = std::ranges::any_of(part.inputs, [&](std::size_t link) {
      const flow::Part& from = graph.parts[graph.links[link].from];
      return !from.stages.empty() && from.stages.front() == 0;
    });
    return from_all && (start.marks() == v1::RunStart::MARKS_ALWAYS || places.size() == 1);
  }

  void send(std::size_t part, const v1::HostCommand& command) {
    if (parts[part].over) return;
    if (parts[part].session) return parts[part].session->send(command);
    if (graph.parts[part].host) return;
    v1::RunOutput output;
    output.mutable_host()->set_part(static_cast<std::uint32_t>(part));
    *output.mutable_host()->mutable_command() = command;
    tell(std::move(output));
  }

  void open_parts() {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (graph.parts[i].host) parts[i].session = surroundings.open_host(*graph.parts[i].host, i, *this);
      send(i, prepare_command(i));
    }
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
    if (auto read = read_request(); !read) co_return refuse(125, read.error());
    place();
    bool placed = std::ranges::all_of(places, [](const flow::StagePlace& place) { return place.problem.empty(); });
    if (!placed) {
      send_plan();
      co_return refuse(125, first_problem());
    }
    make_graph();
    if (client == nullptr && !start.dry_run()) {
      v1::Flow record;
      describe(record);
      if (auto kept = surroundings.remember(record); !kept) co_return refuse(125, kept.error());
    }
    if (auto relays = set_up_relays(); !relays) co_return refuse(125, relays.error());
    flow::DistributedRunOptions options{.graph = graph,
                                        .host_names = host_names,
                                        .stages = places.size(),
                                        .grace = std::chrono::milliseconds(start.grace_ms()),
                                        .keep = start.keep_stragglers(),
                                        .rule = *pipefail_from(start.pipefail()),
                                        .start_time = start_time()};
    if (start.timeout_ms() != 0) options.timeout = std::chrono::milliseconds(start.timeout_ms());
    machine.emplace(std::move(options), Clock::now());
    open_parts();
    co_await drive();
    if (gone_on) co_return let_parts_go();
    close_parts();
    forget_relays();
    conclude();
  }

  // Files may take a while over a slow line.
  Duration start_time() const {
    std::uint64_t bytes = 0;
    for (const v1::ShippedFile& file : start.files()) bytes += file.size();
    return flow::DistributedRunOptions().start_time + std::chrono::seconds(bytes / kSlowestShipping);
  }

  Awaitable<void> drive() {
    while (!machine->finished() && !gone_on) {
      act();
      if (machine->started()) changed.notify();
      if (machine->finished()) break;
      auto event = co_await events.take(machine->poll_deadline());
      if (event)
        std::visit([this](auto& what) { handle(what); }, *event);
      else
        machine->on_deadline(false, Clock::now());
    }
    act();
  }

  std::string first_problem() const {
    for (std::size_t i = 0; i < places.size(); ++i)
      if (!places[i].problem.empty()) return fmt::format("stage {}: {}", i + 1, places[i].problem);
    return {};
  }

  void refuse(int status, const std::string& message) {
    end_message.set_end(v1::FlowEnded::END_NOT_STARTED);
    end_message.set_status(status);
    end_message.set_message(message);
    tell_end();
  }

  void conclude() {
    fill_end(*machine, end_message);
    tell_end();
  }

  void tell_end() {
    ended = true;
    ended_ms = unix_ms_now();
    log.debug("flow ended", {{"flow", id.text()}, {"status", end_message.status()}, {"reason", end_message.message()}});
    changed.notify();
    v1::RunOutput output;
    *output.mutable_ended() = end_message;
    tell(std::move(output));
  }

  // --- events -----------------------------------------------------------------------------------------------------

  void handle(PartLost& lost) { machine->on_host_lost(lost.part, lost.reason, Clock::now()); }
  void handle(NodeLost& lost) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (graph.parts[i].host == flow::Host(lost.node) && !parts[i].over)
        machine->on_host_lost(i, lost.reason, Clock::now());
  }
  void handle(LetGo&) { gone_on = true; }
  void handle(ClientLost&) {
    client_gone = true;
    machine->on_client_lost(Clock::now());
  }
  void handle(StopRequest& stop) {
    if (stop.grace_ms) machine->set_grace(std::chrono::milliseconds(*stop.grace_ms));
    note(stop.reason);
    machine->on_signal(SIGTERM, flow::SignalSource::process, false, Clock::now());
  }
  void handle(Input& input) {
    if (input.input.has_signal()) {
      const v1::UserSignal& signal = input.input.signal();
      auto source = signal.from_terminal() ? flow::SignalSource::terminal : flow::SignalSource::process;
      on_user_signal(signal.number(), source, signal.terminal_raw());
    } else if (input.input.has_host_event()) {
      v1::HostEvent& event = *input.input.mutable_host_event();
      std::size_t part = event.part();
      if (part < parts.size() && !graph.parts[part].host) handle_part(part, event);
    }
  }

  // The kernel's signal reached the client's stages and no others: those on nodes are told by us.
  void on_user_signal(int signal, flow::SignalSource source, bool terminal_raw) {
    if (source == flow::SignalSource::terminal && !(terminal_raw && signal != 1)) pass_to_nodes(signal);
    machine->on_signal(signal, source, terminal_raw, Clock::now());
  }

  void pass_to_nodes(int number) {
    for (std::size_t i = parts.size(); i-- > 0;) {
      if (!graph.parts[i].host) continue;
      v1::HostCommand command;
      v1::Signal& signal = *command.mutable_signal();
      signal.set_number(number);
      signal.set_strays_too(true);
      signal.set_then_continue(true);
      for (std::size_t stage : graph.parts[i].stages) signal.add_stages(static_cast<std::uint32_t>(stage));
      send(i, command);
    }
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
        return on_error_output(event.error_output());
      case v1::HostEvent::kOver:
        parts[part].over = true;
        return machine->on_part_over(part, now);
      case v1::HostEvent::kUnreached:
        return on_unreached(part, event.unreached(), now);
      case v1::HostEvent::kLeaving:
        return note(fmt::format("{} is about to leave the cluster; what runs there was told to end", host_names[part]));
      case v1::HostEvent::kMoved:
      case v1::HostEvent::EVENT_NOT_SET:
        return;
    }
  }

  void on_prepared(std::size_t part, const v1::Prepared& prepared, TimePoint now) {
    int status = 0;
    std::string problem;
    for (const v1::StageHow& how : prepared.stages()) {
      hows[how.index()] = how;
      if (how.problem().empty() || !problem.empty()) continue;
      problem = on_host(part, how.problem());
      status = how.problem_status();
    }
    prepared_.insert(part);
    if (prepared_.size() == parts.size()) send_plan();
    if (start.dry_run()) {
      parts[part].over = true;
      dry_part(part, now);
    } else if (problem.empty()) {
      machine->on_prepared(part, now);
    } else {
      v1::HostCommand command;
      command.mutable_end_all()->set_links_too(true);
      send(part, command);
      machine->on_part_failed(part, status, problem, now);
      parts[part].over = true;
    }
  }

  std::string on_host(std::size_t part, const std::string& message) const {
    return graph.parts[part].host ? fmt::format("{} (on {})", message, host_names[part]) : message;
  }

  // A look at the plan ends when every part has been looked at.
  void dry_part(std::size_t part, TimePoint now) { machine->on_part_failed(part, 0, "", now); }

  void on_started(std::size_t part, const v1::Started& started, TimePoint now) {
    const std::vector<std::size_t>& stages = graph.parts[part].stages;
    for (std::size_t i = 0; i < stages.size() && i < static_cast<std::size_t>(started.pids_size()); ++i) {
      pids[{part, stages[i]}] = started.pids(static_cast<int>(i));
      v1::RunOutput output;
      v1::StageStatus& status = *output.mutable_stage();
      status.set_index(static_cast<std::uint32_t>(stages[i]));
      status.set_host(host_names[part]);
      status.set_pid(started.pids(static_cast<int>(i)));
      tell(std::move(output));
    }
    machine->on_started(part, now);
  }

  void on_exited(std::size_t part, const v1::Exited& exited, TimePoint now) {
    wait_statuses[{part, exited.stage()}] = exited.wait_status();
    v1::RunOutput output;
    v1::StageStatus& status = *output.mutable_stage();
    status.set_index(exited.stage());
    status.set_host(host_names[part]);
    status.set_pid(pids[{part, exited.stage()}]);
    *status.mutable_exited() = exited;
    tell(std::move(output));
    machine->on_worker_ended(part, exited.stage(), stage_end_from(exited), now);
  }

  void on_link_ended(const v1::LinkEnded& link_ended, TimePoint now) {
    if (link_ended.kind() != v1::LinkEnded::KIND_CUT && link_ended.kind() != v1::LinkEnded::KIND_FAILED) return;
    for (std::size_t i = 0; i < links.size(); ++i)
      if (bytes_text(links[i].id.bytes) == link_ended.link_id()) machine->on_link_lost(i, link_ended.message(), now);
  }

  void on_error_output(const v1::ErrorOutput& error_output) {
    v1::RunOutput output;
    *output.mutable_error_output() = error_output;
    tell(std::move(output));
  }

  // --- the machine's actions --------------------------------------------------------------------------------------

  void act() {
    while (auto action = machine->poll_action()) std::visit([this](const auto& what) { carry_out(what); }, *action);
  }

  void carry_out(const flow::ConnectPart& action) {
    v1::HostCommand command;
    command.mutable_connect();
    send(action.part, command);
  }
  void carry_out(const flow::StartPart& action) {
    v1::HostCommand command;
    command.mutable_start();
    send(action.part, command);
  }
  void carry_out(const flow::SignalPart& action) {
    v1::HostCommand command;
    v1::Signal& signal = *command.mutable_signal();
    signal.set_number(action.signal.signal);
    signal.set_strays_too(action.signal.strays_too);
    signal.set_then_continue(action.signal.then_continue);
    for (std::size_t stage : action.stages) signal.add_stages(static_cast<std::uint32_t>(stage));
    send(action.part, command);
  }
  void carry_out(const flow::SurveyPart& action) {
    v1::HostCommand command;
    command.mutable_survey();
    send(action.part, command);
  }
  void carry_out(const flow::EndPart& action) {
    v1::HostCommand command;
    command.mutable_end_all()->set_links_too(action.links_too);
    send(action.part, command);
  }
  void carry_out(const flow::DetachPart& action) {
    v1::HostCommand command;
    command.mutable_detach();
    send(action.part, command);
  }
  void carry_out(const flow::Tell& action) { note(action.message); }

  void describe_stage(std::size_t part, std::size_t program, v1::FlowStage& stage) const {
    std::size_t index = graph.parts[part].stages[program];
    stage.set_index(static_cast<std::uint32_t>(index));
    stage.set_command(start.stages(static_cast<int>(index)).text().command());
    stage.set_node(host_names[part]);
    if (graph.parts[part].host) stage.set_node_id(graph.parts[part].host->text());
    stage.set_part(static_cast<std::uint32_t>(part));
    stage.set_program(static_cast<std::uint32_t>(program));
    if (auto pid = pids.find({part, index}); pid != pids.end()) stage.set_pid(pid->second);
    if (auto status = wait_statuses.find({part, index}); status != wait_statuses.end()) {
      stage.set_ended(true);
      stage.set_wait_status(status->second);
    }
  }

  void describe(v1::Flow& flow) const {
    flow.set_id(id.text());
    flow.set_name(start.name());
    flow.set_text(start.text());
    flow.set_background(client == nullptr);
    flow.set_started_unix_ms(started_ms);
    flow.set_ended_unix_ms(ended_ms);
    flow.set_node(name_of(surroundings.self()));
    flow.set_node_id(surroundings.self().text());
    flow.set_pipefail(start.pipefail());
    if (ended)
      flow.set_state(v1::FLOW_STATE_ENDED);
    else
      flow.set_state(machine && machine->started() ? v1::FLOW_STATE_RUNNING : v1::FLOW_STATE_STARTING);
    flow.set_status(end_message.status());
    flow.set_message(end_message.message());
    for (std::size_t part = 0; part < graph.parts.size(); ++part)
      for (std::size_t program = 0; program < graph.parts[part].stages.size(); ++program)
        describe_stage(part, program, *flow.add_stages());
  }

  std::set<std::size_t> prepared_;
};

FlowOrchestrator::FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings,
                                   FlowClient* client, FlowId id, const v1::RunStart& start, Logger& log)
    : impl_(std::make_unique<Impl>(std::move(executor), surroundings, client, id, start, log)) {}

FlowOrchestrator::~FlowOrchestrator() = default;

void FlowOrchestrator::place_here_on_node() { impl_->here_on_node = true; }
Awaitable<void> FlowOrchestrator::run() { return impl_->run(); }
void FlowOrchestrator::on_input(v1::RunInput input) { impl_->events.put(Input{std::move(input)}); }
void FlowOrchestrator::on_client_lost() { impl_->events.put(ClientLost{}); }
void FlowOrchestrator::on_node_lost(const NodeId& node, const std::string& reason) {
  impl_->events.put(NodeLost{node, reason});
}
void FlowOrchestrator::stop(std::optional<std::uint64_t> grace_ms, const std::string& reason) {
  impl_->events.put(StopRequest{grace_ms, reason});
}

bool FlowOrchestrator::survives_daemon() const {
  return impl_->client == nullptr && has_started() && impl_->needs_only_this_host();
}
void FlowOrchestrator::let_go() { impl_->events.put(LetGo{}); }

Awaitable<void> FlowOrchestrator::started_or_ended() {
  while (!impl_->ended && !has_started()) co_await impl_->changed.wait();
}

bool FlowOrchestrator::has_started() const { return impl_->machine && impl_->machine->started(); }

void FlowOrchestrator::describe(v1::Flow& flow) const { impl_->describe(flow); }

}  // namespace sluice::node
