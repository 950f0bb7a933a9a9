#include "node/flow_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>
#include <variant>

#include "node/flow_counting.h"
#include "node/flow_directory.h"
#include "node/flow_logs.h"
#include "node/flow_messages.h"
#include "node/link_relays.h"
#include "node/mailbox.h"
#include "node/node_flows.h"
#include "node/role_service.h"
#include "node/task_group.h"
#include "sluice/v1/flow_memory.pb.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

// Messages to a client that wait to be sent before error output of the flow is read no further.
constexpr std::size_t kOutputsMax = 64;

constexpr const char* kFlowKey = "flow";  // in the audit log
constexpr const char* kStarterGone = "whoever started the flow went away before it ran";

// The id under which the audit log has the call, if it has one.
FlowId recorded_id(const rpc::CallInfo& info) {
  for (const auto& [key, value] : info.object)
    if (key == kFlowKey)
      if (auto id = FlowId::parse(value)) return *id;
  return FlowId::random();
}

// As the caller names it: an id, a beginning of one, or a name.
template <class Request>
std::function<rpc::CallObject(std::string_view)> flow_named_by() {
  return rpc::object_of<Request>([](const Request& request) { return rpc::CallObject{{kFlowKey, request.flow()}}; });
}

// The client of a flow in the foreground: what is said to it waits in a mailbox, so that the flow never waits for it.
class CallClient final : public FlowClient {
 public:
  explicit CallClient(net::asio::any_io_executor executor) : outputs_(std::make_shared<Outputs>(std::move(executor))) {}
  using Outputs = Mailbox<v1::RunOutput>;

  void send(v1::RunOutput output) override { outputs_->put(std::move(output)); }
  bool crowded() const override { return outputs_->size() >= kOutputsMax; }
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
  Impl(NodeCore node_core, WorkerService& worker_service, RoleService& role_service, link::DataLoops& loops,
       std::string directory)
      : roles(role_service),
        node(std::make_shared<NodeFlows>(node_core, worker_service, std::move(directory))),
        core(node->core),
        relays(std::make_shared<LinkRelays>(node_core, loops)) {}

  RoleService& roles;
  std::shared_ptr<NodeFlows> node;
  NodeCore& core;
  std::shared_ptr<LinkRelays> relays;
  bool draining = false;  // no new flows

  // --- what orchestrators need ------------------------------------------------------------------------------------

  NodeId self() const override { return core.members.self(); }

  std::vector<flow::NodeChoice> nodes() const override {
    std::vector<flow::NodeChoice> nodes;
    for (const cluster::Member& member : core.members.members())
      if (member.state == cluster::MemberState::alive)
        nodes.push_back({.id = member.id, .name = member.profile.name, .labels = member.profile.labels});
    std::ranges::sort(nodes, {}, [](const flow::NodeChoice& choice) { return std::pair(choice.name, choice.id); });
    return nodes;
  }

  Awaitable<void> ask_free_cores(std::vector<flow::NodeChoice>& nodes) override {
    return node->workers.ask_free_cores(nodes);
  }

  void ask_offers() override { roles.ask(); }

  std::map<std::string, std::string> gone_nodes() const override {
    std::map<std::string, std::string> gone;
    for (const cluster::Member& member : core.members.members()) {
      if (member.state == cluster::MemberState::dead) gone[member.profile.name] = "is dead";
      if (member.state == cluster::MemberState::left) gone[member.profile.name] = "has left the cluster";
      if (member.state == cluster::MemberState::suspect) gone[member.profile.name] = "does not answer and may be dead";
    }
    return gone;
  }

  std::string address_of(const NodeId& host) const override {
    for (const cluster::Member& member : core.members.members())
      if (member.id == host) return net::to_text(member.profile.endpoint);
    return {};
  }

  std::unique_ptr<HostSession> open_host(const NodeId& host, std::size_t part, HostListener& listener) override {
    if (host == self()) return node->workers.open_local(part, listener);
    return node->workers.open_remote(host, part, listener);
  }

  std::unique_ptr<HostSession> resume_host(const NodeId& host, const FlowId& flow, std::size_t part,
                                           HostListener& listener) override {
    return node->workers.resume_remote(host, flow, part, listener);
  }

  bool relay_link(const LinkId& link, const std::string& token, std::uint32_t generation) override {
    return relays->expect(link, token, generation);
  }
  void start_relay(const LinkId& link) override { relays->start(link); }
  void forget_relay(const LinkId& link) override { relays->forget(link); }

  std::expected<void, std::string> remember(const v1::Flow& flow, std::optional<FlowLimits> limits) override {
    auto saved = node->kept.save(flow);
    return saved && limits ? node->kept.save_limits(flow.id(), *limits) : saved;
  }

