#include "net/resolver.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/signals_blocked.h"
#include "base/unique_fd.h"
#include "net/alarm.h"
#include "net/system_error.h"

namespace sluice::net {
namespace {

std::atomic<int> threads_under_way{0};

/// Where the thread puts what it has found. It knows nothing of the loop, which may be gone by then.
struct Answer {
  UniqueFd event;  // readable when it is there
  std::mutex mutex;
  std::optional<Addresses> addresses;
};

NetError unknown_name(const std::string& name, const std::string& why) {
  return {NetErrorKind::unreachable, fmt::format("no address is known for the name '{}': {}", name, why)};
}

NetError given_up() { return {NetErrorKind::cancelled, "the look-up was given up"}; }

Addresses look_up(const HostPort& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* first = nullptr;
  int error = ::getaddrinfo(host.host.c_str(), std::to_string(host.port).c_str(), &hints, &first);
  if (error != 0)
    return std::unexpected(unknown_name(host.host, error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error)));
  std::vector<SocketAddress> addresses;
  for (const addrinfo* each = first; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    SocketAddress& address = addresses.emplace_back();
    address.size = each->ai_addrlen;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
  }
  ::freeaddrinfo(first);
  if (addresses.empty()) return std::unexpected(unknown_name(host.host, "it has none of IPv4 or IPv6"));
  return addresses;
}

void put(Answer& answer, Addresses addresses) {
  std::lock_guard lock(answer.mutex);
  answer.addresses = std::move(addresses);
  ::eventfd_write(answer.event.get(), 1);
}

void start_thread(std::shared_ptr<Answer> answer, HostPort host) {
  SignalsBlocked blocked;
  std::thread([answer = std::move(answer), host = std::move(host)] {
    put(*answer, look_up(host));
    --threads_under_way;
  }).detach();
}

// The answer comes, or its place has the error.
std::shared_ptr<Answer> ask(const HostPort& host) {
  auto answer = std::make_shared<Answer>();
  answer->event = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!answer->event) {
    answer->addresses = std::unexpected(unknown_name(host.host, std::strerror(errno)));
    return answer;
  }
  if (++threads_under_way > kLookUpsMax) {
    --threads_under_way;
    put(*answer, std::unexpected(unknown_name(
                     host.host, fmt::format("{} look-ups of names wait for an answer already", kLookUpsMax))));
    return answer;
  }
  try {
    start_thread(answer, host);
  } catch (const std::system_error& error) {  // the limit of processes
    --threads_under_way;
    put(*answer, std::unexpected(unknown_name(host.host, error.code().message())));
  }
  return answer;
}

std::optional<Addresses> taken_from(Answer& answer) {
  std::lock_guard lock(answer.mutex);
  return std::exchange(answer.addresses, std::nullopt);
}

}  // namespace

struct LookUp::Impl {
  asio::any_io_executor executor;
  std::shared_ptr<Answer> answer;
  std::optional<asio::posix::stream_descriptor> event = std::nullopt;  // while somebody waits
  bool cancelled = false;
};

LookUp::LookUp(asio::any_io_executor executor, HostPort host) : impl_(new Impl{.executor = executor, .answer = {}}) {
  auto numeric = numeric_address(host.host.empty() ? "127.0.0.1" : host.host, host.port);
  if (!numeric) {
    impl_->answer = ask(host);
    return;
  }
  impl_->answer = std::make_shared<Answer>();
  impl_->answer->addresses = std::vector{*numeric};
}

LookUp::~LookUp() {
  if (impl_->event) impl_->event->release();  // the answer's own
}

Awaitable<Addresses> LookUp::wait_until(TimePoint deadline) {
  if (auto there = taken_from(*impl_->answer)) co_return *std::move(there);
  if (impl_->cancelled) co_return std::unexpected(given_up());
  impl_->event.emplace(impl_->executor, impl_->answer->event.get());
  Alarm alarm(impl_->executor, deadline, [this] { impl_->event->cancel(); });
  co_await impl_->event->async_wait(asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
  if (auto there = taken_from(*impl_->answer)) co_return *std::move(there);
  if (impl_->cancelled) co_return std::unexpected(given_up());
  co_return std::unexpected(NetError{NetErrorKind::timed_out, "the look-up of the name took too long"});
}

void LookUp::cancel() {
  impl_->cancelled = true;
  if (impl_->event) impl_->event->cancel();
}

Awaitable<Addresses> resolve(HostPort host, TimePoint deadline) {
  LookUp look_up(co_await asio::this_coro::executor, std::move(host));
  co_return co_await look_up.wait_until(deadline);
}

}  // namespace sluice::net
