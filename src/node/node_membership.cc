#include "node/node_membership.h"

#include <fmt/format.h>

#include "cluster/discovery_service.h"
#include "cluster/membership_service.h"
#include "node/join_watch.h"

namespace sluice::node {

using net::Awaitable;
using Refusal = std::unexpected<std::string>;

struct NodeMembership::Impl {
  Impl(net::asio::any_io_executor to_executor, TaskGroup& to_tasks, NodeTrust& to_trust, Options to_options,
       Logger& to_log)
      : executor(std::move(to_executor)),
        tasks(to_tasks),
        trust(to_trust),
        options(std::move(to_options)),
        log(to_log) {}

  std::expected<void, std::string> open() {
    MemberNews::Handlers handlers = options.handlers;
    handlers.on_change = [this](MemberChange change, const cluster::Member& member) {
      options.handlers.on_change(change, member);
      memory->on_change();
      if (change == MemberChange::joined && join_watch) join_watch->on_joined();
    };
    news.emplace(trust.node_id(), options.profile.endpoint, std::move(handlers), log);
    cluster::MembershipService::Options service_options{
        .self = trust.node_id(),
        .profile = options.profile,
        .bind = options.bind,
        .boot = options.boot,
        .secrets = trust.gossip_secrets(),
        .tls = options.tls,
        .on_event = [this](const cluster::MembershipEvent& event) { news->tell(event); }};
    auto opened = cluster::MembershipService::open(executor, std::move(service_options), log);
    if (!opened) return Refusal(opened.error());
    service = std::move(*opened);
    return options.group ? open_discovery() : std::expected<void, std::string>();
  }

  std::expected<void, std::string> open_discovery() {
    auto interfaces = cluster::interfaces_for({.interface = options.interface, .listen = options.bind.address});
    if (!interfaces) return Refusal(fmt::format("--discover: {}", interfaces.error()));
    cluster::DiscoveryService::Options discovery_options{.self = trust.node_id(),
                                                         .profile = options.profile,
                                                         .boot = options.boot,
                                                         .gossip_secrets = trust.gossip_secrets(),
                                                         .group = *options.group,
                                                         .interfaces = std::move(*interfaces)};
    auto opened = cluster::DiscoveryService::open(executor, std::move(discovery_options), *service, log);
    if (!opened) return Refusal(fmt::format("--discover: {}", opened.error()));
    discovery = std::move(*opened);
    if (net::is_loopback(options.bind.address))
      log.info("discovery finds nodes of this host only, since this one listens on loopback; see --listen");
    return {};
  }

  net::asio::any_io_executor executor;
  TaskGroup& tasks;
  NodeTrust& trust;
  Options options;
  Logger& log;
  std::optional<MemberNews> news;
  std::unique_ptr<cluster::MembershipService> service;
  std::unique_ptr<cluster::DiscoveryService> discovery;
  std::optional<MemberMemory> memory;
  std::optional<JoinWatch> join_watch;  // once others are looked for
};

std::expected<std::unique_ptr<NodeMembership>, std::string> NodeMembership::open(net::asio::any_io_executor executor,
                                                                                 TaskGroup& tasks, NodeTrust& trust,
                                                                                 Options options, Logger& log) {
  std::string data_directory = options.data_directory;
  auto impl = std::make_unique<Impl>(executor, tasks, trust, std::move(options), log);
  if (auto opened = impl->open(); !opened) return Refusal(opened.error());
  std::unique_ptr<NodeMembership> membership(new NodeMembership(std::move(impl)));
  const MemberView& members = *membership;
  membership->impl_->memory.emplace(executor, tasks, members, data_directory, log);
  return membership;
}

NodeMembership::NodeMembership(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeMembership::~NodeMembership() = default;

NodeId NodeMembership::self() const { return impl_->trust.node_id(); }
std::vector<cluster::Member> NodeMembership::members() const { return impl_->service->members(); }

std::optional<net::HostPort> NodeMembership::address_of(const NodeId& node) const {
  auto member = impl_->service->find(node);
  if (!member) return std::nullopt;
  return net::HostPort{.host = member->profile.endpoint.address, .port = member->profile.endpoint.port};
}

void NodeMembership::look_for_others() {
  on_revocations();
  for (const net::HostPort& join : impl_->options.joins) impl_->service->add_seed(join);
  for (const net::HostPort& known : impl_->memory->read()) impl_->service->add_seed(known);
  JoinWatch::Options watch{
      .self = self(), .joins = impl_->options.joins, .tls = impl_->options.tls, .alone = [impl = impl_.get()] {
        return impl->service->present_count() == 1;
      }};
  impl_->join_watch.emplace(impl_->executor, impl_->tasks, std::move(watch), impl_->log);
}

void NodeMembership::on_revocations() { impl_->service->set_shared_digest(impl_->trust.revocations().digest()); }

void NodeMembership::on_renewal() {
  impl_->service->replace_secrets(impl_->trust.gossip_secrets());
  if (impl_->discovery) impl_->discovery->replace_secrets(impl_->trust.gossip_secrets());
}

Awaitable<void> NodeMembership::leave(MemberMemory::AtEnd at_end) {
  impl_->memory->close(at_end);
  if (impl_->join_watch) impl_->join_watch->close();
  if (impl_->discovery) co_await impl_->discovery->close();
  co_await impl_->service->leave();
}

Awaitable<void> NodeMembership::close() { co_await impl_->service->close(); }

}  // namespace sluice::node
