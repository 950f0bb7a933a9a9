#include "node/flow_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <map>
#include <set>
#include <utility>

#include "exec/spawn_protocol.h"
#include "link/byte_link.h"
#include "link/link_claim.h"
#include "node/background_flows.h"
#include "node/flow_messages.h"
#include "node/mailbox.h"
#include "node/task_group.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

// Messages to a client that wait to be sent before error output of the flow is read no further.
constexpr std::size_t kOutputsMax = 64;
constexpr std::chrono::seconds kAskTime{2};           // another node, about its flows
constexpr std::chrono::milliseconds kLookAgain{100};  // at files that a spawner writes to
constexpr std::size_t kPrefixMin = 4;

std::optional<link::LinkToken> token_from(const std::string& text) {
  link::LinkToken token;
  if (text.size() != token.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), token.begin());
  return token;
}

// The client of a flow in the foreground: what is said to it waits in a mailbox, so that the flow never waits for it.
class CallClient final : public FlowClient {
 public:
  explicit CallClient(net::asio::any_io_executor executor) : outputs_(std::make_shared<Outputs>(std::move(executor))) {}
  using Outputs = Mailbox<v1::RunOutput>;

  void send(v1::RunOutput output) override { outputs_->put(std::move(output)); }
  Awaitable<void> room() override { return wait_for_room(outputs_); }
  std::shared_ptr<Outputs> outputs() const { return outputs_; }

 private:
  static Awaitable<void> wait_for_room(std::shared_ptr<Outputs> outputs) {
    co_await outputs->wait_for_room(kOutputsMax);
  }
  std::shared_ptr<Outputs> outputs_;
};

}  // namespace

