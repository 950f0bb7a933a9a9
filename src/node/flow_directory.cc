#include "node/flow_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>
#include <csignal>
#include <map>
#include <set>
#include <utility>

#include "exec/spawn_protocol.h"
#include "flow/stage_words.h"
#include "node/alone_flows.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

constexpr std::size_t kPrefixMin = 4;
// Of one answer; a message has at most 4 MiB (rpc/limits.h).
constexpr std::size_t kListBytesMax = std::size_t{3} << 20;

bool may_mean(const std::string& wanted, const v1::Flow& flow) {
  return node::may_mean(wanted, flow.id(), flow.name());
}

bool is_listed(const v1::ListFlowsRequest& request, const v1::Flow& flow) {
  bool in_state = request.all() || flow.state() != v1::FLOW_STATE_ENDED;
  return in_state && (request.wanted().empty() || may_mean(request.wanted(), flow));
}

// Those that have ended longest ago are left out, and counted.
void keep_what_fits(v1::ListFlowsResponse& response) {
  if (response.ByteSizeLong() <= kListBytesMax) return;
  auto& flows = *response.mutable_flows();
  std::ranges::sort(flows, std::ranges::greater(), [](const v1::Flow& flow) {
    return std::pair(flow.state() != v1::FLOW_STATE_ENDED, std::max(flow.ended_unix_ms(), flow.started_unix_ms()));
  });
  std::size_t size = 0;
  int kept = 0;
  while (kept < flows.size() && (size += flows[kept].ByteSizeLong() + 8) <= kListBytesMax) ++kept;
  response.set_omitted(response.omitted() + static_cast<std::uint32_t>(flows.size() - kept));
  flows.DeleteSubrange(kept, flows.size() - kept);
}

struct Asking {
  explicit Asking(net::asio::any_io_executor executor) : answered(std::move(executor)) {}
  Condition answered;
  std::size_t open = 0;
  v1::ListFlowsResponse response;
};

Awaitable<void> ask(std::shared_ptr<NodeFlows> node, cluster::Member member, v1::ListFlowsRequest request,
                    std::shared_ptr<Asking> asking) {
  auto channel = co_await node->core.peers.get(member.id, Clock::now() + kAskTime);
  bool answered = false;
  if (channel) {
    rpc::CallOptions options{.timeout = kAskTime};
    auto theirs = co_await rpc::call<v1::ListFlowsResponse>(**channel, "sluice.v1.Flows/ListFlows", request, options);
    answered = theirs.has_value();
    if (theirs) asking->response.mutable_flows()->MergeFrom(theirs->flows());
    if (theirs) asking->response.set_omitted(asking->response.omitted() + theirs->omitted());
  }
  if (!answered) asking->response.add_silent_nodes(member.profile.name);
  --asking->open;
  asking->answered.notify();
}

}  // namespace

bool may_mean(const std::string& wanted, const std::string& id, const std::string& name) {
  return name == wanted || (wanted.size() >= kPrefixMin && id.starts_with(wanted));
}

rpc::Status lost_node(const std::string& node, const v1::Flow& flow) {
  std::string name = flow.name().empty() ? flow.id().substr(0, kShortIdDigits) : flow.name();
  return {rpc::Code::unavailable,
          fmt::format("lost {}: it does not answer any more, and it has the flow {}; once it is back, `sluice ps -a` "
                      "tells what became of it",
                      node, name)};
}

namespace {

// Passes a call about a flow of another node on to that. Nothing: it is ours.
template <class Response, class Request>
Awaitable<std::optional<std::expected<Response, rpc::Status>>> pass_on(std::shared_ptr<NodeFlows> node, v1::Flow flow,
                                                                       Request request, rpc::CallOptions options,
                                                                       std::string method) {
  auto orchestrator = NodeId::parse(flow.node_id());
  if (!orchestrator || *orchestrator == node->self()) co_return std::nullopt;
  auto channel = co_await node->core.peers.get(*orchestrator, Clock::now() + kAskTime);
  if (!channel) co_return std::unexpected(status_of(channel.error(), flow.node()));
  request.set_flow(flow.id());
  auto answer = co_await rpc::call<Response>(**channel, std::move(method), request, std::move(options));
  if (!answer && !(*channel)->alive()) answer.error() = lost_node(flow.node(), flow);
  co_return answer;
}

// Those that may keep flows and can't be asked for them, unless they are back as another node of the same name.
std::set<std::string> lost_nodes(const NodeFlows& node) {
  std::set<std::string> lost;
  std::vector<cluster::Member> members = node.core.members.members();
  for (const cluster::Member& member : members)
    if (member.state == cluster::MemberState::dead || member.state == cluster::MemberState::suspect)
      lost.insert(member.profile.name);
  for (const cluster::Member& member : members)
    if (member.state == cluster::MemberState::alive) lost.erase(member.profile.name);
  return lost;
}

}  // namespace