  std::expected<void, std::string> remember_parts(const FlowId& flow, const v1::FlowMemory& memory) override {
    return node->kept.save_memory(flow, memory);
  }

  // --- running ----------------------------------------------------------------------------------------------------

  // A flow has its id before it is recorded; one that another node shall orchestrate gets it there.
  rpc::CallObject object_of(const v1::RunInput& input) const {
    rpc::CallObject object;
    if (!input.has_start()) return object;
    const v1::RunStart& start = input.start();
    auto elsewhere = start.background() ? only_host(start) : std::nullopt;
    if (elsewhere)
      object.emplace_back("node", elsewhere->text());
    else
      object.emplace_back(kFlowKey, FlowId::random().text());
    if (!start.name().empty()) object.emplace_back("name", start.name());
    if (start.dry_run()) object.emplace_back("dry_run", "yes");
    return object;
  }

  static Awaitable<rpc::Status> run(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto first = co_await call.read();
    if (!first) co_return first.error();
    v1::RunInput input;
    if (!*first || !input.ParseFromString(**first) || !input.has_start())
      co_return rpc::Status{rpc::Code::invalid_argument, "the first message must say what to run"};
    if (self->draining || self->node->closing)
      co_return rpc::Status{rpc::Code::unavailable, "this node is about to leave"};
    v1::RunStart& start = *input.mutable_start();
    if (start.background() && !start.dry_run()) co_return co_await run_in_background(self, call, start);
    co_return co_await run_in_foreground(self, call, start);
  }

  // --- in the background ------------------------------------------------------------------------------------------

  // A flow whose stages are all on one other node is orchestrated there: then it needs nobody but that node's spawner.
  std::optional<NodeId> only_host(const v1::RunStart& start) const {
    auto graph = graph_from(start);
    if (!graph) return std::nullopt;
    std::vector<flow::StageNeeds> wanted;
    for (const v1::StageRequest& stage : start.stages()) wanted.push_back(needs_from(stage, start.records()));
    auto places = flow::place_stages(*graph, wanted, {.nodes = nodes(), .gone = {}, .home = self(), .client_name = {}});
    std::optional<NodeId> only;
    for (const flow::StagePlace& place : places) {
      if (!place.problem.empty() || place.hosts.size() != 1 || !place.seats.empty()) return std::nullopt;
      NodeId host = place.hosts[0].value_or(self());
      if (only && *only != host) return std::nullopt;
      only = host;
    }
    return only == self() ? std::nullopt : only;
  }

  static Awaitable<rpc::Status> run_in_background(std::shared_ptr<Impl> self, rpc::ServerCall& call,
                                                  v1::RunStart start) {
    if (auto elsewhere = self->only_host(start)) co_return co_await hand_over(self, call, std::move(start), *elsewhere);
    FlowId id = recorded_id(call.info());
    auto flow = std::make_shared<FlowOrchestrator>(self->core.executor, *self, nullptr, id, start, self->core.log);
    self->node->orchestrated[id] = flow;
    self->node->tasks.spawn(run_to_its_end(self, flow, id));
    auto first = co_await (flow->started_or_ended() || call.cancelled());
    if (first.index() == 1) {
      flow->stop(std::nullopt, kStarterGone);
      co_await flow->started_or_ended();
    }
    v1::RunOutput output;
    if (flow->has_started()) {
      output.mutable_plan()->set_flow_id(id.text());
    } else {
      v1::Flow record;
      flow->describe(record);
      output.mutable_ended()->set_end(v1::FlowEnded::END_NOT_STARTED);
      output.mutable_ended()->set_status(record.status());
      output.mutable_ended()->set_message(record.message());
      co_await forget_failed(self->node, record);
    }
    auto written = co_await call.write(output.SerializeAsString());
    co_return written ? rpc::Status{} : written.error();
  }

  static Awaitable<void> run_to_its_end(std::shared_ptr<Impl> self, std::shared_ptr<FlowOrchestrator> flow, FlowId id) {
    co_await flow->run();
    v1::Flow record;
    flow->describe(record);
    if (record.state() == v1::FLOW_STATE_ENDED && flow->has_started()) save_end(self->node, record);
    self->node->orchestrated.erase(id);
    self->node->changed.notify();
  }