struct FlowService::Impl final : FlowSurroundings, std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, WorkerService& worker_service, link::DataLoops& data_loops, std::string directory)
      : core(node_core),
        workers(worker_service),
        loops(data_loops),
        kept(std::move(directory), core.members.self(), core.log),
        tasks(core.executor, core.log),
        changed(core.executor) {}

  struct Relay {
    std::optional<net::Connection::Parts> producer, consumer;
    std::optional<link::ByteLink> pump;
  };

  NodeCore core;
  WorkerService& workers;
  link::DataLoops& loops;
  BackgroundFlows kept;
  TaskGroup tasks;
  Condition changed;
  std::map<FlowId, std::shared_ptr<FlowOrchestrator>> flows;
  std::map<LinkId, Relay> relays;
  bool draining = false;  // no new flows
  bool closing = false;

  // --- what orchestrators need ------------------------------------------------------------------------------------

  NodeId self() const override { return core.members.self(); }

  std::vector<flow::NodeChoice> nodes() const override {
    std::vector<flow::NodeChoice> nodes;
    for (const cluster::Member& member : core.members.members())
      if (member.state == cluster::MemberState::alive)
        nodes.push_back({.id = member.id, .name = member.profile.name, .labels = member.profile.labels});
    std::ranges::sort(nodes, {}, [](const flow::NodeChoice& node) { return std::pair(node.name, node.id); });
    return nodes;
  }

  std::string address_of(const NodeId& node) const override {
    for (const cluster::Member& member : core.members.members())
      if (member.id == node) return net::to_text(member.profile.endpoint);
    return {};
  }

  std::unique_ptr<HostSession> open_host(const NodeId& node, std::size_t part, HostListener& listener) override {
    if (node == self()) return workers.open_local(part, listener);
    return workers.open_remote(node, part, listener);
  }

  bool relay_link(const LinkId& link, const std::string& token_text, std::uint32_t generation) override {
    auto token = token_from(token_text);
    if (!token) return false;
    relays[link];
    for (link::Side side : {link::Side::producer, link::Side::consumer}) {
      link::LinkClaim claim{.link = link, .generation = generation, .token = *token, .side = side};
      auto on_arrived = [weak = weak_from_this(), link, side](net::Connection::Parts parts) {
        if (auto self = weak.lock()) self->on_relay_end(link, side, std::move(parts));
      };
      if (core.links.expect(claim, on_arrived)) continue;
      forget_relay(link);
      return false;
    }
    return true;
  }

  void on_relay_end(const LinkId& link, link::Side side, net::Connection::Parts parts) {
    auto found = relays.find(link);
    if (found == relays.end()) return;
    Relay& relay = found->second;
    (side == link::Side::producer ? relay.producer : relay.consumer) = std::move(parts);
    if (!relay.producer || !relay.consumer) return;
    // Both ends hear of what goes wrong between them; there is nobody here to tell.
    relay.pump.emplace(link::start_relay(loops, std::move(*relay.producer), std::move(*relay.consumer),
                                         {.owner = core.executor}, [](link::LinkEnd) {}));
  }

  void forget_relay(const LinkId& link) override {
    core.links.forget(link, link::Side::producer);
    core.links.forget(link, link::Side::consumer);
    relays.erase(link);
  }

  std::expected<void, std::string> remember(const v1::Flow& flow) override { return kept.save(flow); }

  // --- running ----------------------------------------------------------------------------------------------------

  static Awaitable<rpc::Status> run(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto first = co_await call.read();
    if (!first) co_return first.error();
    v1::RunInput input;
    if (!*first || !input.ParseFromString(**first) || !input.has_start())
      co_return rpc::Status{rpc::Code::invalid_argument, "the first message must say what to run"};
    if (self->draining || self->closing) co_return rpc::Status{rpc::Code::unavailable, "this node is about to leave"};
    if (input.start().background()) co_return co_await run_in_background(self, call, input.start());
    co_return co_await run_in_foreground(self, call, input.start());
  }

  // --- in the background ------------------------------------------------------------------------------------------

  // A flow whose stages are all on one other node is orchestrated there: then it needs nobody but that node's spawner.
  std::optional<NodeId> only_host(const v1::RunStart& start) const {
    std::vector<flow::Whereabouts> wanted;
    for (const v1::StageRequest& stage : start.stages()) wanted.push_back(whereabouts_from(stage));
    auto places = flow::place_stages(wanted, {.nodes = nodes(), .home = self(), .client_name = {}});
    std::optional<NodeId> only;
    for (const flow::StagePlace& place : places) {
      if (!place.problem.empty() || place.hosts.size() != 1) return std::nullopt;
      NodeId host = place.hosts[0].value_or(self());
      if (only && *only != host) return std::nullopt;
      only = host;
    }
    return only == self() ? std::nullopt : only;
  }

  static Awaitable<rpc::Status> run_in_background(std::shared_ptr<Impl> self, rpc::ServerCall& call,
                                                  v1::RunStart start) {
    if (auto elsewhere = self->only_host(start)) co_return co_await hand_over(self, call, std::move(start), *elsewhere);
    FlowId id = FlowId::random();
    auto flow = std::make_shared<FlowOrchestrator>(self->core.executor, *self, nullptr, id, start, self->core.log);
    self->flows[id] = flow;
    self->tasks.spawn(run_to_its_end(self, flow, id));
    co_await flow->started_or_ended();
    v1::RunOutput output;
    if (flow->has_started()) {
      output.mutable_plan()->set_flow_id(id.text());
    } else {
      v1::Flow record;
      flow->describe(record);
      output.mutable_ended()->set_end(v1::FlowEnded::END_NOT_STARTED);
      output.mutable_ended()->set_status(record.status());
      output.mutable_ended()->set_message(record.message());
      (void)self->kept.remove(id.text());
    }
    auto written = co_await call.write(output.SerializeAsString());
    co_return written ? rpc::Status{} : written.error();
  }

  static Awaitable<void> run_to_its_end(std::shared_ptr<Impl> self, std::shared_ptr<FlowOrchestrator> flow, FlowId id) {
    co_await flow->run();
    v1::Flow record;
    flow->describe(record);
    if (record.state() == v1::FLOW_STATE_ENDED && flow->has_started()) self->kept.save_end(record);
    self->flows.erase(id);
    self->changed.notify();
  }

  static Awaitable<rpc::Status> hand_over(std::shared_ptr<Impl> self, rpc::ServerCall& call, v1::RunStart start,
                                          NodeId node) {
    for (v1::StageRequest& stage : *start.mutable_stages()) stage.mutable_where()->set_kind(v1::Whereabouts::KIND_HERE);
    if (!start.files().empty() && start.files_node_id().empty()) start.set_files_node_id(self->self().text());
    auto channel = co_await self->core.peers.get(node, Clock::now() + kAskTime);
    if (!channel) co_return status_of(channel.error(), node.text());
    v1::RunInput input;
    *input.mutable_start() = std::move(start);
    rpc::CallOptions options = on_behalf(call.info());
    rpc::ClientCall there = (*channel)->start("sluice.v1.Flows/Run", std::move(options));
    if (co_await there.write(input.SerializeAsString())) there.writes_done();
    while (auto output = co_await there.read())
      if (!co_await call.write(std::move(*output))) break;
    co_return co_await there.finish();
  }

  static rpc::CallOptions on_behalf(const rpc::CallInfo& info) {
    return {.on_behalf_of = info.caller.connection.name.empty() ? "local" : info.caller.connection.name,
            .on_behalf_role = info.caller.effective};
  }

  static Awaitable<rpc::Status> run_in_foreground(std::shared_ptr<Impl> self, rpc::ServerCall& call,
                                                  v1::RunStart start) {
    CallClient client(self->core.executor);
    FlowId id = FlowId::random();
    auto flow = std::make_shared<FlowOrchestrator>(self->core.executor, *self, &client, id, start, self->core.log);
    self->flows[id] = flow;
    self->core.log.debug("flow started", {{"flow", id.text()}, {"text", start.text()}});
    TaskGroup talk(self->core.executor, self->core.log);
    talk.spawn(write_outputs(client.outputs(), call));
    talk.spawn(read_inputs(flow, call));
    co_await flow->run();
    self->flows.erase(id);
    self->changed.notify();
    client.outputs()->close();
    co_await talk.wait();
    co_return rpc::Status{};
  }

  static Awaitable<void> run_for(std::shared_ptr<Impl> self, std::shared_ptr<FlowOrchestrator> flow, FlowId id,
                                 std::function<void()> on_end) {
    // The caller must have the orchestrator before it says anything.
    co_await net::asio::post(co_await net::asio::this_coro::executor, net::asio::use_awaitable);
    co_await flow->run();
    self->flows.erase(id);
    self->changed.notify();
    on_end();
  }

  static Awaitable<void> write_outputs(std::shared_ptr<CallClient::Outputs> outputs, rpc::ServerCall& call) {
    while (auto output = co_await outputs->take())
      if (!co_await call.write(output->SerializeAsString())) outputs->close();
  }

  // Ends with the call: a client that has been told the end closes it.
  static Awaitable<void> read_inputs(std::shared_ptr<FlowOrchestrator> flow, rpc::ServerCall& call) {
    while (true) {
      auto message = co_await call.read();
      if (!message || !*message) break;
      v1::RunInput input;
      if (!input.ParseFromString(**message)) break;
      flow->on_input(std::move(input));
    }
    flow->on_client_lost();
  }

  // --- asking about flows -----------------------------------------------------------------------------------------

  // What runs under an orchestrator is asked of that; what an earlier daemon has left, of its spawners.
  std::vector<v1::Flow> own_flows() const {
    std::vector<v1::Flow> own;
    for (const auto& [id, flow] : flows) flow->describe(own.emplace_back());
    for (v1::Flow& flow : kept.list()) {
      auto id = FlowId::parse(flow.id());
      if (!id || !flows.contains(*id)) own.push_back(std::move(flow));
    }
    return own;
  }

  static Awaitable<std::expected<v1::ListFlowsResponse, rpc::Status>> list(std::shared_ptr<Impl> self,
                                                                           v1::ListFlowsRequest request) {
    v1::ListFlowsResponse response;
    for (v1::Flow& flow : self->own_flows())
      if (request.all() || flow.state() != v1::FLOW_STATE_ENDED) *response.add_flows() = std::move(flow);
    if (request.this_node_only()) co_return response;
    request.set_this_node_only(true);
    auto asking = std::make_shared<Asking>(self->core.executor);
    for (const cluster::Member& member : self->core.members.members()) {
      if (member.id == self->self() || member.state != cluster::MemberState::alive) continue;
      ++asking->open;
      self->tasks.spawn(ask(self, member, request, asking));
    }
    while (asking->open > 0) co_await asking->answered.wait();
    response.mutable_flows()->MergeFrom(asking->response.flows());
    response.mutable_silent_nodes()->MergeFrom(asking->response.silent_nodes());
    co_return response;
  }

  struct Asking {
    explicit Asking(net::asio::any_io_executor executor) : answered(std::move(executor)) {}
    Condition answered;
    std::size_t open = 0;
    v1::ListFlowsResponse response;
  };

  static Awaitable<void> ask(std::shared_ptr<Impl> self, cluster::Member member, v1::ListFlowsRequest request,
                             std::shared_ptr<Asking> asking) {
    auto channel = co_await self->core.peers.get(member.id, Clock::now() + kAskTime);
    bool answered = false;
    if (channel) {
      rpc::CallOptions options{.timeout = kAskTime};
      auto theirs = co_await rpc::call<v1::ListFlowsResponse>(**channel, "sluice.v1.Flows/ListFlows", request, options);
      answered = theirs.has_value();
      if (theirs) asking->response.mutable_flows()->MergeFrom(theirs->flows());
    }
    if (!answered) asking->response.add_silent_nodes(member.profile.name);
    --asking->open;
    asking->answered.notify();
  }

  // By id, a beginning of it, or name; on any node.
  static Awaitable<std::expected<v1::Flow, rpc::Status>> find(std::shared_ptr<Impl> self, std::string wanted) {
    v1::ListFlowsRequest request;
    request.set_all(true);
    auto all = co_await list(self, request);
    if (!all) co_return std::unexpected(all.error());
    std::vector<const v1::Flow*> found;
    for (const v1::Flow& flow : all->flows())
      if (flow.name() == wanted || (wanted.size() >= kPrefixMin && flow.id().starts_with(wanted)))
        found.push_back(&flow);
    if (found.size() == 1) co_return *found[0];
    std::string message = fmt::format("no flow '{}'; `sluice ps -a` lists them", wanted);
    if (!found.empty()) {
      message = fmt::format("'{}' may mean several flows; say which by its id:", wanted);
      for (const v1::Flow* flow : found) message += " " + flow->id();
    } else if (!all->silent_nodes().empty()) {
      message += fmt::format("; no answer from {}", fmt::join(all->silent_nodes(), " "));
    }
    co_return std::unexpected(rpc::Status{found.empty() ? rpc::Code::not_found : rpc::Code::invalid_argument, message});
  }

  // Passes a call about a flow of another node on to that. Nothing: it is ours.
  template <class Response, class Request>
  static Awaitable<std::optional<std::expected<Response, rpc::Status>>> pass_on(std::shared_ptr<Impl> self,
                                                                                v1::Flow flow, Request request,
                                                                                rpc::CallOptions options,
                                                                                std::string method) {
    auto node = NodeId::parse(flow.node_id());
    if (!node || *node == self->self()) co_return std::nullopt;
    auto channel = co_await self->core.peers.get(*node, Clock::now() + kAskTime);
    if (!channel) co_return std::unexpected(status_of(channel.error(), flow.node()));
    request.set_flow(flow.id());
    co_return co_await rpc::call<Response>(**channel, std::move(method), request, std::move(options));
  }

  static Awaitable<std::expected<v1::Flow, rpc::Status>> wait(std::shared_ptr<Impl> self, rpc::CallInfo info,
                                                              v1::WaitFlowRequest request) {
    auto flow = co_await find(self, request.flow());
    if (!flow) co_return std::unexpected(flow.error());
    rpc::CallOptions options = on_behalf(info);
    options.timeout.reset();
    auto passed = co_await pass_on<v1::Flow>(self, *flow, request, std::move(options), "sluice.v1.Flows/WaitFlow");
    if (passed) co_return *passed;
    co_return co_await wait_here(self, flow->id());
  }

  static Awaitable<std::expected<v1::Flow, rpc::Status>> wait_here(std::shared_ptr<Impl> self, std::string id) {
    Condition pause(self->core.executor);
    while (!self->closing) {
      auto orchestrated = FlowId::parse(id);
      if (orchestrated && self->flows.contains(*orchestrated)) {
        co_await self->changed.wait();
        continue;
      }
      auto flow = self->kept.find(id);
      if (!flow) break;
      if (flow->state() == v1::FLOW_STATE_ENDED || flow->state() == v1::FLOW_STATE_UNKNOWN) co_return *flow;
      co_await pause.wait(Clock::now() + kLookAgain);
    }
    co_return std::unexpected(rpc::Status{rpc::Code::unavailable, "the flow has ended, and was in the foreground"});
  }

  static Awaitable<std::expected<v1::Flow, rpc::Status>> stop(std::shared_ptr<Impl> self, rpc::CallInfo info,
                                                              v1::StopFlowRequest request) {
    auto flow = co_await find(self, request.flow());
    if (!flow) co_return std::unexpected(flow.error());
    rpc::CallOptions options = on_behalf(info);
    options.timeout.reset();
    auto passed = co_await pass_on<v1::Flow>(self, *flow, request, std::move(options), "sluice.v1.Flows/StopFlow");
    if (passed) co_return *passed;
    auto id = FlowId::parse(flow->id());
    auto orchestrated = self->flows.find(*id);
    if (orchestrated != self->flows.end()) {
      orchestrated->second->stop(request.grace_ms(), "the flow was told to stop");
      bool background = flow->background();
      if (!background) co_return *flow;
    } else if (flow->state() == v1::FLOW_STATE_RUNNING) {
      co_await stop_spawners(self, *flow, std::chrono::milliseconds(request.grace_ms()));
    }
    co_return co_await wait_here(self, flow->id());
  }

  // A flow that an earlier daemon left: its spawners are told what an orchestrator would tell them.
  static Awaitable<void> stop_spawners(std::shared_ptr<Impl> self, v1::Flow flow, Duration grace) {
    std::vector<exec::SpawnerClient> spawners;
    std::set<std::uint32_t> parts;
    for (const v1::FlowStage& stage : flow.stages()) parts.insert(stage.part());
    for (std::uint32_t part : parts)
      if (auto client = self->kept.attach(flow.id(), part)) spawners.push_back(std::move(*client));
    exec::SendSignal request{.signal = SIGTERM, .strays_too = true, .then_continue = true};
    for (int i = 0; i < flow.stages_size(); ++i) request.programs.push_back(static_cast<exec::ProgramIndex>(i));
    for (exec::SpawnerClient& spawner : spawners) spawner.send(request);
    Condition pause(self->core.executor);
    TimePoint patience = Clock::now() + grace;
    while (Clock::now() < patience &&
           std::ranges::any_of(parts, [&](std::uint32_t part) { return self->kept.part_runs(flow.id(), part); }))
      co_await pause.wait(Clock::now() + kLookAgain);
    for (exec::SpawnerClient& spawner : spawners) spawner.send(exec::EndAll{});
  }

  static Awaitable<std::expected<v1::RemoveFlowResponse, rpc::Status>> remove(std::shared_ptr<Impl> self,
                                                                              rpc::CallInfo info,
                                                                              v1::RemoveFlowRequest request) {
    auto flow = co_await find(self, request.flow());
    if (!flow) co_return std::unexpected(flow.error());
    auto passed =
        co_await pass_on<v1::RemoveFlowResponse>(self, *flow, request, on_behalf(info), "sluice.v1.Flows/RemoveFlow");
    if (passed) co_return *passed;
    bool over = flow->state() == v1::FLOW_STATE_ENDED || flow->state() == v1::FLOW_STATE_UNKNOWN;
    if (!over)
      co_return std::unexpected(rpc::Status{
          rpc::Code::failed_precondition,
          fmt::format("the flow {} runs; `sluice stop {}` ends it", flow->id(), flow->id().substr(0, kShortIdDigits))});
    std::vector<std::string> work_folders = self->kept.work_folders(flow->id());
    if (auto removed = self->kept.remove(flow->id()); !removed)
      co_return std::unexpected(rpc::Status{rpc::Code::internal, removed.error()});
    for (const std::string& folder : work_folders) self->workers.remove_folder(folder);
    co_return v1::RemoveFlowResponse();
  }

  // --- what a flow has written ------------------------------------------------------------------------------------

  static Awaitable<rpc::Status> read_logs(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto message = co_await call.read();
    v1::ReadLogsRequest request;
    if (!message || !*message || !request.ParseFromString(**message))
      co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
    auto flow = co_await find(self, request.flow());
    if (!flow) co_return flow.error();
    int index = request.stage() < 0 ? flow->stages_size() - 1 : request.stage();
    const v1::FlowStage* stage = nullptr;
    for (const v1::FlowStage& each : flow->stages())
      if (static_cast<int>(each.index()) == index) stage = &each;
    if (stage == nullptr || !flow->background())
      co_return rpc::Status{rpc::Code::not_found, flow->background()
                                                      ? fmt::format("the flow has no stage {}", index + 1)
                                                      : "a flow in the foreground keeps no output: its client has it"};
    v1::ReadOutputRequest output;
    output.set_flow_id(flow->id());
    output.set_part(stage->part());
    output.set_program(stage->program());
    output.set_error(request.stage() >= 0);
    output.set_follow(request.follow());
    auto node = NodeId::parse(stage->node_id());
    if (!node || *node == self->self()) co_return co_await send_output(self, call, std::move(output));
    auto channel = co_await self->core.peers.get(*node, Clock::now() + kAskTime);
    if (!channel) co_return status_of(channel.error(), stage->node());
    rpc::ClientCall there = (*channel)->start("sluice.v1.Workers/ReadOutput", {.timeout = std::nullopt});
    if (co_await there.write(output.SerializeAsString())) there.writes_done();
    while (auto piece = co_await there.read())
      if (!co_await call.write(std::move(*piece))) break;
    co_return co_await there.finish();
  }

  static Awaitable<rpc::Status> read_output(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto message = co_await call.read();
    v1::ReadOutputRequest request;
    if (!message || !*message || !request.ParseFromString(**message))
      co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
    co_return co_await send_output(self, call, std::move(request));
  }

  static Awaitable<rpc::Status> send_output(std::shared_ptr<Impl> self, rpc::ServerCall& call,
                                            v1::ReadOutputRequest request) {
    exec::OutputName name{.program = request.program(),
                          .kind = request.error() ? exec::OutputKind::error : exec::OutputKind::output};
    Condition pause(self->core.executor);
    std::uint64_t offset = 0;
    while (!self->closing) {
      bool runs =
          self->kept.part_runs(request.flow_id(), request.part());  // before reading: what comes later is missed
      auto chunk = self->kept.read_output(request.flow_id(), request.part(), name, offset);
      if (!chunk) co_return rpc::Status{rpc::Code::not_found, chunk.error()};
      if (!chunk->bytes.empty()) {
        v1::OutputPiece piece;
        piece.set_dropped_bytes(chunk->offset - offset);
        offset = chunk->offset + chunk->bytes.size();
        piece.set_bytes(std::move(chunk->bytes));
        if (auto written = co_await call.write(piece.SerializeAsString()); !written) co_return written.error();
        continue;
      }
      if (!request.follow() || !runs) break;
      co_await pause.wait(Clock::now() + kLookAgain);
    }
    auto written_bytes = self->kept.written_bytes(request.flow_id(), request.part(), name);
    if (written_bytes && *written_bytes > offset) {
      v1::OutputPiece rest;
      rest.set_dropped_bytes(*written_bytes - offset);
      if (auto written = co_await call.write(rest.SerializeAsString()); !written) co_return written.error();
    }
    co_return rpc::Status{};
  }
};

