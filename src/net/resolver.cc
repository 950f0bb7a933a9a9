#include "net/resolver.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <cstring>
#include <memory>

namespace sluice::net {
namespace {

using asio::ip::tcp;
using Found = std::expected<std::vector<SocketAddress>, NetError>;

struct LookUp {
  tcp::resolver resolver;
  asio::steady_timer patience;  // cancelled by the answer
  Found found = std::unexpected(NetError{NetErrorKind::timed_out, "the look-up of the name took too long"});
};

std::vector<SocketAddress> addresses_of(const tcp::resolver::results_type& results) {
  std::vector<SocketAddress> addresses;
  for (const auto& result : results) {
    tcp::endpoint endpoint = result.endpoint();
    SocketAddress& address = addresses.emplace_back();
    address.size = static_cast<socklen_t>(endpoint.size());
    std::memcpy(&address.storage, endpoint.data(), endpoint.size());
  }
  return addresses;
}

NetError no_such_host(const std::string& host, const boost::system::error_code& error) {
  return {NetErrorKind::unreachable, fmt::format("no address is known for the name '{}': {}", host, error.message())};
}

}  // namespace

Awaitable<Found> resolve(HostPort host, TimePoint deadline) {
  auto numeric = numeric_address(host.host.empty() ? "127.0.0.1" : host.host, host.port);
  if (numeric) co_return std::vector{*numeric};
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  // Shared with the handler: cancelling a look-up does not end it, the C library can't be interrupted.
  auto look_up = std::make_shared<LookUp>(tcp::resolver(executor), asio::steady_timer(executor, deadline));
  auto on_answer = [look_up, name = host.host](const boost::system::error_code& error,
                                               const tcp::resolver::results_type& results) {
    look_up->found =
        error || results.empty() ? Found(std::unexpected(no_such_host(name, error))) : Found(addresses_of(results));
    look_up->patience.cancel();
  };
  try {
    look_up->resolver.async_resolve(host.host, std::to_string(host.port), tcp::resolver::numeric_service, on_answer);
  } catch (const boost::system::system_error& error) {  // no thread for it: the limit of processes
    co_return std::unexpected(no_such_host(host.host, error.code()));
  }
  co_await look_up->patience.async_wait(asio::as_tuple(asio::use_awaitable));
  look_up->resolver.cancel();  // what still waits for the one thread of look-ups must not keep it from others
  co_return look_up->found;
}

}  // namespace sluice::net
