#include "cluster/discovery_search.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <set>
#include <utility>

#include "base/random.h"
#include "cluster/datagram_seal.h"
#include "cluster/discovery_message.h"
#include "cluster/multicast_socket.h"

namespace sluice::cluster {

namespace asio = net::asio;
using asio::ip::udp;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kWaitMin{150};  // before the question is asked again; it doubles
constexpr std::chrono::milliseconds kWaitMax{600};  // so that a client asks seven times within its 3 s
constexpr int kDatagramsAtOnce = 32;                // before the clock is looked at

std::uint64_t new_question() { return std::max<std::uint64_t>(random_seed(), 1); }

}  // namespace

struct DiscoverySearch::Impl : std::enable_shared_from_this<Impl> {
  Impl(const asio::any_io_executor& executor, net::Endpoint to, const std::vector<GossipSecret>& secrets)
      : group(std::move(to)),
        socket(executor),
        timer(executor),
        sealer(secrets.front(), NodeId::random(), BootNumber::passer_by()),
        opener(secrets, std::nullopt) {}

  net::Endpoint group;
  std::vector<MulticastInterface> interfaces;
  udp::socket socket;
  asio::steady_timer timer;
  DatagramSealer sealer;
  DatagramOpener opener;
  const std::uint64_t question = new_question();
  std::uint8_t attempt = 0;
  TimePoint ask_due;  // at once
  Duration wait = kWaitMin;
  std::set<NodeId> heard;
  std::string buffer = std::string(kDatagramMax + 1, '\0');

  void ask(TimePoint now) {
    std::string query = encode_discovery(DiscoveryQuery{.question = question, .attempt = attempt});
    for (const MulticastInterface& interface : interfaces)
      send_to_group(socket.native_handle(), group, interface, sealer.seal(query));
    if (attempt < UINT8_MAX) ++attempt;
    ask_due = now + wait;
    wait = std::min<Duration>(2 * wait, kWaitMax);
  }

  std::optional<FoundNode> read(std::string_view datagram) {
    auto opened = opener.open(datagram);
    if (!opened || opened->boot.is_passer_by()) return std::nullopt;
    auto message = decode_discovery(opened->plain);
    if (!message) return std::nullopt;
    auto* answer = std::get_if<DiscoveryAnnouncement>(&*message);
    // Another question's is an old answer, played back.
    if (answer == nullptr || answer->question != question) return std::nullopt;
    if (!heard.insert(opened->sender).second) return std::nullopt;
    return FoundNode{.id = opened->sender, .profile = std::move(answer->profile)};
  }

  std::optional<FoundNode> receive() {
    for (int i = 0; i < kDatagramsAtOnce; ++i) {
      udp::endpoint from;
      boost::system::error_code error;
      std::size_t size = socket.receive_from(asio::buffer(buffer), from, 0, error);
      if (error == asio::error::would_block || error == asio::error::try_again) return std::nullopt;
      if (error) continue;
      if (auto found = read(std::string_view(buffer).substr(0, size))) return found;
    }
    return std::nullopt;
  }

  // Until there is something to read, or until then; it may return earlier.
  static Awaitable<void> wait_until(std::shared_ptr<Impl> self, TimePoint until) {
    self->timer.expires_at(until);
    self->timer.async_wait([weak = self->weak_from_this()](boost::system::error_code error) {
      boost::system::error_code ignored;
      if (auto alive = weak.lock(); alive && !error) alive->socket.cancel(ignored);
    });
    co_await self->socket.async_wait(udp::socket::wait_read, kTuple);
    self->timer.cancel();
  }

  static Awaitable<std::optional<FoundNode>> next(std::shared_ptr<Impl> self, TimePoint deadline) {
    for (TimePoint now = Clock::now(); now < deadline; now = Clock::now()) {
      if (auto found = self->receive()) co_return found;
      if (self->ask_due <= now) self->ask(now);
      co_await wait_until(self, std::min(self->ask_due, deadline));
    }
    co_return std::nullopt;
  }
};

std::expected<std::unique_ptr<DiscoverySearch>, std::string> DiscoverySearch::open(
    asio::any_io_executor executor, net::Endpoint group, const std::vector<GossipSecret>& gossip_secrets) {
  auto interfaces = multicast_interfaces();
  if (!interfaces) return std::unexpected(interfaces.error());
  if (interfaces->empty()) return std::unexpected("no interface of this host is up and has an IPv4 address");
  auto socket = open_asking_socket();
  if (!socket) return std::unexpected(socket.error());
  auto impl = std::make_shared<Impl>(executor, std::move(group), discovery_secrets(gossip_secrets));
  impl->interfaces = std::move(*interfaces);
  boost::system::error_code error;
  impl->socket.assign(udp::v4(), socket->release(), error);
  if (!error) impl->socket.non_blocking(true, error);  // Asio waits otherwise, even if the kernel would not
  if (error) return std::unexpected(error.message());
  return std::unique_ptr<DiscoverySearch>(new DiscoverySearch(impl));
}

DiscoverySearch::DiscoverySearch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
DiscoverySearch::~DiscoverySearch() = default;

void DiscoverySearch::forget(const NodeId& id) { impl_->heard.erase(id); }

Awaitable<std::optional<FoundNode>> DiscoverySearch::next(TimePoint deadline) { return Impl::next(impl_, deadline); }

}  // namespace sluice::cluster