Answer<v1::ListFlowsResponse> list_flows(std::shared_ptr<NodeFlows> node, v1::ListFlowsRequest request) {
  v1::ListFlowsResponse response;
  for (v1::Flow& flow : node->list())
    if (is_listed(request, flow)) *response.add_flows() = std::move(flow);
  if (request.this_node_only()) {
    keep_what_fits(response);
    co_return response;
  }
  request.set_this_node_only(true);
  auto asking = std::make_shared<Asking>(node->core.executor);
  for (const cluster::Member& member : node->core.members.members()) {
    if (member.id == node->self() || member.state != cluster::MemberState::alive) continue;
    ++asking->open;
    node->tasks.spawn(ask(node, member, request, asking));
  }
  while (asking->open > 0) co_await asking->answered.wait();
  response.MergeFrom(asking->response);
  merge_alone(response);
  keep_what_fits(response);
  co_return response;
}

Answer<v1::Flow> find_flow(std::shared_ptr<NodeFlows> node, std::string wanted) {
  v1::ListFlowsRequest request;
  request.set_all(true);
  request.set_wanted(wanted);
  auto all = co_await list_flows(node, request);
  if (!all) co_return std::unexpected(all.error());
  std::vector<const v1::Flow*> found;
  for (const v1::Flow& flow : all->flows())
    if (may_mean(wanted, flow)) found.push_back(&flow);
  if (found.size() == 1) co_return *found[0];
  std::string message = fmt::format("no flow '{}'; `sluice ps -a` lists them", wanted);
  if (!found.empty()) {
    message = fmt::format("'{}' may mean several flows; say which by its id:", wanted);
    for (const v1::Flow* flow : found) message += " " + flow->id();
  } else {
    std::set<std::string> lost = lost_nodes(*node);
    if (!all->silent_nodes().empty())
      message += fmt::format("; no answer from {}", fmt::join(all->silent_nodes(), " "));
    if (!lost.empty())
      message += fmt::format("; {} can't be asked, being dead: a flow of its own is known again when it is back",
                             fmt::join(lost, " "));
  }
  co_return std::unexpected(rpc::Status{found.empty() ? rpc::Code::not_found : rpc::Code::invalid_argument, message});
}

namespace {

Answer<v1::Flow> await_flow(std::shared_ptr<NodeFlows> node, rpc::CallInfo info, v1::WaitFlowRequest request) {
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return std::unexpected(flow.error());
  rpc::CallOptions options = on_behalf(info);
  options.timeout.reset();
  auto passed = co_await pass_on<v1::Flow>(node, *flow, request, std::move(options), "sluice.v1.Flows/WaitFlow");
  if (passed) co_return *passed;
  co_return co_await wait_here(node, flow->id());
}

}  // namespace

Awaitable<rpc::Status> wait_for_flow(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call) {
  auto message = co_await call.read();
  v1::WaitFlowRequest request;
  if (!message || !*message || !request.ParseFromString(**message))
    co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
  auto awaited = co_await (await_flow(node, call.info(), std::move(request)) || call.cancelled());
  auto* flow = std::get_if<0>(&awaited);
  if (flow == nullptr) co_return rpc::Status{rpc::Code::cancelled, "nobody waits for the flow any more"};
  if (!*flow) co_return flow->error();
  auto written = co_await call.write((*flow)->SerializeAsString());
  co_return written ? rpc::Status{} : written.error();
}

Answer<v1::Flow> wait_here(std::shared_ptr<NodeFlows> node, std::string id) {
  Condition pause(node->core.executor);
  while (!node->closing) {
    auto orchestrated = FlowId::parse(id);
    if (orchestrated && node->orchestrated.contains(*orchestrated)) {
      co_await node->changed.wait();
      continue;
    }
    auto flow = node->kept.find(id);
    if (!flow) break;
    if (flow->state() == v1::FLOW_STATE_ENDED || flow->state() == v1::FLOW_STATE_UNKNOWN) co_return *flow;
    co_await pause.wait(Clock::now() + kLookAgain);
  }
  co_return std::unexpected(rpc::Status{rpc::Code::unavailable, "the flow has ended, and was in the foreground"});
}