  // Those that an earlier daemon has started, and that have outlived it.
  static void resume_flows(const std::shared_ptr<Impl>& self) {
    for (const FlowId& id : self->node->kept.ids()) {
      auto memory = self->node->kept.memory(id);
      if (!memory) continue;
      auto limits = self->node->kept.limits(id.text());
      auto deadline = limits ? std::optional(limits->deadline) : std::nullopt;
      auto flow = std::make_shared<FlowOrchestrator>(self->core.executor, *self, id, *memory, deadline, self->core.log);
      self->node->orchestrated[id] = flow;
      self->node->tasks.spawn(run_to_its_end(self, flow, id));
    }
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
    options.timeout.reset();  // starting takes as long as its files need; the other node limits it
    rpc::ClientCall there = (*channel)->start("sluice.v1.Flows/Run", std::move(options));
    if (co_await there.write(input.SerializeAsString())) there.writes_done();
    while (true) {
      auto next = co_await (there.read() || call.cancelled());
      auto* output = std::get_if<0>(&next);
      if (output == nullptr) co_return rpc::Status{rpc::Code::cancelled, kStarterGone};  // the call there is dropped
      if (!*output || !co_await call.write(std::move(**output))) break;
    }
    co_return co_await there.finish();
  }

  static Awaitable<rpc::Status> run_in_foreground(std::shared_ptr<Impl> self, rpc::ServerCall& call,
                                                  v1::RunStart start) {
    CallClient client(self->core.executor);
    FlowId id = recorded_id(call.info());
    // The plan of a flow in the background is told as any other: without the client's ends, and with nothing on the client.
    bool without_client = start.background();
    if (without_client) {
      start.set_no_input(true);
      start.set_no_output(true);
    }
    auto flow = std::make_shared<FlowOrchestrator>(self->core.executor, *self, &client, id, start, self->core.log);
    if (without_client) flow->place_here_on_node();
    self->node->orchestrated[id] = flow;
    if (!start.dry_run()) self->core.log.debug("flow started", {{"flow", id.text()}, {"text", start.text()}});
    TaskGroup talk(self->core.executor, self->core.log);
    talk.spawn(write_outputs(client.outputs(), call));
    talk.spawn(read_inputs(flow, call));
    co_await flow->run();
    self->node->orchestrated.erase(id);
    self->node->changed.notify();
    client.outputs()->close();
    co_await talk.wait();
    co_return rpc::Status{};
  }

