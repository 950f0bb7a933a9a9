#pragma once
// The methods of sluice.v1.Trust: renewing and revoking certificates.
// Threading: belongs to the control loop.
#include <memory>

#include "node/node_core.h"
#include "node/node_trust.h"

namespace sluice::node {

class TrustService final {
 public:
  TrustService(NodeCore core, NodeTrust& trust);
  ~TrustService();

  void register_methods(rpc::DispatchTable& table);
  /// Fetches the revocations of a node whose list is not ours.
  net::Awaitable<void> fetch_revocations(NodeId node);
  /// Renews our own certificate: by the key, or by asking the nodes in turn. Errors: why none did.
  net::Awaitable<std::expected<void, std::string>> renew_own();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
