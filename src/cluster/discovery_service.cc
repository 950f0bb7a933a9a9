#include "cluster/discovery_service.h"

#include <fmt/format.h>
#include <bit>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

#include "base/random.h"
#include "base/require.h"
#include "cluster/datagram_seal.h"
#include "cluster/discovery.h"

namespace sluice::cluster {

namespace asio = net::asio;
using asio::ip::udp;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr int kDatagramsAtOnce = 32;  // received before others have their turn on the loop

// Datagrams that came to nothing. Anybody can send them, so they are logged only as their number doubles.
struct Dropped {
  std::uint64_t foreign = 0;    // another protocol, a later version of ours, or broken
  std::uint64_t wrong_key = 0;  // of another cluster
  std::uint64_t replayed = 0;
};

}  // namespace

struct DiscoveryService::Impl final : Company, std::enable_shared_from_this<Impl> {
  // One interface.
  struct Port {
    Port(Impl& owner, MulticastInterface which, std::uint64_t seed)
        : interface(std::move(which)),
          socket(owner.executor),
          timer(owner.executor),
          machine(DiscoveryOptions{}, owner.options.profile, owner, seed, Clock::now()) {}

    MulticastInterface interface;
    udp::socket socket;
    asio::steady_timer timer;
    Discovery machine;
    DiscoveryDropped told;  // what the log has of the machine's counters
    std::optional<TimePoint> armed;
  };

  Impl(asio::any_io_executor on, Options given, MembershipService& of, Logger& to_log)
      : executor(std::move(on)),
        options(std::move(given)),
        membership(of),
        log(to_log),
        changed(executor),
        sealer(discovery_secrets(options.gossip_secrets).front(), options.self, options.boot),
        opener(discovery_secrets(options.gossip_secrets), options.self) {
    changed.expires_at(TimePoint::max());
  }

  asio::any_io_executor executor;
  Options options;
  MembershipService& membership;
  Logger& log;
  asio::steady_timer changed;  // cancelled when a task ends
  DatagramSealer sealer;
  DatagramOpener opener;
  std::vector<std::unique_ptr<Port>> ports;
  Dropped dropped;
  std::size_t tasks = 0;
  bool closed = false;

  std::expected<void, std::string> open_ports() {
    for (const MulticastInterface& interface : options.interfaces) {
      auto socket = open_group_socket(options.group, interface);
      if (!socket) return std::unexpected(socket.error());
      ports.push_back(std::make_unique<Port>(*this, interface, random_seed()));
      boost::system::error_code error;
      ports.back()->socket.assign(udp::v4(), socket->release(), error);
      if (!error) ports.back()->socket.non_blocking(true, error);  // Asio waits otherwise, even if the kernel would not
      if (error) return std::unexpected(fmt::format("cannot listen on {}: {}", interface.name, error.message()));
    }
    return {};
  }

  void start() {
    for (const auto& port : ports) {
      ++tasks;
      asio::co_spawn(executor, receive(shared_from_this(), *port),
                     [self = shared_from_this()](const std::exception_ptr& failure) {
                       if (failure) {
                         self->log.error("bug: an exception in discovery");
                         std::rethrow_exception(failure);
                       }
                       --self->tasks;
                       self->changed.cancel();
                     });
      arm(*port);
    }
  }

  // --- Company ----------------------------------------------------------------------------------------------------

  std::size_t size() const override { return membership.present_count(); }

  bool contains(const NodeId& id, BootNumber boot) const override {
    auto member = membership.find(id);
    if (!member) return false;
    bool present = member->state == MemberState::alive || member->state == MemberState::suspect;
    return present && member->instance >= boot.value;
  }

  // --- datagrams --------------------------------------------------------------------------------------------------

  // `self` owns the port, and ports live as long as it.
  static Awaitable<void> receive(std::shared_ptr<Impl> self, Port& port) {
    std::string buffer(kDatagramMax + 1, '\0');
    while (!self->closed) {
      auto [error] = co_await port.socket.async_wait(udp::socket::wait_read, kTuple);
      if (self->closed || error == asio::error::operation_aborted) co_return;
      for (int i = 0; i < kDatagramsAtOnce; ++i)
        if (!self->receive_one(port, buffer)) break;
      self->settle(port);
    }
  }

  bool receive_one(Port& port, std::string& buffer) {
    udp::endpoint from;
    boost::system::error_code error;
    std::size_t size = port.socket.receive_from(asio::buffer(buffer), from, 0, error);
    // That nobody took an earlier answer of ours is reported here (ICMP); it says nothing about what waits.
    if (error) return error != asio::error::would_block && error != asio::error::try_again && !closed;
    auto opened = opener.open(std::string_view(buffer).substr(0, size));
    if (!opened) {
      note(opened.error(), from);
      return true;
    }
    net::Endpoint speaker{.address = from.address().to_string(), .port = from.port()};
    port.machine.on_datagram({.id = opened->sender, .boot = opened->boot, .from = std::move(speaker)}, opened->plain,
                             Clock::now());
    return true;
  }

