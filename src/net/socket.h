#pragma once
// A stream socket on a loop that never blocks: one tries first, and waits only for what can't be done yet.
// Threading: belongs to the loop that it was made on.
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>

#include "base/unique_fd.h"
#include "net/async.h"

namespace sluice::net {

class Socket final {
 public:
  Socket(asio::any_io_executor executor, UniqueFd fd);
  ~Socket();
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;

  /// -1 when it is closed.
  int fd() const;
  /// How many bytes came (0: the end), nothing if there are none yet. Errors: errno.
  std::expected<std::optional<std::size_t>, int> receive(std::span<std::byte> into);
  /// How many bytes went, nothing if none can go yet. Errors: errno.
  std::expected<std::optional<std::size_t>, int> send(std::span<const std::byte> bytes);
  /// Errors: cancelled, by `cancel` or `close`. One wait of each at a time.
  Awaitable<std::expected<void, NetError>> readable();
  Awaitable<std::expected<void, NetError>> writable();

  /// Ends the waits that are under way.
  void cancel();
  /// Says to the peer that nothing more comes, and closes. Bytes that came and nobody read are dropped first: the kernel
  /// would tell the peer of them by a reset, which looks like a cut.
  void close();
  UniqueFd release();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net
