#pragma once
// Accepts connections and hands each over once its handshake is done.
//
// A stranger costs little: the handshake runs apart from the accept loop, at most kHandshakesMax at a time, each within
// kHandshakeTime; out of descriptors, accepting pauses until one is free, without spinning, and says so once.
// Threading: belongs to the loop of its executor.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "net/connection.h"

namespace sluice::net {

inline constexpr std::chrono::seconds kHandshakeTime{5};
inline constexpr std::size_t kHandshakesMax = 256;

class Listener final {
 public:
  using OnConnection = std::function<void(std::unique_ptr<Connection>)>;
  /// The context of the handshakes that start now; it changes when certificates are renewed. Null: plain text.
  using CurrentTls = std::function<const TlsContext*()>;

  /// Errors: the address is in use, not of this host, or not allowed; the message names it.
  static std::expected<std::unique_ptr<Listener>, NetError> open_tcp(asio::any_io_executor executor, const Endpoint& at,
                                                                     CurrentTls tls, OnConnection on_connection,
                                                                     Logger& log);
  /// A Unix socket at `path` in a folder that only its owner may enter. A stale socket (nobody answers there) is replaced.
  /// Only the same user, and root, are let in; they are `admin`.
  static std::expected<std::unique_ptr<Listener>, NetError> open_local(asio::any_io_executor executor,
                                                                       const std::string& path,
                                                                       OnConnection on_connection, Logger& log);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens; the port is the real one if 0 was asked for.
  const Endpoint& endpoint() const;
  void close();

 private:
  struct Impl;
  explicit Listener(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::net
