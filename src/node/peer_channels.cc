#include "node/peer_channels.h"

namespace sluice::node {

using net::NetError;
using net::NetErrorKind;
using Refusal = std::unexpected<NetError>;

PeerChannels::PeerChannels(net::asio::any_io_executor executor, Options options)
    : options_(std::move(options)), dialled_(std::move(executor)) {}

// Who comes while another dials waits for the same connection.
net::Awaitable<std::expected<std::shared_ptr<rpc::Channel>, NetError>> PeerChannels::get(NodeId node,
                                                                                         TimePoint deadline) {
  bool waited = false;
  while (peers_[node].dialling) {
    waited = true;
    co_await dialled_.wait();
  }
  Peer& known = peers_[node];
  known.used = true;
  if (known.channel && known.channel->alive()) co_return known.channel;
  if (waited && !known.failure.message.empty()) co_return Refusal(known.failure);
  auto address = options_.address_of(node);
  if (!address || closed_) co_return Refusal(NetError{NetErrorKind::unreachable, "this node is not known"});
  known.dialling = true;
  net::DialOptions options{.deadline = deadline, .tls = options_.tls(), .expected = node};
  auto connection = co_await net::dial(*address, std::move(options));
  std::expected<std::unique_ptr<rpc::Channel>, NetError> channel = Refusal(NetError{});
  if (connection)
    channel = co_await rpc::Channel::open(std::move(*connection), deadline);
  else
    channel = Refusal(connection.error());
  Peer& peer = peers_[node];
  peer.dialling = false;
  peer.failure = channel ? NetError{} : channel.error();
  if (channel) peer.channel = std::move(*channel);
  dialled_.notify();
  if (!channel) co_return Refusal(channel.error());
  co_return peer.channel;
}

void PeerChannels::on_lost(const NodeId& node) {
  auto found = peers_.find(node);
  if (found != peers_.end() && found->second.channel) found->second.channel->close();
}

void PeerChannels::close_revoked(const net::CertificateSerial& serial) {
  for (auto& [node, peer] : peers_)
    if (peer.channel && peer.channel->peer().serial == serial) peer.channel->close();
}

void PeerChannels::close_unused() {
  for (auto& [node, peer] : peers_) {
    bool held = peer.channel.use_count() > 1;
    if (peer.channel && !held && !peer.used) {
      peer.channel->close();
      peer.channel.reset();
    }
    peer.used = held;
  }
}

void PeerChannels::close() {
  closed_ = true;
  for (auto& [node, peer] : peers_)
    if (peer.channel) peer.channel->close();
}

}  // namespace sluice::node
