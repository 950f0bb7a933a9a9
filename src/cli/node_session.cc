#include "cli/node_session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <utility>
#include <vector>

#include "cli/context_file.h"
#include "cli/whereabouts.h"
#include "cluster/credential_file.h"
#include "node/link_dialer.h"
#include "node/locations.h"
#include "node/node_trust.h"

namespace sluice::cli {

namespace asio = net::asio;
using net::Awaitable;
using net::NetErrorKind;
using Refusal = std::unexpected<Failure>;

namespace {

constexpr std::chrono::seconds kConnectTime{3};

// One way to a node that a command may take.
struct Way {
  std::string origin;  // "--node", "SLUICE_NODE", "the context 'rack'", "this user's node"
  std::string socket;  // not empty: a Unix socket
  net::HostPort at;
  std::string key, cert;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::expected<Way, Failure> make_way(const std::string& origin, const std::string& node) {
  Way way{.origin = origin};
  if (node.find("://") == std::string::npos && node.find('/') != std::string::npos) {
    way.socket = node;
    return way;
  }
  auto url = net::parse_node_url(node);
  if (!url) return Refusal(Failure{kUsage, fmt::format("{}: {}", origin, url.error())});
  way.at = url->at;
  return way;
}

std::expected<Way, Failure> way_of_context(const Contexts& contexts) {
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
  for (const std::string& directory : local_data_directories(settings))
    ways.push_back({.origin = "the local node", .socket = node::socket_path(directory)});
  return ways;
}

// Only the local sockets are alternatives: what was named is meant.
std::expected<std::vector<Way>, Failure> find_ways(const NodeOptions& options) {
  std::expected<Way, Failure> named = Refusal(Failure{});
  if (!options.node.empty()) {
    named = make_way("--node", options.node);
  } else if (const auto* set = options.settings.find(SettingPlace::variable, "node")) {
    named = make_way(set->front().origin, set->front().value);
  } else {
    auto contexts = read_contexts();
    if (!contexts) return Refusal(Failure{kFailed, contexts.error()});
    if (contexts->current.empty() && options.settings.find("node") == nullptr) return local_ways(options.settings);
    named = contexts->current.empty() ? make_way(options.settings.origin("node"), options.settings.text("node"))
                                      : way_of_context(*contexts);
  }
  if (!named) return Refusal(named.error());
  if (!options.key.empty()) named->key = options.key;
  if (!options.cert.empty()) named->cert = options.cert;
  return std::vector{*named};
}

std::string describe(const Way& way) { return way.socket.empty() ? net::to_text(way.at) : way.socket; }

Failure failure_to_reach(const Way& way, const net::NetError& error) {
  std::string whom = fmt::format("cannot reach the node at {} ({})", describe(way), way.origin);
  switch (error.kind) {
    case NetErrorKind::refused:
      return {kNoNode, fmt::format("{}: refused: {}; is it running?", whom, error.message)};
    case NetErrorKind::unreachable:
      return {kNoNode, fmt::format("{}: unreachable: {}", whom, error.message)};
    case NetErrorKind::timed_out:
      return {kTimedOut, fmt::format("{}: timed out: no answer within {} s", whom, kConnectTime.count())};
    case NetErrorKind::wrong_key:
      return {kRefusedAccess, fmt::format("{}: wrong key: {}", whom, error.message)};
    case NetErrorKind::revoked:
      return {kRefusedAccess, fmt::format("{}: {}", whom, error.message)};
    case NetErrorKind::wrong_role:
    case NetErrorKind::wrong_node:
      return {kRefusedAccess, fmt::format("{}: {}", whom, error.message)};
    case NetErrorKind::wrong_version:
      return {kWrongVersion, fmt::format("{}: wrong version: {}", whom, error.message)};
    default:
      return {kNoNode, fmt::format("{}: {}", whom, error.message)};
  }
}

std::expected<net::Credentials, Failure> find_credentials(const Way& way, const Settings& settings) {
  Proof proof = find_proof({.key = way.key, .cert = way.cert}, settings);
  if (!proof.cert.empty()) {
    auto credentials = cluster::read_credential_file(proof.cert);
    if (!credentials) return Refusal(Failure{kRefusedAccess, credentials.error().message});
    return credentials->tls;
  }
  if (proof.key.empty())
    return Refusal(
        Failure{kRefusedAccess, fmt::format("a node at {} wants a proof: name the cluster key with --key, or a "
                                            "certificate with --cert",
                                            describe(way))});
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

}  // namespace

void add_node_options(OptionReader& reader, NodeOptions& options) {
  reader.value("--node", options.node, "URL", "the node to ask: a URL, HOST:PORT, or the path of its socket");
  reader.value("--key", options.key, "FILE", "the cluster key, for a node that is not on this host");
  reader.value("--cert", options.cert, "FILE", "a certificate from `sluice cert issue`, in place of the key");
  reader.settings(options.settings);
}

struct NodeSession::Impl {
  Way way;
  std::optional<net::TlsContext> tls;
  std::unique_ptr<rpc::Channel> channel;
  std::string where;
};

bool NodeSession::can_be_found(const NodeOptions& options) {
  if (!options.node.empty() || options.settings.find("node") != nullptr) return true;
  auto contexts = read_contexts();
  if (contexts && !contexts->current.empty()) return true;
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
    auto impl = std::make_unique<Impl>();
    std::expected<std::unique_ptr<net::Connection>, net::NetError> connection = std::unexpected(net::NetError{});
    if (way.socket.empty()) {
      auto credentials = find_credentials(way, options.settings);
      if (!credentials) co_return Refusal(credentials.error());
      auto context = net::TlsContext::make(*credentials);
      if (!context) co_return Refusal(Failure{kRefusedAccess, context.error().message});
      impl->tls.emplace(std::move(*context));
      net::DialOptions dial{.deadline = deadline, .tls = &*impl->tls, .expected = std::nullopt, .keepalive = true};
      connection = co_await net::dial(way.at, std::move(dial));
    } else {
      connection = co_await net::dial_local(way.socket, deadline);
    }
    std::expected<std::unique_ptr<rpc::Channel>, net::NetError> channel = std::unexpected(net::NetError{});
    if (connection)
      channel = co_await rpc::Channel::open(std::move(*connection), deadline);
    else
      channel = std::unexpected(connection.error());
    if (channel) {
      impl->where = describe(way);
      impl->way = std::move(way);
      impl->channel = std::move(*channel);
      co_return std::unique_ptr<NodeSession>(new NodeSession(std::move(impl)));
    }
    Failure this_one = failure_to_reach(way, channel.error());
    failure.status = failure.message.empty() ? this_one.status : failure.status;
    failure.message += (failure.message.empty() ? "" : "; ") + this_one.message;
  }
  if (ways->size() > 1 || ways->front().origin == "the local node")
    failure.message += "; `sluice start` starts one here, --node names another";
  co_return Refusal(failure);
}

NodeSession::NodeSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeSession::~NodeSession() = default;

rpc::Channel& NodeSession::channel() { return *impl_->channel; }
const std::string& NodeSession::where() const { return impl_->where; }

Awaitable<std::expected<net::Connection::Parts, net::NetError>> NodeSession::dial_link(link::LinkClaim claim,
                                                                                       TimePoint deadline) {
  node::LinkAddress to{.at = impl_->way.at, .node = std::nullopt, .socket = impl_->way.socket};
  const net::TlsContext* tls = impl_->tls ? &*impl_->tls : nullptr;
  co_return co_await node::dial_link(std::move(to), claim, tls, deadline);
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
