#pragma once
// Calls to other nodes: one connection to each that is called, made at the first call and closed when it has not been used
// for a while.
// Threading: belongs to the control loop.
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "base/id.h"
#include "net/address.h"
#include "net/async.h"
#include "net/tls.h"
#include "node/condition.h"
#include "rpc/channel.h"

namespace sluice::node {

class PeerChannels final {
 public:
  struct Options {
    std::function<std::optional<net::HostPort>(const NodeId&)> address_of;
    std::function<const net::TlsContext*()> tls;
  };
  PeerChannels(net::asio::any_io_executor executor, Options options);

  /// A channel that is alive; who keeps it keeps it open. Errors: those of dialling; unreachable for an unknown node.
  net::Awaitable<std::expected<std::shared_ptr<rpc::Channel>, net::NetError>> get(NodeId node, TimePoint deadline);
  /// The node is gone: calls to it end now, rather than when TCP notices.
  void on_lost(const NodeId& node);
  void close_revoked(const net::CertificateSerial& serial);
  /// Closes those that nobody uses. To be called now and then.
  void close_unused();
  void close();

 private:
  struct Peer {
    std::shared_ptr<rpc::Channel> channel;
    bool dialling = false;
    bool used = true;  // since the last close_unused
    net::NetError failure;
  };

  Options options_;
  std::map<NodeId, Peer> peers_;
  Condition dialled_;
  bool closed_ = false;
};

}  // namespace sluice::node