Answer<v1::Flow> stop_flow(std::shared_ptr<NodeFlows> node, rpc::CallInfo info, v1::StopFlowRequest request) {
  if (request.alone_here()) co_return co_await stop_alone_here(node, std::move(request));
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return std::unexpected(flow.error());
  if (flow->alone()) co_return co_await stop_alone(node, std::move(info), *std::move(flow), std::move(request));
  rpc::CallOptions options = on_behalf(info);
  options.timeout.reset();
  auto passed = co_await pass_on<v1::Flow>(node, *flow, request, std::move(options), "sluice.v1.Flows/StopFlow");
  if (passed) co_return *passed;
  auto id = FlowId::parse(flow->id());
  auto orchestrated = node->orchestrated.find(*id);
  if (orchestrated != node->orchestrated.end()) {
    orchestrated->second->stop(request.grace_ms(), "the flow was told to stop");
    bool background = flow->background();
    if (!background) co_return *flow;
  } else if (flow->state() == v1::FLOW_STATE_RUNNING) {
    co_await stop_spawners(node, *flow, std::chrono::milliseconds(request.grace_ms()));
  }
  co_return co_await wait_here(node, flow->id());
}

Answer<v1::ScaleStageResponse> scale_stage(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                           v1::ScaleStageRequest request) {
  if (request.workers() == 0 || request.workers() > flow::kWorkersMax)
    co_return std::unexpected(
        rpc::Status{rpc::Code::invalid_argument, fmt::format("a stage has 1 to {} workers", flow::kWorkersMax)});
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return std::unexpected(flow.error());
  auto passed =
      co_await pass_on<v1::ScaleStageResponse>(node, *flow, request, on_behalf(info), "sluice.v1.Flows/ScaleStage");
  if (passed) co_return *std::move(passed);
  auto orchestrated = node->orchestrated.find(*FlowId::parse(flow->id()));
  if (orchestrated == node->orchestrated.end())
    co_return std::unexpected(rpc::Status{rpc::Code::failed_precondition,
                                          flow->state() == v1::FLOW_STATE_ENDED
                                              ? fmt::format("the flow {} has ended", flow->id())
                                              : fmt::format("the flow {} has no stage of many workers", flow->id())});
  std::shared_ptr<FlowOrchestrator> orchestrator = orchestrated->second;  // outlives the question
  co_return co_await orchestrator->scale(request.stage(), request.workers());
}

namespace {

// A stage can stop its parent (kill -STOP $PPID); what must be ended must not wait for that.
void send_and_wake(exec::SpawnerClient& spawner, const exec::OwnerMessage& message) {
  spawner.send(message);
  if (spawner.pid() > 0) ::kill(spawner.pid(), SIGCONT);
}

// Nothing: nobody is there, or too many have attached to it all the time.
Awaitable<std::optional<exec::SpawnerClient>> attach_in_time(std::shared_ptr<NodeFlows> node, std::string id,
                                                             std::uint32_t part) {
  Condition pause(node->core.executor);
  TimePoint deadline = Clock::now() + kAskTime;
  while (true) {
    auto client = node->kept.attach(id, part);
    if (client || !node->kept.part_runs(id, part) || Clock::now() >= deadline) co_return client;
    co_await pause.wait(Clock::now() + kLookAgain);
  }
}

}  // namespace

Awaitable<void> stop_spawners(std::shared_ptr<NodeFlows> node, v1::Flow flow, Duration grace) {
  std::vector<exec::SpawnerClient> spawners;
  std::set<std::uint32_t> parts;
  for (const v1::FlowStage& stage : flow.stages()) parts.insert(stage.part());
  for (std::uint32_t part : parts)
    if (auto client = co_await attach_in_time(node, flow.id(), part)) spawners.push_back(std::move(*client));
  exec::SendSignal request{.signal = SIGTERM, .strays_too = true, .then_continue = true};
  for (int i = 0; i < flow.stages_size(); ++i) request.programs.push_back(static_cast<exec::ProgramIndex>(i));
  for (exec::SpawnerClient& spawner : spawners) send_and_wake(spawner, request);
  Condition pause(node->core.executor);
  TimePoint patience = Clock::now() + grace;
  while (Clock::now() < patience &&
         std::ranges::any_of(parts, [&](std::uint32_t part) { return node->kept.part_runs(flow.id(), part); }))
    co_await pause.wait(Clock::now() + kLookAgain);
  for (exec::SpawnerClient& spawner : spawners) send_and_wake(spawner, exec::EndAll{});
}

Awaitable<void> end_in_time(std::shared_ptr<NodeFlows> node, std::string id, FlowLimits limits) {
  while (!node->closing && Clock::now() < limits.deadline) co_await node->changed.wait(limits.deadline);
  auto flow = node->kept.find(id);
  if (node->closing || !flow || flow->state() != v1::FLOW_STATE_RUNNING) co_return;
  node->kept.mark_timed_out(id);  // before anything ends: whoever waits is told why
  co_await stop_spawners(node, *flow, limits.grace);
}