FlowService::FlowService(NodeCore core, WorkerService& workers, link::DataLoops& loops, std::string data_directory)
    : impl_(std::make_shared<Impl>(core, workers, loops, std::move(data_directory))) {}

FlowService::~FlowService() = default;

void FlowService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  auto impl = impl_;
  table.add({.name = "sluice.v1.Flows/Run",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .client_streams = true,
             .server_streams = true,
             .mutating = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::run(impl, call); }});
  table.add({.name = "sluice.v1.Flows/ListFlows",
             .roles = {Role::read, Role::run, Role::operate, Role::node, Role::admin},
             .handler = rpc::unary_of<v1::ListFlowsRequest, v1::ListFlowsResponse>(
                 [impl](const rpc::CallInfo&, v1::ListFlowsRequest request) {
                   return Impl::list(impl, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/WaitFlow",
             .roles = {Role::read, Role::run, Role::operate, Role::node, Role::admin},
             .handler = rpc::unary_of<v1::WaitFlowRequest, v1::Flow>(
                 [impl](const rpc::CallInfo& info, v1::WaitFlowRequest request) {
                   return Impl::wait(impl, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/StopFlow",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .handler = rpc::unary_of<v1::StopFlowRequest, v1::Flow>(
                 [impl](const rpc::CallInfo& info, v1::StopFlowRequest request) {
                   return Impl::stop(impl, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/RemoveFlow",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .handler = rpc::unary_of<v1::RemoveFlowRequest, v1::RemoveFlowResponse>(
                 [impl](const rpc::CallInfo& info, v1::RemoveFlowRequest request) {
                   return Impl::remove(impl, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/ReadLogs",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .server_streams = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::read_logs(impl, call); }});
  table.add({.name = "sluice.v1.Workers/ReadOutput",
             .roles = {Role::node},
             .server_streams = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::read_output(impl, call); }});
}

std::shared_ptr<FlowOrchestrator> FlowService::run_for(FlowClient& client, const v1::RunStart& start,
                                                       std::function<void()> on_end) {
  auto impl = impl_;
  if (impl->draining || impl->closing) return nullptr;
  FlowId id = FlowId::random();
  auto flow = std::make_shared<FlowOrchestrator>(impl->core.executor, *impl, &client, id, start, impl->core.log);
  flow->place_here_on_node();
  impl->flows[id] = flow;
  impl->tasks.spawn(Impl::run_for(impl, flow, id, std::move(on_end)));
  return flow;
}

void FlowService::on_node_lost(const NodeId& node, const std::string& reason) {
  for (const auto& [id, flow] : impl_->flows) flow->on_node_lost(node, reason);
}

std::size_t FlowService::running() const { return impl_->flows.size(); }

Awaitable<void> FlowService::drain(std::optional<Duration> grace) {
  auto impl = impl_;
  impl->draining = true;
  auto grace_ms =
      grace ? std::optional<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(*grace).count()) : std::nullopt;
  if (grace)
    for (const auto& [id, flow] : impl->flows) flow->stop(grace_ms, "the node that runs the flow is about to leave");
  for (v1::Flow& flow : impl->own_flows()) {
    auto id = FlowId::parse(flow.id());
    bool left_behind = flow.state() == v1::FLOW_STATE_RUNNING && id && !impl->flows.contains(*id);
    if (!left_behind) continue;
    if (grace)
      co_await Impl::stop_spawners(impl, flow, *grace);
    else
      (void)co_await Impl::wait_here(impl, flow.id());
  }
  while (!impl->flows.empty()) co_await impl->changed.wait();
}

Awaitable<void> FlowService::close(bool keep_background) {
  auto impl = impl_;
  impl->closing = true;
  for (const auto& [id, flow] : impl->flows) {
    if (keep_background && flow->survives_daemon())
      flow->let_go();
    else
      flow->stop({}, "the node that runs the flow ends");
  }
  impl->changed.notify();
  while (!impl->flows.empty()) co_await impl->changed.wait();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
