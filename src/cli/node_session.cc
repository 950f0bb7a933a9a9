#include "cli/node_session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <utility>
#include <vector>

#include "cli/context_file.h"
#include "cli/whereabouts.h"
#include "cluster/credential_file.h"
#include "cluster/discovery_message.h"
#include "cluster/discovery_search.h"
#include "node/locations.h"
#include "node/node_reach.h"
#include "node/node_trust.h"

namespace sluice::cli {

namespace asio = net::asio;
using net::Awaitable;
using net::NetErrorKind;
using Refusal = std::unexpected<Failure>;

namespace {

constexpr std::chrono::seconds kConnectTime{3};
// For one of the nodes that answered: it is alive, so if it is silent something is between, and another may do.
constexpr std::chrono::seconds kFoundConnectTime{1};

// One way to a node that a command may take.
struct Way {
  node::NodePlace place;               // origin: "--node", "SLUICE_NODE", "the context 'rack'", "this user's node"
  std::optional<net::Endpoint> group;  // whoever answers on it; `place` is known then
  std::string key, cert;
};

int status_of(node::ReachFailure::Kind kind) {
  using Kind = node::ReachFailure::Kind;
  switch (kind) {
    case Kind::usage:
      return kUsage;
    case Kind::refused_access:
      return kRefusedAccess;
    case Kind::no_node:
      return kNoNode;
    case Kind::timed_out:
      return kTimedOut;
    case Kind::wrong_version:
      return kWrongVersion;
    case Kind::failed:
      break;
  }
  return kFailed;
}

Failure to_failure(node::ReachFailure failure) { return {status_of(failure.kind), std::move(failure.message)}; }

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::expected<Way, Failure> make_way(const std::string& origin, const std::string& node) {
  auto place = node::parse_node_place(origin, node);
  if (!place) return Refusal(to_failure(place.error()));
  return Way{.place = std::move(*place)};
}

std::expected<Way, Failure> make_group_way(const std::string& origin, const std::string& text) {
  auto group = cluster::parse_discovery_group(text);
  if (!group) return Refusal(Failure{kUsage, fmt::format("{}: {}", origin, group.error())});
  Way way{.place = {.origin = fmt::format("{} {}", origin, text)}};
  way.group = std::move(*group);
  return way;
}

std::optional<std::expected<Way, Failure>> way_of_context(const Contexts& contexts) {
  std::string origin = fmt::format("the context '{}'", contexts.current);
  auto found = contexts.all.find(contexts.current);
  if (found == contexts.all.end())
    return Refusal(Failure{kNotFound, fmt::format("{} does not exist; `sluice context ls` lists what does", origin)});
  auto way = make_way(origin, found->second.node);
  if (!way) return way;
  way->key = found->second.key;
  way->cert = found->second.cert;
  return way;
}

std::vector<Way> local_ways(const Settings& settings) {
  std::vector<Way> ways;
  for (const std::string& directory : local_data_directories(settings)) {
    Way way{.place = {.origin = "the local node", .socket = node::socket_path(directory)}};
    ways.push_back(std::move(way));
  }
  return ways;
}

// Of the two settings the one from the nearer place.
std::optional<std::expected<Way, Failure>> way_of_settings(const Settings& settings) {
  for (SettingPlace place : kSettingPlaces) {
    if (const auto* set = settings.find(place, "node")) return make_way(set->front().origin, set->front().value);
    if (const auto* set = settings.find(place, "discover"))
      return make_group_way(set->front().origin, set->front().value);
  }
  return std::nullopt;
}

// Only the local sockets are alternatives: what was named is meant.
std::expected<std::vector<Way>, Failure> find_ways(const NodeOptions& options) {
  std::expected<Way, Failure> named = Refusal(Failure{});
  if (!options.node.empty()) {
    named = make_way("--node", options.node);
  } else if (!options.discover.empty()) {
    named = make_group_way("--discover", options.discover);
  } else if (const auto* set = options.settings.find(SettingPlace::variable, "node")) {
    named = make_way(set->front().origin, set->front().value);
  } else {
    auto contexts = read_contexts();
    if (!contexts) return Refusal(Failure{kFailed, contexts.error()});
    auto set_way = contexts->current.empty() ? way_of_settings(options.settings) : way_of_context(*contexts);
    if (!set_way) return local_ways(options.settings);
    named = std::move(*set_way);
  }
  if (!named) return Refusal(named.error());
  if (!options.key.empty()) named->key = options.key;
  if (!options.cert.empty()) named->cert = options.cert;
  return std::vector{*named};
}

std::chrono::seconds connect_time(const Way& way) { return way.group ? kFoundConnectTime : kConnectTime; }

Failure failure_to_reach(const Way& way, const net::NetError& error) {
  return to_failure(node::failure_to_reach(way.place, error, connect_time(way)));
}

std::expected<net::Credentials, Failure> find_credentials(const Way& way, const Settings& settings) {
  Proof proof = find_proof({.key = way.key, .cert = way.cert}, settings);
  if (!proof.cert.empty()) {
    auto credentials = node::read_certificate(proof.cert);
    if (!credentials) return Refusal(to_failure(credentials.error()));
    return *std::move(credentials);
  }
  if (proof.key.empty())
    return Refusal(Failure{
        kRefusedAccess,
        fmt::format(
            "there is no key and no certificate to show to the node at {}: name the cluster key with --key, or a "
            "certificate with --cert",
            node::describe(way.place))});
  auto keys = cluster::read_key_file(proof.key);
  if (!keys) return Refusal(Failure{kRefusedAccess, keys.error().message});
  auto authority = cluster::CertificateAuthority::from(*keys);
  std::string user = environment("USER");
  auto issued = authority.issue({.role = net::Role::admin,
                                 .name = user.empty() ? "admin" : user.substr(0, cluster::kCertificateNameMax),
                                 .lifetime = std::chrono::hours(1),
                                 .now = node::wall_time_now()});
  if (!issued) return Refusal(Failure{kFailed, issued.error()});
  return *issued;
}

// What questions and answers are sealed with. A certificate holds it only if it is a node's.
std::expected<std::vector<cluster::GossipSecret>, Failure> find_secrets(const Way& way, const Settings& settings) {
  Proof proof = find_proof({.key = way.key, .cert = way.cert}, settings);
  if (!proof.cert.empty()) {
    auto credentials = cluster::read_credential_file(proof.cert);
    if (!credentials) return Refusal(Failure{kRefusedAccess, credentials.error().message});
    if (!credentials->gossip_secrets.empty()) return credentials->gossip_secrets;
  }
  std::string key = find_key(way.key, settings);
  if (key.empty()) {
    std::string lack = proof.cert.empty() ? "" : fmt::format(", and {} does not hold its secret", proof.cert);
    return Refusal(
        Failure{kRefusedAccess, fmt::format("{}: finding nodes by multicast takes the cluster key{}; name it with "
                                            "--key, or the node with --node",
                                            way.place.origin, lack)});
  }
  auto keys = cluster::read_key_file(key);
  if (!keys) return Refusal(Failure{kRefusedAccess, keys.error().message});
  return keys->gossip_secrets();
}

std::expected<std::unique_ptr<net::TlsContext>, Failure> make_tls(const Way& way, const Settings& settings) {
  if (!way.place.socket.empty()) return nullptr;
  auto credentials = find_credentials(way, settings);
  if (!credentials) return Refusal(credentials.error());
  auto context = node::make_tls(*credentials);
  if (!context) return Refusal(to_failure(context.error()));
  return *std::move(context);
}

using Reached = std::expected<std::unique_ptr<node::ReachedNode>, Failure>;

// The first failure says what to exit with; all are told, each once.
void add_failure(Failure& all, const Failure& another) {
  if (all.message.find(another.message) != std::string::npos) return;
  all.status = all.message.empty() ? another.status : all.status;
  all.message += (all.message.empty() ? "" : "; ") + another.message;
}

Awaitable<Reached> reach(Way way, Settings settings, TimePoint deadline) {
  auto tls = make_tls(way, settings);
  if (!tls) co_return Refusal(tls.error());
  auto channel = co_await node::open_channel(way.place, tls->get(), std::nullopt, deadline);
  if (!channel) co_return Refusal(failure_to_reach(way, channel.error()));
  co_return std::make_unique<node::ReachedNode>(std::move(way.place), std::move(*tls), std::move(*channel));
}

Failure nobody_answered(const Way& way) {
  return {kNoNode, fmt::format("no node of this cluster answered ({}) within {} s; is one running with the same "
                               "--discover and the same key, on a network of this host's? --node names one elsewhere",
                               way.place.origin, kConnectTime.count())};
}

// The first node that answers on the group and can be reached.
Awaitable<Reached> reach_any(Way way, Settings settings, TimePoint deadline) {
  auto secrets = find_secrets(way, settings);
  if (!secrets) co_return Refusal(secrets.error());
  auto tls = make_tls(way, settings);
  if (!tls) co_return Refusal(tls.error());
  auto executor = co_await asio::this_coro::executor;
  auto search = cluster::DiscoverySearch::open(executor, *way.group, *secrets);
  if (!search) co_return Refusal(Failure{kNoNode, fmt::format("{}: {}", way.place.origin, search.error())});
  Failure failures;
  while (auto found = co_await (*search)->next(deadline)) {
    way.place.at = {.host = found->profile.endpoint.address, .port = found->profile.endpoint.port};
    TimePoint patience = std::min(deadline, Clock::now() + kFoundConnectTime);
    auto channel = co_await node::open_channel(way.place, tls->get(), found->id, patience);
    if (channel)
      co_return std::make_unique<node::ReachedNode>(std::move(way.place), std::move(*tls), std::move(*channel));
    // A lost packet looks like a firewall; what was refused will be refused again.
    if (channel.error().kind == NetErrorKind::timed_out) (*search)->forget(found->id);
    add_failure(failures, failure_to_reach(way, channel.error()));
  }
  co_return Refusal(failures.message.empty() ? nobody_answered(way) : failures);
}

}  // namespace

void add_node_options(OptionReader& reader, NodeOptions& options) {
  reader.value("--node", options.node, "URL", "the node to ask: a URL, HOST:PORT, or the path of its socket");
  reader.value("--discover", options.discover, "GROUP:PORT", "find a node by multicast; takes the cluster key");
  reader.value("--key", options.key, "FILE", "the cluster key, for a node that is not on this host");
  reader.value("--cert", options.cert, "FILE", "a certificate from `sluice cert issue`, in place of the key");
  reader.settings(options.settings);
}

struct NodeSession::Impl {
  std::unique_ptr<node::ReachedNode> reached;
  std::string where;
};

bool NodeSession::is_named(const NodeOptions& options) {
  if (!options.node.empty() || options.settings.find("node") != nullptr) return true;
  if (!options.discover.empty() || options.settings.find("discover") != nullptr) return true;
  auto contexts = read_contexts();
  return contexts && !contexts->current.empty();
}

bool NodeSession::can_be_found(const NodeOptions& options) {
  if (is_named(options)) return true;
  for (const std::string& directory : local_data_directories(options.settings))
    if (::access(node::socket_path(directory).c_str(), F_OK) == 0) return true;
  return false;
}

Awaitable<std::expected<std::unique_ptr<NodeSession>, Failure>> NodeSession::open(NodeOptions options) {
  auto ways = find_ways(options);
  if (!ways) co_return Refusal(ways.error());
  Failure failure;
  TimePoint deadline = Clock::now() + kConnectTime;
  for (Way& way : *ways) {
    Reached reached = Refusal(Failure{});
    if (way.group)
      reached = co_await reach_any(way, options.settings, deadline);
    else
      reached = co_await reach(way, options.settings, deadline);
    if (reached) {
      std::string where = node::describe((*reached)->place());
      co_return std::unique_ptr<NodeSession>(
          new NodeSession(std::unique_ptr<Impl>(new Impl{std::move(*reached), std::move(where)})));
    }
    add_failure(failure, reached.error());
  }
  if (ways->size() > 1 || ways->front().place.origin == "the local node")
    failure.message += "; `sluice start` starts one here, --node names another";
  co_return Refusal(failure);
}

NodeSession::NodeSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeSession::~NodeSession() = default;

rpc::Channel& NodeSession::channel() { return impl_->reached->channel(); }
const std::string& NodeSession::where() const { return impl_->where; }

Awaitable<std::expected<net::Connection::Parts, net::NetError>> NodeSession::dial_link(link::LinkClaim claim,
                                                                                       TimePoint deadline) {
  co_return co_await impl_->reached->dial_link(claim, deadline);
}

Failure failure_of(const rpc::Status& status) {
  switch (status.code) {
    case rpc::Code::not_found:
      return {kNotFound, status.message};
    case rpc::Code::permission_denied:
    case rpc::Code::unauthenticated:
      return {kRefusedAccess, status.message};
    case rpc::Code::unavailable:
      return {kNoNode, status.message};
    case rpc::Code::deadline_exceeded:
      return {kTimedOut, status.message};
    case rpc::Code::already_exists:
    case rpc::Code::aborted:
      return {kConflict, status.message};
    case rpc::Code::invalid_argument:
      return {kUsage, status.message};
    case rpc::Code::unimplemented:
      return {kWrongVersion, status.message};
    default:
      return {kFailed, status.message};
  }
}

int run_loop(std::function<Awaitable<int>()> work, std::optional<Duration> limit) {
  ::signal(SIGPIPE, SIG_IGN);
  // Never destroyed, since commands end by _exit: what is under way on it then refers to what has gone.
  static asio::io_context loop(1);
  int status = kTimedOut;
  asio::co_spawn(loop, work(), [&](const std::exception_ptr& failure, int result) {
    if (failure) std::rethrow_exception(failure);
    status = result;
    loop.stop();
  });
  if (limit)
    loop.run_for(*limit);
  else
    loop.run();
  return status;
}

namespace {

Awaitable<int> connect_and_run(NodeOptions options, std::function<Awaitable<int>(NodeSession&)> work) {
  auto session = co_await NodeSession::open(std::move(options));
  if (!session) co_return refuse(session.error().status, session.error().message);
  co_return co_await work(**session);
}

}  // namespace

int with_node(NodeOptions options, std::function<Awaitable<int>(NodeSession&)> work) {
  return run_loop([options = std::move(options), work = std::move(work)] { return connect_and_run(options, work); });
}

}  // namespace sluice::cli
