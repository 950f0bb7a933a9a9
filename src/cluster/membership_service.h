#pragma once
// The I/O shell of membership: a UDP socket, the seal, a timer, and the long-lived connections to the members that it
// watches. It holds no decision; see membership.h for what the machine asks of it.
// Threading: belongs to the control loop.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cluster/boot_number.h"
#include "cluster/cluster_key.h"
#include "cluster/member.h"
#include "cluster/membership_event.h"
#include "net/async.h"
#include "net/tls.h"

namespace sluice::cluster {

class MembershipService final {
 public:
  struct Options {
    NodeId self;
    Profile profile;     // its endpoint is what is advertised
    net::Endpoint bind;  // the UDP socket's own
    BootNumber boot;
    std::vector<GossipSecret> secrets;
    std::function<const net::TlsContext*()> tls;
    std::function<void(const MembershipEvent&)> on_event;
  };
  /// Binds the socket. Errors: a sentence that names the address.
  static std::expected<std::unique_ptr<MembershipService>, std::string> open(net::asio::any_io_executor executor,
                                                                             Options options, Logger& log);
  ~MembershipService();
  MembershipService(const MembershipService&) = delete;
  MembershipService& operator=(const MembershipService&) = delete;

  /// HOST:PORT, looked up now and again until somebody answers.
  void add_seed(const net::HostPort& seed);
  /// An address that discovery found: asked at once, and forgotten after a while.
  void add_found_seed(const net::Endpoint& seed);
  std::vector<Member> members() const;
  std::optional<Member> find(const NodeId& id) const;
  /// How many are present, we ourselves included.
  std::size_t present_count() const;
  void set_shared_digest(std::uint64_t digest);
  void replace_secrets(const std::vector<GossipSecret>& secrets);

  /// Tells the others that we go, and returns when they know.
  net::Awaitable<void> leave();
  net::Awaitable<void> close();

 private:
  struct Impl;
  explicit MembershipService(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::cluster
