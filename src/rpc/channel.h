#pragma once
// The client's end of calls: many at a time over one connection.
//
// A lost connection ends every call with `unavailable`. A call that is dropped (its ClientCall destroyed) is cancelled.
// Threading: belongs to the loop of its connection.
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/time.h"
#include "net/async.h"
#include "net/connection.h"
#include "rpc/status.h"

namespace sluice::rpc {

/// How long a unary call may take unless its caller says otherwise.
inline constexpr std::chrono::seconds kCallTime{10};

struct CallOptions {
  std::optional<Duration> timeout = kCallTime;  // none: a stream that lasts
  // Set by nodes and gateways that pass on a call of somebody else's.
  std::string on_behalf_of;
  std::optional<net::Role> on_behalf_role;
};

class ClientCall final {
 public:
  struct Impl;
  explicit ClientCall(std::shared_ptr<Impl> impl);
  ClientCall(ClientCall&&) noexcept;
  ClientCall& operator=(ClientCall&&) noexcept;
  ~ClientCall();

  /// Waits while the server reads too slowly. Errors: the call has ended; `finish` says how.
  net::Awaitable<std::expected<void, Status>> write(std::string message);
  /// No more messages from us.
  void writes_done();
  /// The next message, nothing when the call has ended; `finish` says how.
  net::Awaitable<std::optional<std::string>> read();
  /// How the call ended. Waits for that; messages that were not read are dropped.
  net::Awaitable<Status> finish();
  void cancel();

 private:
  std::shared_ptr<Impl> impl_;
};

class Channel final {
 public:
  /// Sends the first frame and reads the answer. Errors: wrong_version, and those of the connection. Gives up at
  /// `deadline` with timed_out.
  static net::Awaitable<std::expected<std::unique_ptr<Channel>, net::NetError>> open(
      std::unique_ptr<net::Connection> connection, TimePoint deadline);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const net::Peer& peer() const;
  bool alive() const;
  /// Returns when the connection has ended, and why.
  net::Awaitable<net::NetError> closed();
  void close();

  ClientCall start(std::string_view method, CallOptions options = {});
  // Two functions, and not one with a default: g++ 12 destroys an aggregate temporary of a co_await expression twice.
  net::Awaitable<std::expected<std::string, Status>> call(std::string method, std::string request, CallOptions options);
  net::Awaitable<std::expected<std::string, Status>> call(std::string method, std::string request) {
    return call(std::move(method), std::move(request), CallOptions());
  }

 private:
  struct Impl;
  explicit Channel(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

/// A unary call on protobuf messages. It is to be awaited at once: `request` must live until then.
template <class Response, class Request>
net::Awaitable<std::expected<Response, Status>> call(Channel& channel, std::string method, const Request& request,
                                                     CallOptions options) {
  auto bytes = co_await channel.call(std::move(method), request.SerializeAsString(), std::move(options));
  if (!bytes) co_return std::unexpected(bytes.error());
  Response response;
  if (!response.ParseFromString(*bytes))
    co_return std::unexpected(Status{Code::internal, "the answer is no message of its type"});
  co_return response;
}

/// The same within kCallTime. Not a default argument, as above.
template <class Response, class Request>
net::Awaitable<std::expected<Response, Status>> call(Channel& channel, std::string method, const Request& request) {
  CallOptions options;
  return call<Response>(channel, std::move(method), request, std::move(options));
}

}  // namespace sluice::rpc
