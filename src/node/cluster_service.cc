#include "node/cluster_service.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "node/condition.h"
#include "node/mailbox.h"
#include "node/task_group.h"
#include "sluice/v1/cluster.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

// Events that one watch may be behind; a reader that is slower gets what is now in their place.
constexpr std::size_t kBehindMax = 4096;
constexpr std::chrono::seconds kForwardTime{5};
// How long a node that has agreed to leave is waited for, and how often it is looked at.
constexpr std::chrono::seconds kGoneTime{10};
constexpr std::chrono::milliseconds kGoneLook{20};

std::uint64_t unix_ms_now() {
  auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

bool present(const cluster::Member& member) {
  return member.state == cluster::MemberState::alive || member.state == cluster::MemberState::suspect;
}

v1::NodeEvent::Kind kind_of(MemberChange change) {
  switch (change) {
    case MemberChange::joined:
      return v1::NodeEvent::KIND_JOINED;
    case MemberChange::changed:
      return v1::NodeEvent::KIND_CHANGED;
    case MemberChange::suspected:
      return v1::NodeEvent::KIND_SUSPECTED;
    case MemberChange::left:
      return v1::NodeEvent::KIND_LEFT;
    case MemberChange::lost:
      return v1::NodeEvent::KIND_LOST;
  }
  return v1::NodeEvent::KIND_UNSPECIFIED;
}

}  // namespace

struct ClusterService::Impl {
  using Feed = Mailbox<v1::NodeEvent>;

  Impl(NodeCore node_core, OnLeave leave) : core(node_core), on_leave(std::move(leave)) {}

  NodeCore core;
  OnLeave on_leave;
  std::set<std::shared_ptr<Feed>> feeds;
  bool closed = false;

  std::vector<cluster::Member> sorted_members() const {
    std::vector<cluster::Member> members = core.members.members();
    std::ranges::sort(members, {},
                      [](const cluster::Member& member) { return std::pair(member.profile.name, member.id); });
    return members;
  }

  static Awaitable<std::expected<v1::ListNodesResponse, rpc::Status>> list(std::shared_ptr<Impl> self,
                                                                           v1::ListNodesRequest request) {
    v1::ListNodesResponse response;
    for (const cluster::Member& member : self->sorted_members())
      if (request.all() || present(member)) fill_node(member, self->core.members.self(), *response.add_nodes());
    co_return response;
  }

  static Awaitable<std::expected<v1::Node, rpc::Status>> own(std::shared_ptr<Impl> self) {
    v1::Node node;
    for (const cluster::Member& member : self->core.members.members())
      if (member.id == self->core.members.self()) fill_node(member, self->core.members.self(), node);
    co_return node;
  }

  static Awaitable<rpc::Status> watch(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    if (auto request = co_await call.read(); !request) co_return request.error();
    auto feed = std::make_shared<Feed>(self->core.executor);
    self->fill(*feed);
    if (self->closed) feed->close();
    self->feeds.insert(feed);
    TaskGroup ends(self->core.executor, self->core.log);
    ends.spawn(close_when_cancelled(feed, call));
    while (auto event = co_await feed->take()) {
      if (!co_await call.write(event->SerializeAsString())) break;
      if (feed->size() > kBehindMax) self->begin_anew(*feed);
    }
    self->feeds.erase(feed);
    co_await ends.wait();
    co_return rpc::Status{};
  }

  static Awaitable<void> close_when_cancelled(std::shared_ptr<Feed> feed, rpc::ServerCall& call) {
    co_await call.cancelled();
    feed->close();
  }

  // What a slow reader has missed is replaced by what is now.
  void begin_anew(Feed& feed) const {
    feed.clear();
    fill(feed);
  }

  void fill(Feed& feed) const {
    for (const cluster::Member& member : sorted_members()) {
      if (!present(member)) continue;
      v1::NodeEvent event;
      event.set_kind(v1::NodeEvent::KIND_PRESENT);
      event.set_time_unix_ms(unix_ms_now());
      fill_node(member, core.members.self(), *event.mutable_node());
      feed.put(std::move(event));
    }
    v1::NodeEvent ready;
    ready.set_kind(v1::NodeEvent::KIND_READY);
    ready.set_time_unix_ms(unix_ms_now());
    feed.put(std::move(ready));
  }

