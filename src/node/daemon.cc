#include "node/daemon.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/version.h"
#include "cluster/boot_number.h"
#include "link/data_loops.h"
#include "net/listener.h"
#include "node/condition.h"
#include "node/connection_router.h"
#include "node/http_doors.h"
#include "node/http_flows.h"
#include "node/identity.h"
#include "node/locations.h"
#include "node/metrics_page.h"
#include "node/node_addresses.h"
#include "node/node_core.h"
#include "node/node_membership.h"
#include "node/node_services.h"
#include "node/node_spawners.h"
#include "node/node_trust.h"
#include "node/node_watches.h"
#include "node/service_manager.h"
#include "node/startup_pages.h"
#include "node/task_group.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr std::size_t kSpawnersIdle = 2;
constexpr int kPortTries = 32;  // for a port that is free for TCP and UDP alike

using Refusal = std::unexpected<std::string>;

class Daemon final {
 public:
  Daemon(StartOptions options, exec::ZygoteClient zygote)
      : options_(std::move(options)),
        zygote_(std::move(zygote)),
        log_({.level = options_.log_level, .format = options_.log_format}),
        tasks_(loop_.get_executor(), log_),
        stopping_(loop_.get_executor()) {}

  NodeEnd run() {
    if (auto opened = open(); !opened) return {.status = 1, .message = opened.error()};
    tasks_.spawn(live(*this));
    loop_.run();
    return end_;
  }

 private:
  // --- coming up --------------------------------------------------------------------------------------------------

  std::expected<void, std::string> open() {
    for (auto step : {&Daemon::open_identity, &Daemon::open_ports, &Daemon::open_trust, &Daemon::open_programs,
                      &Daemon::open_membership, &Daemon::open_services, &Daemon::open_doors})
      if (auto done = (this->*step)(); !done) return done;
    return {};
  }

  std::expected<void, std::string> open_identity() {
    auto addresses = read_addresses(options_);
    if (!addresses) return Refusal(addresses.error());
    addresses_ = std::move(*addresses);
    // Stages are told their folders from others than ours.
    std::error_code ignored;
    std::string data = std::filesystem::absolute(options_.data, ignored).string();
    auto identity = Identity::open(options_.data.empty() ? default_data_directory() : data);
    if (!identity) return Refusal(identity.error());
    identity_.emplace(std::move(*identity));
    auto boot = cluster::next_boot(identity_->directory(), wall_time_now());
    if (!boot) return Refusal(boot.error().message);
    boot_ = *boot;
    return {};
  }

  // Gossip has the same port as everything else.
  std::expected<void, std::string> open_ports() {
    bool any_port = addresses_.listen.port == 0;
    for (int tries = any_port ? kPortTries : 1; tries > 0; --tries) {
      auto listener = net::Listener::open_tcp(
          loop_.get_executor(), addresses_.listen, [this] { return tls(); },
          [this](std::unique_ptr<net::Connection> connection) {
            if (options_.insecure_loopback) connection->believe(net::Role::node);
            router_->on_connection(std::move(connection));
          },
          log_);
      if (!listener) return Refusal(listener.error().message);
      endpoint_ = (*listener)->endpoint();
      if (!any_port || udp_port_is_free(endpoint_)) {
        listener_ = std::move(*listener);
        return name_node();
      }
    }
    return Refusal("no port is free for TCP and UDP alike; choose one with --listen ADDR:PORT");
  }

  std::expected<void, std::string> name_node() {
    std::string name = options_.name;
    if (name.empty() && !options_.cert.empty()) name = NodeTrust::name_in(options_.cert);
    if (name.empty()) name = identity_->name();
    if (name.empty()) name = default_node_name(endpoint_.port);
    if (auto good = check_node_name(name); !good) return good;
    if (auto kept = identity_->set_name(name); !kept) return kept;
    auto advertised = advertised_endpoint(options_, endpoint_);
    if (!advertised) return Refusal(advertised.error());
    profile_ = {.name = name, .endpoint = *advertised, .labels = {}, .version = kVersion};
    for (const auto& [key, value] : options_.labels) profile_.labels[key] = value;
    if (auto problem = cluster::profile_problem(profile_)) return Refusal(*problem);
    return {};
  }

