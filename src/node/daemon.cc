#include "node/daemon.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "api/http_door.h"
#include "api/token_file.h"
#include "base/version.h"
#include "cluster/boot_number.h"
#include "cluster/discovery_message.h"
#include "cluster/discovery_service.h"
#include "cluster/membership_service.h"
#include "cluster/private_file.h"
#include "exec/spawner_pool.h"
#include "exec/user_account.h"
#include "link/data_loops.h"
#include "net/listener.h"
#include "node/audit_log.h"
#include "node/background_flows.h"
#include "node/cluster_service.h"
#include "node/connection_router.h"
#include "node/file_service.h"
#include "node/flow_service.h"
#include "node/http_flows.h"
#include "node/identity.h"
#include "node/locations.h"
#include "node/node_core.h"
#include "node/node_parts.h"
#include "node/node_trust.h"
#include "node/program_service.h"
#include "node/remembered_members.h"
#include "node/service_manager.h"
#include "node/task_group.h"
#include "node/trust_service.h"
#include "node/worker_service.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::minutes kHousekeeping{1};
constexpr std::chrono::seconds kRememberInterval{1};
// A burst of small programs must not fork a spawner for each; what it leaves behind is memory, and goes soon.
constexpr std::size_t kSpawnersAfterBurst = 64;
constexpr std::size_t kSpawnersIdle = 2;
constexpr int kPortTries = 32;  // for a port that is free for TCP and UDP alike

using Refusal = std::unexpected<std::string>;

class Daemon final : MemberView {
 public:
  Daemon(StartOptions options, exec::ZygoteClient zygote)
      : options_(std::move(options)),
        zygote_(std::move(zygote)),
        log_({.level = options_.log_level, .format = options_.log_format}),
        tasks_(loop_.get_executor(), log_),
        stopping_(loop_.get_executor()),
        members_changed_(loop_.get_executor()) {}

  NodeEnd run() {
    if (auto opened = open(); !opened) return {.status = 1, .message = opened.error()};
    tasks_.spawn(live(*this));
    loop_.run();
    return end_;
  }

 private:
  // --- coming up --------------------------------------------------------------------------------------------------

  std::expected<void, std::string> open() {
    for (auto step : {&Daemon::read_addresses, &Daemon::open_identity, &Daemon::open_ports, &Daemon::open_trust,
                      &Daemon::open_spawners, &Daemon::open_membership, &Daemon::open_discovery, &Daemon::open_services,
                      &Daemon::open_doors})
      if (auto done = (this->*step)(); !done) return done;
    return {};
  }

  std::expected<void, std::string> read_addresses() {
    auto at = net::parse_host_port(options_.listen.empty() ? "127.0.0.1" : options_.listen);
    if (!at) return Refusal(fmt::format("--listen: {}", at.error()));
    if (!options_.interface.empty()) {
      auto address = address_of_interface(options_.interface);
      if (!address) return Refusal(address.error());
      if (options_.listen.empty() || at->host.empty()) at->host = *address;
    }
    listen_ = {.address = at->host.empty() ? "0.0.0.0" : at->host, .port = at->port};
    bool open_to_others = !net::is_loopback(listen_.address);
    if (open_to_others && options_.key.empty() && options_.cert.empty())
      return Refusal(
          fmt::format("listening on {} lets other hosts in, which needs a key: `sluice init` makes one, or name "
                      "it with --key or --cert",
                      listen_.address));
    if (open_to_others && options_.insecure_loopback)
      return Refusal("--insecure-loopback is for benchmarks on loopback only; leave it out, or listen on 127.0.0.1");
    if (auto group = read_group(); !group) return group;
    return read_joins();
  }

  std::expected<void, std::string> read_group() {
    if (options_.discover.empty()) return {};
    auto group = cluster::parse_discovery_group(options_.discover);
    if (!group) return Refusal(fmt::format("--discover: {}", group.error()));
    if (options_.key.empty() && options_.cert.empty())
      return Refusal(
          fmt::format("--discover {} finds nodes that have the same cluster key, and this one has none: `sluice init` "
                      "makes one, or name it with --key or --cert",
                      options_.discover));
    group_ = *group;
    return {};
  }

  std::expected<void, std::string> read_joins() {
    for (const std::string& join : options_.joins) {
      auto url = net::parse_node_url(join);
      if (!url) return Refusal(fmt::format("--join: {}", url.error()));
      joins_.push_back(url->at);
    }
    return {};
  }

