#pragma once
// A node's place in its cluster: membership, discovery, what their news leads to, and the members that it remembers for its next
// start.
// Threading: belongs to the control loop.
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/boot_number.h"
#include "cluster/member.h"
#include "net/tls.h"
#include "node/member_memory.h"
#include "node/member_news.h"
#include "node/node_core.h"
#include "node/node_trust.h"

namespace sluice::node {

class NodeMembership final : public MemberView {
 public:
  struct Options {
    cluster::Profile profile;  // its endpoint is what is advertised
    net::Endpoint bind;        // where the node listens
    cluster::BootNumber boot;
    std::string data_directory;
    std::vector<net::HostPort> joins;
    std::optional<net::Endpoint> group;  // of --discover; none: nobody is looked for
    std::string interface;               // of --interface; may be empty
    std::function<const net::TlsContext*()> tls;
    MemberNews::Handlers handlers;
  };
  /// Everything given by reference outlives it. Errors: a sentence that names the address or the option.
  static std::expected<std::unique_ptr<NodeMembership>, std::string> open(net::asio::any_io_executor executor,
                                                                          TaskGroup& tasks, NodeTrust& trust,
                                                                          Options options, Logger& log);
  ~NodeMembership() override;

  NodeId self() const override;
  std::vector<cluster::Member> members() const override;
  std::optional<net::HostPort> address_of(const NodeId& node) const;

  /// Asks those to join, and those that were there when the node last ran.
  void look_for_others();
  /// The revocations have changed: the others hear that theirs may differ.
  void on_revocations();
  /// The certificate was renewed, and with it the secrets of gossip.
  void on_renewal();

  /// Tells the others that we go, and returns when they know.
  net::Awaitable<void> leave(MemberMemory::AtEnd at_end);
  net::Awaitable<void> close();

 private:
  struct Impl;
  explicit NodeMembership(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