  /// For listening and dialling alike. Null: plain text.
  const net::TlsContext* tls() const { return options_.insecure_loopback ? nullptr : trust_->tls(); }

  std::expected<void, std::string> open_trust() {
    NodeTrust::Options options{.key_file = options_.key, .cert_file = options_.cert, .name = profile_.name};
    auto trust = NodeTrust::open(*identity_, std::move(options), log_);
    if (!trust) return Refusal(trust.error());
    trust_ = std::move(*trust);
    trust_->revocations().subscribe([this](const net::CertificateSerial& serial) { on_revoked(serial); });
    return {};
  }

  std::expected<void, std::string> open_programs() {
    auto spawners = open_spawners(options_, *identity_, std::move(zygote_), log_);
    if (!spawners) return Refusal(spawners.error());
    spawners_ = std::move(*spawners);
    return {};
  }

  std::expected<void, std::string> open_membership() {
    NodeMembership::Options options{
        .profile = profile_,
        .bind = endpoint_,
        .boot = boot_,
        .data_directory = identity_->directory(),
        .joins = addresses_.joins,
        .group = addresses_.group,
        .interface = options_.interface,
        .tls = [this] { return tls(); },
        .handlers = {
            .on_change =
                [this](MemberChange change, const cluster::Member& member) {
                  services_->cluster().on_change(change, member, member.reason);
                },
            .on_lost = [this](const NodeId& node) { peers_->on_lost(node); },
            .on_gone = [this](const NodeId& node,
                              const std::string& reason) { services_->flows().on_node_lost(node, reason); },
            .on_shared_state_differs = [this](const NodeId& node) { tasks_.spawn(fetch_revocations(*this, node)); },
            .on_own_copy = [this](const net::Endpoint& other) { yield_to(other); }}};
    auto membership = NodeMembership::open(loop_.get_executor(), tasks_, *trust_, std::move(options), log_);
    if (!membership) return Refusal(membership.error());
    membership_ = std::move(*membership);
    return {};
  }

  NodeCore core() { return {loop_.get_executor(), log_, *membership_, *peers_, registry_}; }

  std::expected<void, std::string> open_services() {
    peers_.emplace(
        loop_.get_executor(),
        PeerChannels::Options{.address_of = [this](const NodeId& node) { return membership_->address_of(node); },
                              .tls = [this] { return tls(); }});
    NodeServices::Options options{.data_directory = identity_->directory(),
                                  .tls = [this] { return tls(); },
                                  .on_leave = [this](std::optional<Duration> grace) { return leave(*this, grace); }};
    auto services = NodeServices::open(core(), spawners_, *trust_, loops_, std::move(options));
    if (!services) return Refusal(services.error());
    services_ = std::move(*services);
    return {};
  }

  std::expected<void, std::string> open_doors() {
    std::string socket = socket_path(identity_->directory());
    http_flows_.emplace(core(), services_->flows(), loops_, socket);
    ConnectionRouter::Handlers handlers{
        .table = &services_->table(), .links = &registry_, .http = [this](std::shared_ptr<net::Connection> connection) {
          return http_doors_->serve(std::move(connection), services_->table(), *http_flows_);
        }};
    router_.emplace(loop_.get_executor(), std::move(handlers), log_);
    if (auto http = open_http(); !http) return http;
    auto local = net::Listener::open_local(
        loop_.get_executor(), socket,
        [this](std::unique_ptr<net::Connection> connection) { router_->on_connection(std::move(connection)); }, log_);
    if (!local) return Refusal(local.error().message);
    local_listener_ = std::move(*local);
    return {};
  }