namespace {

std::expected<void, rpc::Status> remove_kept(NodeFlows& node, const std::string& id) {
  std::vector<std::string> work_folders = node.kept.work_folders(id);
  if (auto removed = node.kept.remove(id); !removed)
    return std::unexpected(rpc::Status{rpc::Code::internal, removed.error()});
  for (const std::string& folder : work_folders) node.workers.remove_folder(folder);
  return {};
}

// One that has left for good, or that nobody remembers, is not waited for.
bool is_in_cluster(const NodeFlows& node, const NodeId& id) {
  return std::ranges::any_of(node.core.members.members(), [&id](const cluster::Member& member) {
    return member.id == id && member.state != cluster::MemberState::left;
  });
}

Answer<v1::ForgetFlowResponse> forget_on(std::shared_ptr<NodeFlows> node, NodeId where, std::string flow_id) {
  auto channel = co_await node->core.peers.get(where, Clock::now() + kAskTime);
  if (!channel) co_return std::unexpected(status_of(channel.error(), where.text()));
  v1::ForgetFlowRequest request;
  request.set_flow_id(flow_id);
  rpc::CallOptions options{.timeout = kAskTime};
  co_return co_await rpc::call<v1::ForgetFlowResponse>(**channel, "sluice.v1.Workers/ForgetFlow", request, options);
}

Answer<v1::RemoveFlowResponse> forget_elsewhere(std::shared_ptr<NodeFlows> node, v1::Flow flow) {
  std::map<NodeId, std::string> keepers;  // and their names
  auto add = [&](const std::string& node_id, const std::string& name) {
    if (auto id = NodeId::parse(node_id); id && *id != node->self()) keepers[*id] = name;
  };
  for (const v1::FlowStage& stage : flow.stages()) {
    add(stage.node_id(), stage.node());
    for (const v1::KeptSeats& seats : stage.seats()) add(seats.node_id(), seats.node());
  }
  v1::RemoveFlowResponse response;
  std::vector<std::string> failures;
  for (const auto& [id, name] : keepers) {
    if (!is_in_cluster(*node, id)) {
      response.add_left_nodes(name);
      continue;
    }
    auto forgotten = co_await forget_on(node, id, flow.id());
    if (!forgotten) failures.push_back(fmt::format("{} ({})", name, forgotten.error().message));
  }
  if (failures.empty()) co_return response;
  co_return std::unexpected(rpc::Status{
      rpc::Code::unavailable,
      fmt::format("the flow {} is still there: what it has written is kept on {} as well, which could not be told; "
                  "repeat `sluice rm {}` when that answers",
                  flow.id(), fmt::join(failures, ", "), flow.id().substr(0, kShortIdDigits))});
}

}  // namespace

Answer<v1::ForgetFlowResponse> forget_flow(std::shared_ptr<NodeFlows> node, v1::ForgetFlowRequest request) {
  const std::string& id = request.flow_id();
  auto parsed = FlowId::parse(id);
  if (!parsed)
    co_return std::unexpected(rpc::Status{rpc::Code::invalid_argument, fmt::format("'{}' is no id of a flow", id)});
  if (node->orchestrated.contains(*parsed) || node->kept.find(id))
    co_return std::unexpected(rpc::Status{rpc::Code::failed_precondition, "this node orchestrates the flow"});
  if (node->kept.any_part_runs(id))
    co_return std::unexpected(rpc::Status{rpc::Code::failed_precondition, "a part of the flow still runs there"});
  if (auto removed = remove_kept(*node, id); !removed) co_return std::unexpected(removed.error());
  node->workers.served().forget_alone(id);
  co_return v1::ForgetFlowResponse();
}

Awaitable<void> forget_failed(std::shared_ptr<NodeFlows> node, v1::Flow flow) {
  auto forgotten = co_await forget_elsewhere(node, flow);
  if (forgotten)
    (void)remove_kept(*node, flow.id());
  else
    save_end(node, flow);
}

Answer<v1::RemoveFlowResponse> remove_flow(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                           v1::RemoveFlowRequest request) {
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return std::unexpected(flow.error());
  rpc::CallOptions options = on_behalf(info);
  options.timeout.reset();  // it may have to wait for nodes that don't answer, one after the other
  auto passed =
      co_await pass_on<v1::RemoveFlowResponse>(node, *flow, request, std::move(options), "sluice.v1.Flows/RemoveFlow");
  if (passed) co_return *passed;
  bool over = flow->state() == v1::FLOW_STATE_ENDED || flow->state() == v1::FLOW_STATE_UNKNOWN;
  if (!over)
    co_return std::unexpected(rpc::Status{
        rpc::Code::failed_precondition,
        fmt::format("the flow {} runs; `sluice stop {}` ends it", flow->id(), flow->id().substr(0, kShortIdDigits))});
  // The record goes last: as long as somebody keeps a part of the flow, it can be found and removed again.
  auto response = co_await forget_elsewhere(node, *flow);
  if (!response) co_return std::unexpected(response.error());
  if (auto removed = remove_kept(*node, flow->id()); !removed) co_return std::unexpected(removed.error());
  co_return *response;
}

}  // namespace sluice::node
