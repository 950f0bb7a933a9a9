#include "node/flow_counting.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

// Of one answer; a message has at most 4 MiB (rpc/limits.h).
constexpr std::size_t kBytesMax = std::size_t{3} << 20;
constexpr std::chrono::milliseconds kLookPause{50};

// What several tasks put together.
struct Counting {
  explicit Counting(net::asio::any_io_executor executor) : counted(std::move(executor)) {}
  Condition counted;
  std::size_t open = 0;
  v1::ReadCountersResponse response;

  void done() {
    --open;
    counted.notify();
  }
};

bool is_wanted(const v1::ReadCountersRequest& request, const std::string& id, const std::string& name) {
  return request.flows().empty() ||
         std::ranges::any_of(request.flows(), [&](const std::string& wanted) { return may_mean(wanted, id, name); });
}

Awaitable<void> count_one(std::shared_ptr<FlowOrchestrator> flow, std::shared_ptr<Counting> counting) {
  v1::FlowCounters counters;
  co_await flow->count(counters);
  if (counters.state() != v1::FLOW_STATE_ENDED) *counting->response.add_flows() = std::move(counters);
  counting->done();
}

Awaitable<void> ask(std::shared_ptr<NodeFlows> node, cluster::Member member, v1::ReadCountersRequest request,
                    std::shared_ptr<Counting> counting) {
  auto channel = co_await node->core.peers.get(member.id, Clock::now() + kAskTime);
  bool answered = false;
  if (channel) {
    rpc::CallOptions options{.timeout = kAskTime};
    auto theirs =
        co_await rpc::call<v1::ReadCountersResponse>(**channel, "sluice.v1.Flows/ReadCounters", request, options);
    answered = theirs.has_value();
    if (theirs) counting->response.MergeFrom(*theirs);
  }
  if (!answered) counting->response.add_silent_nodes(member.profile.name);
  counting->done();
}

Awaitable<void> look_while_asked(std::shared_ptr<NodeFlows> node) {
  Condition pause(node->core.executor);
  while (!node->closing && node->left.look(Clock::now())) co_await pause.wait(Clock::now() + kLookPause);
  node->looks_at_left = false;
}

// Flows in the background that have no orchestrator.
void count_left(const std::shared_ptr<NodeFlows>& node, const v1::ReadCountersRequest& request,
                v1::ReadCountersResponse& response) {
  bool any = false;
  for (const v1::Flow& flow : node->kept.list()) {
    auto id = FlowId::parse(flow.id());
    bool left = flow.state() == v1::FLOW_STATE_RUNNING && id && !node->orchestrated.contains(*id);
    if (!left || !is_wanted(request, flow.id(), flow.name())) continue;
    node->left.count(flow, *response.add_flows(), Clock::now());
    any = true;
  }
  if (any && !node->closing && !std::exchange(node->looks_at_left, true)) node->tasks.spawn(look_while_asked(node));
}

// The oldest first. Those for which there is no room are counted.
void put_in_order(v1::ReadCountersResponse& response) {
  auto& flows = *response.mutable_flows();
  std::ranges::sort(flows, {},
                    [](const v1::FlowCounters& flow) { return std::pair(flow.started_unix_ms(), flow.id()); });
  std::size_t size = 0;
  int kept = 0;
  while (kept < flows.size() && (size += flows[kept].ByteSizeLong() + 8) <= kBytesMax) ++kept;
  response.set_omitted(response.omitted() + static_cast<std::uint32_t>(flows.size() - kept));
  flows.DeleteSubrange(kept, flows.size() - kept);
}

// Of those that were asked for, one that nobody has.
std::optional<std::string> missing_flow(const v1::ReadCountersRequest& request,
                                        const v1::ReadCountersResponse& response) {
  for (const std::string& wanted : request.flows()) {
    bool there = std::ranges::any_of(
        response.flows(), [&](const v1::FlowCounters& flow) { return may_mean(wanted, flow.id(), flow.name()); });
    if (!there) return wanted;
  }
  return std::nullopt;
}

}  // namespace

Answer<v1::ReadCountersResponse> read_counters(std::shared_ptr<NodeFlows> node, v1::ReadCountersRequest request) {
  auto counting = std::make_shared<Counting>(node->core.executor);
  v1::ReadCountersRequest of_theirs = request;
  of_theirs.set_this_node_only(true);
  for (const cluster::Member& member : node->core.members.members()) {
    bool asked = !request.this_node_only() && member.id != node->self() && member.state == cluster::MemberState::alive;
    if (!asked) continue;
    ++counting->open;
    node->tasks.spawn(ask(node, member, of_theirs, counting));
  }
  for (const auto& [id, flow] : node->orchestrated) {
    v1::Flow described;
    flow->describe(described);
    if (!is_wanted(request, described.id(), described.name())) continue;
    ++counting->open;
    node->tasks.spawn(count_one(flow, counting));
  }
  count_left(node, request, counting->response);
  while (counting->open > 0) co_await counting->counted.wait();
  v1::ReadCountersResponse response = std::move(counting->response);
  put_in_order(response);
  auto missing = request.this_node_only() ? std::nullopt : missing_flow(request, response);
  if (!missing) co_return response;
  std::string message = fmt::format("no flow '{}' runs; `sluice ps` lists those that do", *missing);
  if (!response.silent_nodes().empty())
    message += fmt::format("; no answer from {}", fmt::join(response.silent_nodes(), " "));
  co_return std::unexpected(rpc::Status{rpc::Code::not_found, message});
}

}  // namespace sluice::node
