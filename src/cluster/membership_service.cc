#include "cluster/membership_service.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "base/random.h"
#include "cluster/datagram_seal.h"
#include "cluster/membership.h"
#include "net/connection.h"
#include "net/resolver.h"
#include "rpc/channel.h"

namespace sluice::cluster {

namespace asio = net::asio;
using asio::ip::udp;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kRedialTime{1};  // membership.h: who does not answer within a second is silent
constexpr std::chrono::seconds kSeedLookupInterval{2};
constexpr std::chrono::seconds kSeedLookupTime{30};   // for one answer
constexpr std::chrono::seconds kOutdatedInterval{1};  // a recording may be sent again at will, from any address
constexpr int kDatagramsAtOnce = 32;                  // received before the machine's outputs are carried out

std::expected<udp::endpoint, std::string> to_asio(const net::Endpoint& endpoint) {
  boost::system::error_code error;
  auto address = asio::ip::make_address(endpoint.address, error);
  if (error) return std::unexpected(fmt::format("'{}' is no IP address", endpoint.address));
  return udp::endpoint(address, endpoint.port);
}

net::Endpoint from_asio(const udp::endpoint& endpoint) {
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return {.address = address.to_string(), .port = endpoint.port()};
}

MembershipOptions machine_options(BootNumber boot) {
  MembershipOptions options;
  options.instance = boot.value;
  options.incarnation_start = boot.value >> 24;
  return options;
}

}  // namespace