  static Awaitable<void> run_for(std::shared_ptr<Impl> self, std::shared_ptr<FlowOrchestrator> flow, FlowId id,
                                 std::function<void()> on_end) {
    // The caller must have the orchestrator before it says anything.
    co_await net::asio::post(co_await net::asio::this_coro::executor, net::asio::use_awaitable);
    co_await flow->run();
    self->node->orchestrated.erase(id);
    self->node->changed.notify();
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
};

FlowService::FlowService(NodeCore core, WorkerService& workers, RoleService& roles, link::DataLoops& loops,
                         std::string data_directory)
    : impl_(std::make_shared<Impl>(core, workers, roles, loops, std::move(data_directory))) {
  Impl::resume_flows(impl_);
  for (const v1::Flow& flow : impl_->node->kept.list())
    if (flow.state() == v1::FLOW_STATE_RUNNING)
      if (auto limits = impl_->node->kept.limits(flow.id()))
        impl_->node->tasks.spawn(end_in_time(impl_->node, flow.id(), *limits));
}

FlowService::~FlowService() = default;

void FlowService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  auto impl = impl_;
  auto node = impl->node;
  table.add(
      {.name = "sluice.v1.Flows/Run",
       .roles = {Role::run, Role::operate, Role::node, Role::admin},
       .client_streams = true,
       .server_streams = true,
       .mutating = true,
       .object = rpc::object_of<v1::RunInput>([impl](const v1::RunInput& input) { return impl->object_of(input); }),
       .handler = [impl](rpc::ServerCall& call) { return Impl::run(impl, call); }});
  table.add({.name = "sluice.v1.Flows/ListFlows",
             .roles = {Role::read, Role::run, Role::operate, Role::node, Role::admin},
             .handler = rpc::unary_of<v1::ListFlowsRequest, v1::ListFlowsResponse>(
                 [node](const rpc::CallInfo&, v1::ListFlowsRequest request) {
                   return list_flows(node, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/ReadCounters",
             .roles = {Role::read, Role::run, Role::operate, Role::node, Role::admin},
             .handler = rpc::unary_of<v1::ReadCountersRequest, v1::ReadCountersResponse>(
                 [node](const rpc::CallInfo&, v1::ReadCountersRequest request) {
                   return read_counters(node, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/WaitFlow",
             .roles = {Role::read, Role::run, Role::operate, Role::node, Role::admin},
             .handler = [node](rpc::ServerCall& call) { return wait_for_flow(node, call); }});
  table.add({.name = "sluice.v1.Flows/ScaleStage",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .object = flow_named_by<v1::ScaleStageRequest>(),
             .handler = rpc::unary_of<v1::ScaleStageRequest, v1::ScaleStageResponse>(
                 [node](const rpc::CallInfo& info, v1::ScaleStageRequest request) {
                   return scale_stage(node, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/StopFlow",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .object = flow_named_by<v1::StopFlowRequest>(),
             .handler = rpc::unary_of<v1::StopFlowRequest, v1::Flow>(
                 [node](const rpc::CallInfo& info, v1::StopFlowRequest request) {
                   return stop_flow(node, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/RemoveFlow",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .object = flow_named_by<v1::RemoveFlowRequest>(),
             .handler = rpc::unary_of<v1::RemoveFlowRequest, v1::RemoveFlowResponse>(
                 [node](const rpc::CallInfo& info, v1::RemoveFlowRequest request) {
                   return remove_flow(node, info, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Flows/ReadLogs",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .server_streams = true,
             .handler = [node](rpc::ServerCall& call) { return read_logs(node, call); }});
  table.add({.name = "sluice.v1.Workers/ForgetFlow",
             .roles = {Role::node},
             .mutating = true,
             .object = rpc::object_of<v1::ForgetFlowRequest>([](const v1::ForgetFlowRequest& request) {
               return rpc::CallObject{{kFlowKey, request.flow_id()}};
             }),
             .handler = rpc::unary_of<v1::ForgetFlowRequest, v1::ForgetFlowResponse>(
                 [node](const rpc::CallInfo&, v1::ForgetFlowRequest request) {
                   return forget_flow(node, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Workers/ReadOutput",
             .roles = {Role::node},
             .server_streams = true,
             .handler = [node](rpc::ServerCall& call) { return read_output(node, call); }});
}

std::shared_ptr<FlowOrchestrator> FlowService::run_for(FlowClient& client, const v1::RunStart& start, FlowId id,
                                                       std::function<void()> on_end) {
  auto impl = impl_;
  if (impl->draining || impl->node->closing) return nullptr;
  auto flow = std::make_shared<FlowOrchestrator>(impl->core.executor, *impl, &client, id, start, impl->core.log);
  flow->place_here_on_node();
  impl->node->orchestrated[id] = flow;
  impl->node->tasks.spawn(Impl::run_for(impl, flow, id, std::move(on_end)));
  return flow;
}

void FlowService::on_node_lost(const NodeId& node, const std::string& reason) {
  for (const auto& [id, flow] : impl_->node->orchestrated) flow->on_node_lost(node, reason);
}

Awaitable<v1::ReadCountersResponse> FlowService::own_counters() {
  auto node = impl_->node;
  v1::ReadCountersRequest request;
  request.set_this_node_only(true);
  auto counters = co_await read_counters(node, std::move(request));
  co_return counters ? std::move(*counters) : v1::ReadCountersResponse();
}

void FlowService::on_offered(const NodeId& node, const std::vector<v1::RoleOffer>& offers) {
  for (const auto& [id, flow] : impl_->node->orchestrated) flow->on_offered(node, offers);
}

std::size_t FlowService::running() const { return impl_->node->orchestrated.size(); }

Awaitable<void> FlowService::drain(std::optional<Duration> grace) {
  auto impl = impl_;
  impl->draining = true;
  auto grace_ms =
      grace ? std::optional<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(*grace).count()) : std::nullopt;
  if (grace)
    for (const auto& [id, flow] : impl->node->orchestrated)
      flow->stop(grace_ms, "the node that runs the flow is about to leave");
  for (v1::Flow& flow : impl->node->list()) {
    auto id = FlowId::parse(flow.id());
    bool left_behind = flow.state() == v1::FLOW_STATE_RUNNING && id && !impl->node->orchestrated.contains(*id);
    if (!left_behind) continue;
    if (grace)
      co_await stop_spawners(impl->node, flow, *grace);
    else
      (void)co_await wait_here(impl->node, flow.id());
  }
  while (!impl->node->orchestrated.empty()) co_await impl->node->changed.wait();
}

Awaitable<void> FlowService::close(bool keep_background) {
  auto impl = impl_;
  impl->node->closing = true;
  for (const auto& [id, flow] : impl->node->orchestrated) {
    if (keep_background && flow->survives_daemon())
      flow->let_go();
    else
      flow->stop({}, "the node that runs the flow ends");
  }
  impl->node->changed.notify();
  while (!impl->node->orchestrated.empty()) co_await impl->node->changed.wait();
  co_await impl->node->tasks.wait();
}

}  // namespace sluice::node
