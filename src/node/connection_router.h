#pragma once
// Looks at the first bytes of each connection that was accepted, and hands it to whom it is for: calls, an end of a link,
// or HTTP.
//
// Every connection is counted; `close` ends them all and returns when none is left.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>

#include "base/log.h"
#include "net/async.h"
#include "net/connection.h"
#include "node/link_registry.h"
#include "rpc/dispatch.h"

namespace sluice::node {

class ConnectionRouter final {
 public:
  struct Handlers {
    const rpc::DispatchTable* table = nullptr;
    LinkRegistry* links = nullptr;
    /// Serves HTTP until the connection ends. Empty: there is no HTTP here.
    std::function<net::Awaitable<void>(std::shared_ptr<net::Connection>)> http;
  };
  ConnectionRouter(net::asio::any_io_executor executor, Handlers handlers, Logger& log);
  ~ConnectionRouter();

  void on_connection(std::unique_ptr<net::Connection> connection);
  /// Plain text with HTTP only (--http).
  void on_http_connection(std::unique_ptr<net::Connection> connection);

  /// An HTTP client has proved who it is.
  void on_admitted(const net::Connection& connection);

  /// Ends the connections whose certificate has this serial number.
  void close_revoked(const net::CertificateSerial& serial);
  net::Awaitable<void> close();

  /// Connections at a time; beyond that a new one is closed at once.
  static constexpr std::size_t kConnectionsMax = 8192;
  /// Of these, those that have not said yet what they want, or over HTTP who they are; beyond that the oldest is closed.
  /// Each may hold 100 kB.
  static constexpr std::size_t kNewcomersMax = 128;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