  std::expected<void, std::string> open_http() {
    HttpDoors::Options options{.listen = options_.http,
                               .tokens_file = options_.http_tokens,
                               .data_directory = identity_->directory(),
                               .names = {endpoint_.address, profile_.endpoint.address, profile_.name},
                               .node_port = endpoint_.port,
                               .is_ready = [this] { return !stopping_now_; },
                               .metrics = [this] { return metrics(*this); }};
    auto doors = HttpDoors::open(loop_.get_executor(), std::move(options), *router_, log_);
    if (!doors) return Refusal(doors.error());
    http_doors_ = std::move(*doors);
    return {};
  }

  static Awaitable<std::string> metrics(Daemon& daemon) {
    v1::ReadCountersResponse counters = co_await daemon.services_->flows().own_counters();
    NodeFacts facts{.id = daemon.trust_->node_id().text(),
                    .name = daemon.profile_.name,
                    .version = kVersion,
                    .start_unix_s = std::chrono::duration<double>(daemon.started_wall_.time_since_epoch()).count(),
                    .uptime_s = std::chrono::duration<double>(Clock::now() - daemon.started_at_).count(),
                    .members = {{"alive", 0}, {"suspect", 0}, {"left", 0}, {"dead", 0}}};
    for (const cluster::Member& member : daemon.membership_->members())
      ++facts.members[std::string(cluster::state_name(member.state))];
    co_return metrics_page(facts, counters);
  }

  // --- events -----------------------------------------------------------------------------------------------------

  void yield_to(const net::Endpoint& other) {
    stop({.status = 7,
          .message =
              fmt::format("another node at {} was started later under the same id; it goes on, and this one ends. "
                          "One id is for one node: issue a certificate for each, and copy no data directory ({})",
                          net::to_text(other), identity_->directory())});
  }

  static Awaitable<void> fetch_revocations(Daemon& daemon, NodeId node) {
    co_await daemon.services_->trust().fetch_revocations(node);
    daemon.membership_->on_revocations();
  }

  void on_revoked(const net::CertificateSerial& serial) {
    log_.info("certificate revoked", {{"serial", serial.text()}});
    if (router_) router_->close_revoked(serial);
    if (peers_) peers_->close_revoked(serial);
    if (membership_) membership_->on_revocations();
  }

  // --- living -----------------------------------------------------------------------------------------------------

  static Awaitable<void> live(Daemon& daemon) {
    daemon.watch();
    daemon.membership_->look_for_others();
    daemon.announce();
    give_back_startup_pages();
    while (!daemon.stopping_now_) co_await daemon.stopping_.wait();
    co_await daemon.shut_down();
    daemon.loop_.stop();
  }

  void watch() {
    NodeEnd without_zygote{.status = 1, .message = "the process that starts programs was killed; this node ends"};
    NodeWatches::Handlers handlers{.on_signal = [this] { stop(); },
                                   .on_zygote_lost = [this, without_zygote] { stop(without_zygote); },
                                   .tidy_up = [this] { return tidy_up(*this); }};
    watches_.emplace(loop_.get_executor(), tasks_, *spawners_.pool, std::move(handlers), log_);
  }

  void announce() {
    std::string url = net::to_url({profile_.endpoint.address, profile_.endpoint.port}, profile_.name) + "\n";
    (void)!::write(STDOUT_FILENO, url.data(), url.size());
    notify_service_manager("READY=1");
    LogField proof = trust_->holds_key() ? LogField("key", trust_->fingerprint())
                                         : LogField("certificate", trust_->credentials().fields.serial.text());
    log_.info("node ready", {{"node", profile_.name},
                             {"id", trust_->node_id().text()},
                             {"url", url.substr(0, url.size() - 1)},
                             {"data", identity_->directory()},
                             proof});
    if (!spawners_.changes_user) warn_of_programs();
    if (options_.insecure_loopback) log_.warn("connections are not encrypted, and nobody is asked who he is");
  }