  static std::expected<std::string, std::string> address_of_interface(const std::string& name) {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return Refusal(fmt::format("cannot list the interfaces: {}", std::strerror(errno)));
    std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    bool found = false;
    for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
      if (name != each->ifa_name) continue;
      found = true;
      if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET) continue;
      char host[NI_MAXHOST];
      if (::getnameinfo(each->ifa_addr, sizeof(sockaddr_in), host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0)
        return std::string(host);
    }
    return Refusal(found ? fmt::format("the interface {} has no IPv4 address; give the address with --listen", name)
                         : fmt::format("there is no interface {}; `ip link` lists them", name));
  }

  std::expected<void, std::string> open_identity() {
    auto identity = Identity::open(options_.data.empty() ? default_data_directory() : options_.data);
    if (!identity) return Refusal(identity.error());
    identity_.emplace(std::move(*identity));
    auto boot = cluster::next_boot(identity_->directory(), wall_time_now());
    if (!boot) return Refusal(boot.error().message);
    boot_ = *boot;
    remembered_.emplace(identity_->directory());
    return {};
  }

  // Gossip has the same port as everything else.
  std::expected<void, std::string> open_ports() {
    bool any_port = listen_.port == 0;
    for (int tries = any_port ? kPortTries : 1; tries > 0; --tries) {
      auto listener = net::Listener::open_tcp(
          loop_.get_executor(), listen_, [this] { return listening_tls(); },
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

  static bool udp_port_is_free(const net::Endpoint& endpoint) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_DGRAM;
    if (::getaddrinfo(endpoint.address.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found) != 0)
      return false;
    std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    UniqueFd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return socket && ::bind(socket.get(), found->ai_addr, found->ai_addrlen) == 0;
  }

  const net::TlsContext* listening_tls() { return options_.insecure_loopback ? nullptr : trust_->tls(); }
  const net::TlsContext* dialling_tls() { return listening_tls(); }

  std::expected<void, std::string> name_node() {
    name_ = !options_.name.empty() ? options_.name : identity_->name();
    if (name_.empty()) name_ = default_node_name(endpoint_.port);
    if (auto good = check_node_name(name_); !good) return good;
    if (auto kept = identity_->set_name(name_); !kept) return kept;
    auto advertised = advertised_address();
    if (!advertised) return Refusal(advertised.error());
    profile_ = {.name = name_, .endpoint = *advertised, .labels = {}, .version = kVersion};
    for (const auto& [key, value] : options_.labels) profile_.labels[key] = value;
    if (auto problem = cluster::profile_problem(profile_)) return Refusal(*problem);
    return {};
  }

  std::expected<net::Endpoint, std::string> advertised_address() const {
    net::Endpoint endpoint = endpoint_;
    if (!options_.advertise.empty()) {
      auto at = net::parse_host_port(options_.advertise);
      if (!at) return Refusal(fmt::format("--advertise: {}", at.error()));
      bool names_port = options_.advertise.find(std::to_string(at->port)) != std::string::npos;
      return net::Endpoint{.address = at->host, .port = names_port ? at->port : endpoint_.port};
    }
    if (endpoint.address != "0.0.0.0" && endpoint.address != "::") return endpoint;
    auto address = first_address();
    if (!address) return Refusal("no interface has an address that other hosts could reach; name one with --advertise");
    endpoint.address = *address;
    return endpoint;
  }

  static std::optional<std::string> first_address() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return std::nullopt;
    std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
      bool usable = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET &&
                    (each->ifa_flags & IFF_LOOPBACK) == 0 && (each->ifa_flags & IFF_UP) != 0;
      char host[NI_MAXHOST];
      if (usable &&
          ::getnameinfo(each->ifa_addr, sizeof(sockaddr_in), host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0)
        return host;
    }
    return std::nullopt;
  }

  std::expected<void, std::string> open_trust() {
    NodeTrust::Options options{.key_file = options_.key, .cert_file = options_.cert, .name = name_};
    auto trust = NodeTrust::open(*identity_, std::move(options), log_);
    if (!trust) return Refusal(trust.error());
    trust_ = std::move(*trust);
    trust_->revocations().subscribe([this](const net::CertificateSerial& serial) { on_revoked(serial); });
    return {};
  }

  std::expected<void, std::string> open_spawners() {
    auto user = options_.run_as.empty() ? exec::own_user() : exec::find_user(options_.run_as);
    if (!user) return Refusal(user.error());
    user_ = std::move(*user);
    changes_user_ = !options_.run_as.empty() && user_.uid != ::geteuid();
    if (changes_user_ && ::geteuid() != 0)
      return Refusal(fmt::format("--run-as {}: only root may run programs as another user", options_.run_as));
    exec::SpawnerPool::Options options;
    auto places = exec::find_cgroups();
    auto home = exec::make_cgroup_home(places, "sluice-" + identity_->id().text());
    if (home) {
      if (auto ended = exec::end_leftovers(home->directory, kept_cgroups(identity_->directory())); !ended)
        log_.warn("leftovers of an earlier start", {{"reason", ended.error()}});
      home = exec::make_cgroup_home(places, "sluice-" + identity_->id().text());
    }
    if (home) options.cgroup_home = *home;
    options.idle_max = kSpawnersAfterBurst;
    pool_.emplace(std::move(zygote_), std::move(options));
    return {};
  }

  std::expected<void, std::string> open_membership() {
    cluster::MembershipService::Options options{.self = trust_->node_id(),
                                                .profile = profile_,
                                                .bind = endpoint_,
                                                .boot = boot_,
                                                .secrets = trust_->gossip_secrets(),
                                                .tls = [this] { return dialling_tls(); },
                                                .on_event =
                                                    [this](const cluster::MembershipEvent& event) {
                                                      std::visit([this](const auto& what) { on_member(what); },
                                                                 event.what);
                                                    }};
    auto service = cluster::MembershipService::open(loop_.get_executor(), std::move(options), log_);
    if (!service) return Refusal(service.error());
    membership_ = std::move(*service);
    return {};
  }

  std::expected<void, std::string> open_discovery() {
    if (!group_) return {};
    auto interfaces = cluster::interfaces_for({.interface = options_.interface, .listen = endpoint_.address});
    if (!interfaces) return Refusal(fmt::format("--discover: {}", interfaces.error()));
    cluster::DiscoveryService::Options options{.self = trust_->node_id(),
                                               .profile = profile_,
                                               .boot = boot_,
                                               .gossip_secrets = trust_->gossip_secrets(),
                                               .group = *group_,
                                               .interfaces = std::move(*interfaces)};
    auto service = cluster::DiscoveryService::open(loop_.get_executor(), std::move(options), *membership_, log_);
    if (!service) return Refusal(fmt::format("--discover: {}", service.error()));
    discovery_ = std::move(*service);
    if (net::is_loopback(endpoint_.address))
      log_.info("discovery finds nodes of this host only, since this one listens on loopback; see --listen");
    return {};
  }

  std::expected<void, std::string> open_services() {
    peers_.emplace(loop_.get_executor(),
                   PeerChannels::Options{.address_of = [this](const NodeId& node) { return address_of(node); },
                                         .tls = [this] { return dialling_tls(); }});
    NodeCore core{loop_.get_executor(), log_, *this, *peers_, registry_};
    auto store = FileStore::open(identity_->directory());
    if (!store) return Refusal(store.error());
    files_.emplace(core, std::move(*store));
    NodeParts::Options options{.data_directory = identity_->directory(),
                               .user = user_,
                               .changes_user = changes_user_,
                               .tls = [this] { return dialling_tls(); },
                               .files = &*files_};
    auto parts = NodeParts::open(core, *pool_, loops_, std::move(options));
    if (!parts) return Refusal(parts.error());
    parts_ = std::move(*parts);
    workers_.emplace(core, *parts_);
    flows_.emplace(core, *workers_, loops_, identity_->directory());
    cluster_service_.emplace(core, [this](std::optional<Duration> grace) { return leave(*this, grace); });
    trust_service_.emplace(core, *trust_);
    files_->register_methods(table_);
    programs_.emplace(core, *parts_);
    programs_->register_methods(table_);
    workers_->register_methods(table_);
    flows_->register_methods(table_);
    cluster_service_->register_methods(table_);
    trust_service_->register_methods(table_);
    auto audit = AuditLog::open(identity_->directory());
    if (!audit) return Refusal(audit.error());
    audit_.emplace(std::move(*audit));
    table_.set_audit([this](const rpc::CallInfo& call, bool allowed) { record(call, allowed); });
    return {};
  }

  // --- doors ------------------------------------------------------------------------------------------------------

  std::expected<void, std::string> open_http() {
    std::string path = options_.http_tokens.empty() ? identity_->directory() + "/http.tokens" : options_.http_tokens;
    bool there = ::access(path.c_str(), F_OK) == 0;
    if (!there && !options_.http_tokens.empty())
      return Refusal(fmt::format("--http-tokens: there is no file {}", path));
    if (!there && !options_.http.empty()) {
      std::string line = fmt::format("run {}\n", NodeId::random().text());
      if (auto written = cluster::create_private_file(path, line); !written) return Refusal(written.error().message);
      log_.info("token made for http", {{"role", "run"}, {"file", path}});
      there = true;
    }
    if (there) {
      auto tokens = api::TokenFile::read(path);
      if (!tokens) return Refusal(tokens.error());
      tokens_.emplace(std::move(*tokens));
    }
    http_local_ = http_options(endpoint_.port);
    http_local_.is_unix_socket = true;
    http_tls_ = http_options(endpoint_.port);
    return options_.http.empty() ? std::expected<void, std::string>() : listen_for_http();
  }

  std::expected<void, std::string> listen_for_http() {
    auto at = net::parse_host_port(options_.http);
    if (!at) return Refusal(fmt::format("--http: {}", at.error()));
    std::string address = at->host.empty() || at->host == "localhost" ? "127.0.0.1" : at->host;
    if (!net::is_loopback(address))
      return Refusal(fmt::format(
          "--http {}: plain text is served on loopback only; others use https on the node's port", options_.http));
    auto listener = net::Listener::open_tcp(
        loop_.get_executor(), {.address = address, .port = at->port}, [] { return nullptr; },
        [this](std::unique_ptr<net::Connection> connection) { router_->on_http_connection(std::move(connection)); },
        log_);
    if (!listener) return Refusal(fmt::format("--http: {}", listener.error().message));
    http_listener_ = std::move(*listener);
    http_plain_ = http_options(http_listener_->endpoint().port);
    log_.info("http ready", {{"at", net::to_text(http_listener_->endpoint())}});
    return {};
  }

  api::HttpOptions http_options(std::uint16_t port) {
    api::HttpOptions options;
    options.hosts = {.names = {"localhost", "127.0.0.1", "::1", endpoint_.address, profile_.endpoint.address, name_},
                     .port = port};
    options.role_of_token = [this](std::string_view token) {
      return tokens_ ? tokens_->role_of(token) : std::optional<net::Role>();
    };
    options.is_ready = [this] { return !stopping_now_; };
    options.on_admitted = [this](const net::Connection& connection) { router_->on_admitted(connection); };
    return options;
  }

  net::Awaitable<void> serve_http(std::shared_ptr<net::Connection> connection) {
    bool local = connection->peer().proof == net::Peer::Proof::local_user;
    const api::HttpOptions& options = local ? http_local_ : connection->encrypted() ? http_tls_ : http_plain_;
    return api::serve_http(std::move(connection), options, table_, *http_flows_, log_);
  }

  std::expected<void, std::string> open_doors() {
    NodeCore core{loop_.get_executor(), log_, *this, *peers_, registry_};
    http_flows_.emplace(core, *flows_, loops_, socket_path(identity_->directory()));
    ConnectionRouter::Handlers handlers{
        .table = &table_, .links = &registry_, .http = [this](std::shared_ptr<net::Connection> connection) {
          return serve_http(std::move(connection));
        }};
    if (auto http = open_http(); !http) return http;
    router_.emplace(loop_.get_executor(), std::move(handlers), log_);
    auto local = net::Listener::open_local(
        loop_.get_executor(), socket_path(identity_->directory()),
        [this](std::unique_ptr<net::Connection> connection) { router_->on_connection(std::move(connection)); }, log_);
    if (!local) return Refusal(local.error().message);
    local_listener_ = std::move(*local);
    return {};
  }

  // --- MemberView -------------------------------------------------------------------------------------------------

  NodeId self() const override { return trust_->node_id(); }
  std::vector<cluster::Member> members() const override { return membership_->members(); }

  std::optional<net::HostPort> address_of(const NodeId& node) const {
    auto member = membership_->find(node);
    if (!member) return std::nullopt;
    return net::HostPort{.host = member->profile.endpoint.address, .port = member->profile.endpoint.port};
  }

  // --- events -----------------------------------------------------------------------------------------------------

  void tell(MemberChange change, const cluster::Member& member) {
    if (cluster_service_) cluster_service_->on_change(change, member, member.reason);
    members_dirty_ = true;
    members_changed_.notify();
  }

  void on_member(const cluster::MemberJoined& event) {
    if (event.member.id == self()) return;
    log_.info("node joined", {{"node", event.member.profile.name},
                              {"id", event.member.id.text()},
                              {"at", net::to_text(event.member.profile.endpoint)}});
    tell(MemberChange::joined, event.member);
  }
  void on_member(const cluster::MemberChanged& event) { tell(MemberChange::changed, event.member); }
  void on_member(const cluster::MemberSuspected& event) {
    log_.debug("node suspected", {{"node", event.member.profile.name}});
    tell(MemberChange::suspected, event.member);
  }
  void on_member(const cluster::MemberLost& event) {
    log_.warn("node lost",
              {{"node", event.member.profile.name}, {"reason", cluster::reason_name(event.member.reason)}});
    tell(MemberChange::lost, event.member);
    if (peers_) peers_->on_lost(event.member.id);
    on_gone(event.member, event.member.reason == cluster::LossReason::refused
                              ? "its process ended; its host refuses connections"
                              : "it does not answer any more");
  }
  void on_member(const cluster::MemberLeft& event) {
    log_.info("node left", {{"node", event.member.profile.name}});
    tell(MemberChange::left, event.member);
    on_gone(event.member, "it has left the cluster");  // its connections end with it: an answer may be under way
  }
  void on_gone(const cluster::Member& member, const std::string& reason) {
    if (flows_) flows_->on_node_lost(member.id, reason);
  }
  void on_member(const cluster::IdConflict& event) {
    log_.error("another process uses this node's id; was its data directory copied?",
               {{"at", net::to_text(event.other)}});
    if (!event.we_yield) return;
    end_ = {
        .status = 7,
        .message = fmt::format("another node at {} has the same id: this one's data directory {} is a copy; remove it "
                               "and start again",
                               net::to_text(event.other), identity_->directory())};
    stop();
  }
  void on_member(const cluster::NameConflict& event) {
    log_.warn("two nodes have one name; @NODE can't tell them apart", {{"name", event.member.profile.name}});
  }
  void on_member(const cluster::SharedStateDiffers& event) { tasks_.spawn(fetch_revocations(*this, event.member.id)); }
  void on_member(const cluster::AdvertisedInVain& event) {
    log_.warn("a node to join can't reach this one at its address; see --advertise",
              {{"address", net::to_text(profile_.endpoint)}, {"says", net::to_text(event.seed)}});
  }
  void on_member(const cluster::Paused& event) {
    log_.info("was not running",
              {{"ms", std::chrono::duration_cast<std::chrono::milliseconds>(event.duration).count()}});
  }

  static Awaitable<void> fetch_revocations(Daemon& daemon, NodeId node) {
    if (!daemon.trust_service_) co_return;
    co_await daemon.trust_service_->fetch_revocations(node);
    daemon.membership_->set_shared_digest(daemon.trust_->revocations().digest());
  }

  void on_revoked(const net::CertificateSerial& serial) {
    log_.info("certificate revoked", {{"serial", serial.text()}});
    if (router_) router_->close_revoked(serial);
    if (peers_) peers_->close_revoked(serial);
    if (membership_) membership_->set_shared_digest(trust_->revocations().digest());
  }

  void record(const rpc::CallInfo& call, bool allowed) {
    if (!allowed) log_.warn("call refused", {{"method", call.method}, {"who", call.caller.connection.name}});
    auto written = audit_->write(call, allowed);
    int error = written ? 0 : written.error();
    // A full disk must not fill the log too: told on change.
    if (error != 0 && error != audit_error_) log_.error("audit log not written", {{"reason", std::strerror(error)}});
    if (error == 0 && audit_error_ != 0) log_.info("audit log written again");
    audit_error_ = error;
  }

  // --- living -----------------------------------------------------------------------------------------------------

  static Awaitable<void> live(Daemon& daemon) {
    daemon.tasks_.spawn(watch_pool(daemon));
    daemon.tasks_.spawn(watch_signals(daemon));
    daemon.tasks_.spawn(keep_house(daemon));
    daemon.tasks_.spawn(remember_members(daemon));
    daemon.membership_->set_shared_digest(daemon.trust_->revocations().digest());
    for (const net::HostPort& join : daemon.joins_) daemon.membership_->add_seed(join);
    for (const net::HostPort& known : daemon.remembered_->read()) daemon.membership_->add_seed(known);
    daemon.announce();
    while (!daemon.stopping_now_) co_await daemon.stopping_.wait();
    co_await daemon.shut_down();
    daemon.loop_.stop();
  }

  void announce() {
    std::string url = net::to_url({profile_.endpoint.address, profile_.endpoint.port}, name_) + "\n";
    (void)!::write(STDOUT_FILENO, url.data(), url.size());
    notify_service_manager("READY=1");
    log_.info("node ready", {{"node", name_},
                             {"id", self().text()},
                             {"url", url.substr(0, url.size() - 1)},
                             {"data", identity_->directory()},
                             {"key", trust_->fingerprint()}});
    bool holds_more = trust_->holds_key() || ::geteuid() == 0;
    if (holds_more && !changes_user_)
      log_.warn(
          "whoever may run a command here can read what this node can, the cluster key included: the role `run` "
          "equals `admin`; --run-as USER separates them");
    if (options_.insecure_loopback) log_.warn("connections are not encrypted, and nobody is asked who he is");
  }

  static Awaitable<void> watch_pool(Daemon& daemon) {
    asio::posix::stream_descriptor descriptor(daemon.loop_, daemon.pool_->descriptor());
    daemon.pool_watch_ = &descriptor;
    while (!daemon.shut_down_) {
      auto [error] = co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
      if (error) break;
      daemon.pool_->on_readable();
      while (auto event = daemon.pool_->poll_event()) daemon.on_pool(*event);
    }
    daemon.pool_watch_ = nullptr;
    descriptor.release();
  }

  void on_pool(const exec::PoolEvent& event) {
    switch (event.kind) {
      case exec::PoolEvent::Kind::fork_failed:
        return log_.error("no spawner could be forked", {{"reason", std::strerror(event.error)}});
      case exec::PoolEvent::Kind::spawner_lost:
        return log_.warn("a spawner was killed", {{"pid", event.pid}, {"in_use", event.was_leased ? "yes" : "no"}});
      case exec::PoolEvent::Kind::zygote_lost:
        end_ = {.status = 1, .message = "the process that starts programs was killed; this node ends"};
        log_.error("zygote lost");
        return stop();
    }
  }

  static Awaitable<void> watch_signals(Daemon& daemon) {
    asio::signal_set signals(daemon.loop_, SIGINT, SIGTERM, SIGHUP);
    daemon.signals_ = &signals;
    int received = 0;
    while (!daemon.shut_down_) {
      auto [error, number] = co_await signals.async_wait(kTuple);
      if (error) break;
      daemon.log_.info("told to leave by a signal", {{"signal", number}});
      if (++received > 1) ::_exit(128 + number);  // patience is over: the spawners end what they run by themselves
      daemon.stop();
    }
    daemon.signals_ = nullptr;
  }

  static Awaitable<void> keep_house(Daemon& daemon) {
    asio::steady_timer timer(daemon.loop_);
    daemon.house_timer_ = &timer;
    while (!daemon.shut_down_) {
      timer.expires_after(kHousekeeping);
      auto [error] = co_await timer.async_wait(kTuple);
      if (error) break;
      daemon.peers_->close_unused();
      daemon.pool_->shrink_idle(kSpawnersIdle);
      daemon.trust_->revocations().on_time(wall_time_now());
      if (wall_time_now() >= daemon.trust_->renewal_due()) co_await renew(daemon);
    }
    daemon.house_timer_ = nullptr;
  }

  // At once, for a node may be killed soon, and then seldom: a thousand others may come together.
  static Awaitable<void> remember_members(Daemon& daemon) {
    while (!daemon.shut_down_) {
      if (daemon.stopping_now_ || !daemon.members_dirty_) {  // when we stop, it is we who go
        co_await daemon.members_changed_.wait();
        continue;
      }
      daemon.members_dirty_ = false;
      if (!daemon.remembered_->write(daemon.members(), daemon.self()))
        daemon.log_.warn("members not remembered", {{"reason", std::strerror(errno)}});
      TimePoint due = Clock::now() + kRememberInterval;
      while (!daemon.stopping_now_ && Clock::now() < due) co_await daemon.stopping_.wait(due);
    }
  }

  static Awaitable<void> renew(Daemon& daemon) {
    auto renewed = co_await daemon.trust_service_->renew_own();
    if (!renewed) {
      daemon.log_.error("certificate not renewed, will go on trying", {{"reason", renewed.error()}});
      co_return;
    }
    daemon.membership_->replace_secrets(daemon.trust_->gossip_secrets());
    if (daemon.discovery_) daemon.discovery_->replace_secrets(daemon.trust_->gossip_secrets());
    daemon.log_.info("certificate renewed");
  }

  // --- going ------------------------------------------------------------------------------------------------------

  // A node that leaves takes its flows along; one that is restarted finds those in the background again.
  static Awaitable<void> leave(Daemon& daemon, std::optional<Duration> grace) {
    daemon.leaving_ = true;
    daemon.log_.info("about to leave", {{"awaits", grace ? "the grace" : "what runs"}});
    co_await daemon.flows_->drain(grace);
    co_await daemon.workers_->drain(grace);
    daemon.stop();
  }

  void stop() {
    stopping_now_ = true;
    stopping_.notify();
  }

  Awaitable<void> shut_down() {
    notify_service_manager("STOPPING=1");
    if (leaving_)
      remembered_->forget();
    else
      (void)remembered_->write(members(), self());
    if (discovery_) co_await discovery_->close();
    co_await membership_->leave();
    programs_->close();
    co_await flows_->close(!leaving_);
    co_await workers_->close();
    shut_down_ = true;
    cluster_service_->close();
    listener_->close();
    local_listener_->close();
    if (http_listener_) http_listener_->close();
    peers_->close();
    co_await router_->close();
    co_await membership_->close();
    loops_.close();
    parts_->close();
    members_changed_.notify();
    if (pool_watch_ != nullptr) pool_watch_->cancel();
    if (signals_ != nullptr) signals_->cancel();
    if (house_timer_ != nullptr) house_timer_->cancel();
    log_.info("node ended");
  }

  StartOptions options_;
  exec::ZygoteClient zygote_;
  Logger log_;
  asio::io_context loop_{1};
  TaskGroup tasks_;
  Condition stopping_;
  Condition members_changed_;
  bool members_dirty_ = false;
  net::Endpoint listen_, endpoint_;
  std::vector<net::HostPort> joins_;
  std::optional<net::Endpoint> group_;
  std::optional<Identity> identity_;
  std::optional<RememberedMembers> remembered_;
  cluster::BootNumber boot_;
  std::string name_;
  cluster::Profile profile_;
  exec::UserAccount user_;
  bool changes_user_ = false;
  std::unique_ptr<NodeTrust> trust_;
  std::optional<exec::SpawnerPool> pool_;
  link::DataLoops loops_;
  LinkRegistry registry_;
  std::unique_ptr<cluster::MembershipService> membership_;
  std::unique_ptr<cluster::DiscoveryService> discovery_;
  std::optional<PeerChannels> peers_;
  std::optional<FileService> files_;
  std::unique_ptr<NodeParts> parts_;
  std::optional<ProgramService> programs_;
  std::optional<WorkerService> workers_;
  std::optional<FlowService> flows_;
  std::optional<ClusterService> cluster_service_;
  std::optional<TrustService> trust_service_;
  rpc::DispatchTable table_;
  std::optional<AuditLog> audit_;
  int audit_error_ = 0;  // of the last line
  std::optional<HttpFlows> http_flows_;
  std::optional<api::TokenFile> tokens_;
  api::HttpOptions http_local_, http_tls_, http_plain_;
  std::unique_ptr<net::Listener> http_listener_;
  std::optional<ConnectionRouter> router_;
  std::unique_ptr<net::Listener> listener_, local_listener_;
  asio::posix::stream_descriptor* pool_watch_ = nullptr;
  asio::signal_set* signals_ = nullptr;
  asio::steady_timer* house_timer_ = nullptr;
  bool stopping_now_ = false;
  bool shut_down_ = false;
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