  void send(Port& port, const Discovery::Outgoing& datagram) {
    std::string_view sealed = sealer.seal(datagram.payload);
    if (!datagram.to) {
      if (!send_to_group(port.socket.native_handle(), options.group, port.interface, sealed))
        log.debug("announcement not sent", {{"interface", port.interface.name}});
      return;
    }
    boost::system::error_code ignored;  // who asked asks again
    auto address = asio::ip::make_address(datagram.to->address, ignored);
    port.socket.send_to(asio::buffer(sealed), udp::endpoint(address, datagram.to->port), 0, ignored);
  }

  // --- what came to nothing ---------------------------------------------------------------------------------------

  void note(OpenError error, const udp::endpoint& from) {
    switch (error) {
      case OpenError::own:
        return;
      case OpenError::not_ours:
      case OpenError::malformed:
        return tell(++dropped.foreign, "not of this protocol", from);
      case OpenError::wrong_key:
        return tell(++dropped.wrong_key, "sealed with another key: another cluster uses this group", from);
      case OpenError::replayed:
        return tell(++dropped.replayed, "seen before", from);
    }
  }

  void tell(std::uint64_t count, std::string_view reason, const udp::endpoint& from) {
    if (!std::has_single_bit(count)) return;
    log.info("discovery datagram dropped",
             {{"reason", reason}, {"from", from.address().to_string()}, {"so_far", count}});
  }

  void tell(std::uint64_t& told, std::uint64_t count, std::string_view reason) {
    if (count == told || count < 2 * told) return;
    told = count;
    log.info("discovery datagram dropped", {{"reason", reason}, {"so_far", count}});
  }

  // --- the machine's outputs --------------------------------------------------------------------------------------

  void settle(Port& port) {
    while (auto datagram = port.machine.poll_datagram()) send(port, *datagram);
    while (auto seed = port.machine.poll_seed()) {
      log.debug("node found", {{"at", net::to_text(*seed)}, {"interface", port.interface.name}});
      membership.add_found_seed(*seed);
    }
    const DiscoveryDropped& count = port.machine.dropped();
    tell(port.told.malformed, count.malformed, "malformed");
    tell(port.told.out_of_reach, count.out_of_reach, "tells of a node on another host's loopback address");
    tell(port.told.too_many, count.too_many, "too many");
    if (!closed) arm(port);
  }

  void arm(Port& port) {
    auto deadline = port.machine.poll_deadline();
    if (deadline == port.armed) return;
    port.armed = deadline;
    if (!deadline) {
      port.timer.cancel();
      return;
    }
    port.timer.expires_at(*deadline);
    port.timer.async_wait([weak = weak_from_this(), &port, deadline](boost::system::error_code error) {
      auto self = weak.lock();
      if (error || !self || self->closed || port.armed != deadline) return;
      port.armed.reset();
      port.machine.on_deadline(Clock::now());
      self->settle(port);
    });
  }

  static Awaitable<void> close(std::shared_ptr<Impl> self) {
    self->closed = true;
    boost::system::error_code ignored;
    for (const auto& port : self->ports) {
      port->socket.close(ignored);
      port->timer.cancel();
    }
    while (self->tasks > 0) co_await self->changed.async_wait(kTuple);
  }
};

std::expected<std::unique_ptr<DiscoveryService>, std::string> DiscoveryService::open(asio::any_io_executor executor,
                                                                                     Options options,
                                                                                     MembershipService& membership,
                                                                                     Logger& log) {
  REQUIRE(!options.interfaces.empty());
  auto impl = std::make_shared<Impl>(std::move(executor), std::move(options), membership, log);
  if (auto opened = impl->open_ports(); !opened) return std::unexpected(opened.error());
  impl->start();
  return std::unique_ptr<DiscoveryService>(new DiscoveryService(impl));
}

DiscoveryService::DiscoveryService(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
DiscoveryService::~DiscoveryService() = default;

void DiscoveryService::replace_secrets(const std::vector<GossipSecret>& gossip_secrets) {
  auto secrets = discovery_secrets(gossip_secrets);
  impl_->sealer.replace_secret(secrets.front());
  impl_->opener.replace_secrets(std::move(secrets));
}

Awaitable<void> DiscoveryService::close() { return Impl::close(impl_); }

}  // namespace sluice::cluster