  // docs/security.md, "Programs".
  void warn_of_programs() {
    if (trust_->holds_key())
      log_.warn(
          "whoever may run a command here can read what this node can, the cluster key included: the role `run` "
          "equals `admin`; --run-as USER separates them");
    else if (::geteuid() == 0)
      log_.warn(
          "whoever may run a command here can read what this node can, its certificate included, and is root on this "
          "host: the role `run` equals `node`; --run-as USER separates them");
  }

  static Awaitable<void> tidy_up(Daemon& daemon) {
    daemon.peers_->close_unused();
    daemon.spawners_.pool->shrink_idle(kSpawnersIdle);
    daemon.trust_->revocations().on_time(wall_time_now());
    if (wall_time_now() >= daemon.trust_->renewal_due()) co_await renew(daemon);
  }

  static Awaitable<void> renew(Daemon& daemon) {
    auto renewed = co_await daemon.services_->trust().renew_own();
    if (!renewed) {
      daemon.log_.error("certificate not renewed, will go on trying", {{"reason", renewed.error()}});
      co_return;
    }
    daemon.membership_->on_renewal();
    daemon.log_.info("certificate renewed");
  }

  // --- going ------------------------------------------------------------------------------------------------------

  // A node that leaves takes its flows along; one that is restarted finds those in the background again.
  static Awaitable<void> leave(Daemon& daemon, std::optional<Duration> grace) {
    daemon.leaving_ = true;
    daemon.log_.info("about to leave", {{"awaits", grace ? "the grace" : "what runs"}});
    co_await daemon.services_->drain(grace);
    daemon.stop();
  }

  void stop(NodeEnd end) {
    end_ = std::move(end);
    stop();
  }

  void stop() {
    stopping_now_ = true;
    stopping_.notify();
  }

  Awaitable<void> shut_down() {
    notify_service_manager("STOPPING=1");
    co_await membership_->leave(leaving_ ? MemberMemory::AtEnd::forget : MemberMemory::AtEnd::keep);
    co_await services_->end_work(!leaving_);
    listener_->close();
    local_listener_->close();
    http_doors_->close();
    peers_->close();
    co_await router_->close();
    co_await membership_->close();
    loops_.close();
    services_->close();
    watches_->close();
    log_.info("node ended");
  }

  StartOptions options_;
  exec::ZygoteClient zygote_;
  TimePoint started_at_ = Clock::now();
  std::chrono::system_clock::time_point started_wall_ = std::chrono::system_clock::now();
  Logger log_;
  asio::io_context loop_{1};
  TaskGroup tasks_;
  Condition stopping_;
  NodeAddresses addresses_;
  net::Endpoint endpoint_;  // where it really listens
  std::optional<Identity> identity_;
  cluster::BootNumber boot_;
  cluster::Profile profile_;
  std::unique_ptr<NodeTrust> trust_;
  NodeSpawners spawners_;
  link::DataLoops loops_;
  LinkRegistry registry_;
  std::unique_ptr<NodeMembership> membership_;
  std::optional<PeerChannels> peers_;
  std::unique_ptr<NodeServices> services_;
  std::optional<HttpFlows> http_flows_;
  std::optional<ConnectionRouter> router_;
  std::unique_ptr<HttpDoors> http_doors_;
  std::unique_ptr<net::Listener> listener_, local_listener_;
  std::optional<NodeWatches> watches_;
  bool stopping_now_ = false;
  bool leaving_ = false;
  NodeEnd end_;
};

}  // namespace

NodeEnd run_node(StartOptions options, exec::ZygoteClient zygote) {
  ::signal(SIGPIPE, SIG_IGN);
  // Never destroyed: the process ends by _exit right after.
  static std::optional<Daemon> daemon;
  daemon.emplace(std::move(options), std::move(zygote));
  return daemon->run();
}

}  // namespace sluice::node