struct MembershipService::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor on, Options given, Logger& to_log)
      : executor(on),
        options(std::move(given)),
        log(to_log),
        socket(executor),
        timer(executor),
        changed(executor),
        sealer(options.secrets.front(), options.self, options.boot),
        opener(options.secrets, options.self, {.own_boot = options.boot}),
        machine(machine_options(options.boot), options.self, options.profile, random_seed(), Clock::now()) {
    changed.expires_at(TimePoint::max());
  }

  asio::any_io_executor executor;
  Options options;
  Logger& log;
  udp::socket socket;
  asio::steady_timer timer;
  asio::steady_timer changed;  // cancelled when a task ends, or the machine may go
  DatagramSealer sealer;
  DatagramOpener opener;
  Membership machine;
  std::map<NodeId, std::shared_ptr<rpc::Channel>> watched;
  std::set<NodeId> redialling;
  std::set<net::LookUp*> lookups;        // of seeds, under way
  std::set<asio::steady_timer*> pauses;  // before the next
  std::uint64_t watch_version = 0;
  TimePoint outdated_due;
  std::size_t tasks = 0;
  std::optional<TimePoint> armed;
  bool settling = false;
  bool closed = false;

  std::expected<void, std::string> bind() {
    auto endpoint = to_asio(options.bind);
    if (!endpoint) return std::unexpected(endpoint.error());
    boost::system::error_code error;
    socket.open(endpoint->protocol(), error);
    if (!error) socket.non_blocking(true, error);
    if (!error) socket.bind(*endpoint, error);
    if (error)
      return std::unexpected(
          fmt::format("cannot listen for gossip on udp {}: {}; choose another address or port with "
                      "--listen",
                      net::to_text(options.bind), error.message()));
    return {};
  }

  void spawn(Awaitable<void> task) {
    ++tasks;
    asio::co_spawn(executor, std::move(task), [self = shared_from_this()](const std::exception_ptr& failure) {
      if (failure) {
        self->log.error("bug: an exception in membership");
        std::rethrow_exception(failure);
      }
      --self->tasks;
      self->changed.cancel();
    });
  }

  // --- datagrams --------------------------------------------------------------------------------------------------

  static Awaitable<void> receive(std::shared_ptr<Impl> self) {
    std::string buffer(kDatagramMax + 1, '\0');
    while (!self->closed) {
      auto [error] = co_await self->socket.async_wait(udp::socket::wait_read, kTuple);
      if (self->closed || error == asio::error::operation_aborted) co_return;
      for (int i = 0; i < kDatagramsAtOnce; ++i)
        if (!self->receive_one(buffer)) break;
      self->settle();
    }
  }

  bool receive_one(std::string& buffer) {
    udp::endpoint from;
    boost::system::error_code error;
    std::size_t size = socket.receive_from(asio::buffer(buffer), from, 0, error);
    // An earlier datagram that nobody took is reported here (ICMP); it says nothing about what waits.
    if (error) return error != asio::error::would_block && error != asio::error::try_again && !closed;
    auto opened = opener.open(std::string_view(buffer).substr(0, size));
    if (!opened) {
      if (opened.error() == OpenError::wrong_key)
        log.debug("datagram refused", {{"reason", "sealed with another key"}, {"from", net::to_text(from_asio(from))}});
      if (opened.error() == OpenError::replayed || opened.error() == OpenError::own)
        look_at_outdated(std::string_view(buffer).substr(0, size), from);
      return true;
    }
    if (!opened->boot.is_passer_by()) machine.on_datagram(opened->sender, from_asio(from), opened->plain, Clock::now());
    return true;
  }

  void look_at_outdated(std::string_view datagram, const udp::endpoint& from) {
    TimePoint now = Clock::now();
    if (now < outdated_due) return;
    auto sender = opener.sender_if_outdated(datagram);
    if (!sender) return;
    outdated_due = now + kOutdatedInterval;
    machine.on_outdated_datagram(*sender, from_asio(from), now);
  }

  void send(const OutgoingDatagram& datagram) {
    auto to = to_asio(datagram.to);
    if (!to) return;
    std::string_view sealed = sealer.seal(datagram.payload);
    boost::system::error_code ignored;  // a datagram may be lost anywhere; membership copes
    socket.send_to(asio::buffer(sealed), *to, 0, ignored);
  }

  // --- the machine's outputs --------------------------------------------------------------------------------------

  // Carries out what the machine wants, which may lead to more.
  void settle() {
    if (std::exchange(settling, true)) return;
    bool more = true;
    while (more && !closed) {
      more = false;
      while (auto datagram = machine.poll_datagram()) send(*datagram);
      while (auto event = machine.poll_event()) {
        options.on_event(*event);
        more = true;
      }
      while (auto request = machine.poll_redial()) {
        if (redialling.insert(request->id).second) spawn(redial(shared_from_this(), *request));
        more = true;
      }
    }
    settling = false;
    update_watched();
    arm();
    if (machine.may_go()) changed.cancel();
  }

  void arm() {
    auto deadline = machine.poll_deadline();
    if (deadline == armed) return;
    armed = deadline;
    if (!deadline) {
      timer.cancel();
      return;
    }
    timer.expires_at(*deadline);
    timer.async_wait([weak = weak_from_this(), deadline](boost::system::error_code error) {
      auto self = weak.lock();
      if (error || !self || self->closed || self->armed != deadline) return;
      self->armed.reset();
      self->machine.on_deadline(Clock::now());
      self->settle();
    });
  }

  // --- connections ------------------------------------------------------------------------------------------------

  void update_watched() {
    if (watch_version == machine.watch_version()) return;
    watch_version = machine.watch_version();
    std::set<NodeId> wanted(machine.watched().begin(), machine.watched().end());
    for (auto& [id, channel] : watched)
      if (!wanted.contains(id)) channel->close();
  }

  bool is_watched(const NodeId& id) const {
    for (const NodeId& wanted : machine.watched())
      if (wanted == id) return true;
    return false;
  }

  static Awaitable<void> redial(std::shared_ptr<Impl> self, RedialRequest request) {
    TimePoint deadline = Clock::now() + kRedialTime;
    net::DialOptions options{.deadline = deadline, .tls = self->options.tls(), .expected = request.id};
    net::HostPort to{.host = request.endpoint.address, .port = request.endpoint.port};
    auto connection = co_await net::dial(to, std::move(options));
    RedialResult result = RedialResult::silent;
    std::shared_ptr<rpc::Channel> channel;
    if (connection) {
      auto opened = co_await rpc::Channel::open(std::move(*connection), deadline);
      if (opened) {
        channel = std::move(*opened);
        result = RedialResult::reached;
      }
    } else if (connection.error().kind == net::NetErrorKind::refused) {
      result = RedialResult::refused;
    } else if (connection.error().kind == net::NetErrorKind::cut ||
               connection.error().kind == net::NetErrorKind::closed) {
      result = RedialResult::broken;
    }
    self->redialling.erase(request.id);
    if (self->closed) co_return;
    self->machine.on_redial(request.id, result, Clock::now());
    if (channel && self->is_watched(request.id)) {
      auto& kept = self->watched[request.id];
      if (kept) kept->close();
      kept = channel;
      self->spawn(await_end(self, request.id, channel));
    }
    self->settle();
  }

  static Awaitable<void> await_end(std::shared_ptr<Impl> self, NodeId id, std::shared_ptr<rpc::Channel> channel) {
    co_await channel->closed();
    auto found = self->watched.find(id);
    if (found == self->watched.end() || found->second != channel) co_return;
    self->watched.erase(found);
    if (self->closed || !self->is_watched(id)) co_return;
    self->machine.on_connection_closed(id, Clock::now());
    self->settle();
  }

  // --- seeds ------------------------------------------------------------------------------------------------------

  // A name is looked up until it has an address: the host may come up after us.
  static Awaitable<void> look_up(std::shared_ptr<Impl> self, net::HostPort seed) {
    bool told = false;
    while (!self->closed) {
      net::LookUp name(self->executor, seed);
      self->lookups.insert(&name);
      auto found = co_await name.wait_until(Clock::now() + kSeedLookupTime);
      self->lookups.erase(&name);
      if (self->closed) co_return;
      if (found) {
        for (const auto& address : *found) self->machine.add_seed(net::endpoint_of(address), Clock::now());
        self->settle();
        co_return;
      }
      if (!std::exchange(told, true))
        self->log.warn("cannot look up a node to join, will go on trying",
                       {{"node", net::to_text(seed)}, {"reason", found.error().message}});
      asio::steady_timer wait(self->executor, kSeedLookupInterval);
      self->pauses.insert(&wait);
      co_await wait.async_wait(kTuple);
      self->pauses.erase(&wait);
    }
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  static Awaitable<void> leave(std::shared_ptr<Impl> self) {
    self->machine.leave(Clock::now());
    self->settle();
    while (!self->machine.may_go() && !self->closed) co_await self->changed.async_wait(kTuple);
  }

  static Awaitable<void> close(std::shared_ptr<Impl> self) {
    self->closed = true;
    boost::system::error_code ignored;
    self->socket.close(ignored);
    self->timer.cancel();
    for (net::LookUp* name : self->lookups) name->cancel();
    for (asio::steady_timer* pause : self->pauses) pause->cancel();
    for (auto& [id, channel] : self->watched) channel->close();
    while (self->tasks > 0) co_await self->changed.async_wait(kTuple);
  }
};