  static Awaitable<std::expected<v1::LeaveResponse, rpc::Status>> leave(std::shared_ptr<Impl> self, rpc::CallInfo info,
                                                                        v1::LeaveRequest request) {
    auto member = request.node().empty() ? find_member(self->core.members, self->core.members.self().text())
                                         : find_member(self->core.members, request.node());
    if (!member) co_return std::unexpected(member.error());
    if (member->id == self->core.members.self()) {
      std::optional<Duration> grace = std::chrono::milliseconds(request.grace_ms());
      if (request.wait()) grace.reset();
      co_await self->on_leave(grace);
      co_return v1::LeaveResponse();
    }
    TimePoint deadline = Clock::now() + kForwardTime;
    auto channel = co_await self->core.peers.get(member->id, deadline);
    if (!channel) co_return std::unexpected(status_of(channel.error(), member->profile.name));
    request.clear_node();
    rpc::CallOptions options{
        .timeout = std::nullopt, .on_behalf_of = info.caller.connection.name, .on_behalf_role = info.caller.effective};
    auto left =
        co_await rpc::call<v1::LeaveResponse>(**channel, "sluice.v1.Cluster/Leave", request, std::move(options));
    if (left) co_await await_gone(self, member->id, *channel);
    co_return left;
  }

  // It answers when nothing runs there any more, and ends after that.
  static Awaitable<void> await_gone(std::shared_ptr<Impl> self, NodeId node, std::shared_ptr<rpc::Channel> channel) {
    Condition pause(self->core.executor);
    TimePoint deadline = Clock::now() + kGoneTime;
    while (!self->closed && Clock::now() < deadline && (channel->alive() || self->is_present(node)))
      co_await pause.wait(Clock::now() + kGoneLook);
  }

  bool is_present(const NodeId& node) const {
    return std::ranges::any_of(core.members.members(),
                               [&node](const cluster::Member& member) { return member.id == node && present(member); });
  }
};

ClusterService::ClusterService(NodeCore core, OnLeave on_leave)
    : impl_(std::make_shared<Impl>(core, std::move(on_leave))) {}

ClusterService::~ClusterService() = default;

void ClusterService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  const rpc::RoleSet everybody = {Role::read,  Role::submit,  Role::invoke,  Role::run,  Role::worker,
                                  Role::agent, Role::operate, Role::gateway, Role::node, Role::admin};
  auto impl = impl_;
  table.add({.name = "sluice.v1.Cluster/GetNode",
             .roles = everybody,
             .handler = rpc::unary_of<v1::GetNodeRequest, v1::Node>(
                 [impl](const rpc::CallInfo&, v1::GetNodeRequest) { return Impl::own(impl); })});
  table.add({.name = "sluice.v1.Cluster/ListNodes",
             .roles = everybody,
             .handler = rpc::unary_of<v1::ListNodesRequest, v1::ListNodesResponse>(
                 [impl](const rpc::CallInfo&, v1::ListNodesRequest request) {
                   return Impl::list(impl, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Cluster/WatchNodes",
             .roles = everybody,
             .server_streams = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::watch(impl, call); }});
  table.add({.name = "sluice.v1.Cluster/Leave",
             .roles = {Role::operate, Role::admin},
             .mutating = true,
             .object = rpc::object_of<v1::LeaveRequest>([impl](const v1::LeaveRequest& request) {
               std::string own = impl->core.members.self().text();
               return rpc::CallObject{{"node", request.node().empty() ? own : request.node()}};
             }),
             .handler = rpc::unary_of<v1::LeaveRequest, v1::LeaveResponse>(
                 [impl](const rpc::CallInfo& info, v1::LeaveRequest request) {
                   return Impl::leave(impl, info, std::move(request));
                 })});
}

void ClusterService::on_change(MemberChange change, const cluster::Member& member, cluster::LossReason reason) {
  v1::NodeEvent event;
  event.set_kind(kind_of(change));
  event.set_time_unix_ms(unix_ms_now());
  fill_node(member, impl_->core.members.self(), *event.mutable_node());
  if (change == MemberChange::lost) event.mutable_node()->set_reason(std::string(cluster::reason_name(reason)));
  for (const auto& feed : impl_->feeds) feed->put(event);
}

void ClusterService::close() {
  impl_->closed = true;
  for (const auto& feed : impl_->feeds) feed->close();
}

}  // namespace sluice::node