std::expected<std::unique_ptr<MembershipService>, std::string> MembershipService::open(asio::any_io_executor executor,
                                                                                       Options options, Logger& log) {
  if (auto problem = profile_problem(options.profile)) return std::unexpected(*problem);
  auto impl = std::make_shared<Impl>(std::move(executor), std::move(options), log);
  if (auto bound = impl->bind(); !bound) return std::unexpected(bound.error());
  impl->spawn(Impl::receive(impl));
  impl->settle();
  return std::unique_ptr<MembershipService>(new MembershipService(impl));
}

MembershipService::MembershipService(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
MembershipService::~MembershipService() = default;

void MembershipService::add_seed(const net::HostPort& seed) { impl_->spawn(Impl::look_up(impl_, seed)); }
void MembershipService::add_found_seed(const net::Endpoint& seed) {
  impl_->machine.add_found_seed(seed, Clock::now());
  impl_->settle();
}
std::vector<Member> MembershipService::members() const { return impl_->machine.members(); }
std::optional<Member> MembershipService::find(const NodeId& id) const { return impl_->machine.find(id); }
std::size_t MembershipService::present_count() const { return impl_->machine.present_count(); }

void MembershipService::set_shared_digest(std::uint64_t digest) {
  impl_->machine.set_shared_digest(digest, Clock::now());
  impl_->settle();
}

void MembershipService::replace_secrets(const std::vector<GossipSecret>& secrets) {
  impl_->sealer.replace_secret(secrets.front());
  impl_->opener.replace_secrets(secrets);
}

Awaitable<void> MembershipService::leave() { return Impl::leave(impl_); }
Awaitable<void> MembershipService::close() { return Impl::close(impl_); }

}  // namespace sluice::cluster
