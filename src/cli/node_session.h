#pragma once
// A command's way to a node: which one, with what proof, and a loop to speak to it.
//
// The node is found by --node, --discover, SLUICE_NODE, the current context, the settings `node` and `discover`, then the
// local socket: the user's, then the system's. To discover is to ask on a multicast group, and to take the first node that
// answers and can be reached. The proof is a certificate, or the cluster key, with which a command issues itself one; on a
// Unix socket it is the user.
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "cli/option_reader.h"
#include "cli/settings.h"
#include "net/async.h"
#include "net/error.h"
#include "net/tls.h"
#include "node/node_access.h"
#include "rpc/channel.h"
#include "rpc/status.h"

namespace sluice::cli {

/// The options that say which node a command speaks to.
struct NodeOptions {
  std::string node;
  std::string discover;  // GROUP:PORT
  std::string key;
  std::string cert;
  Settings settings;  // what holds where no option says otherwise
};
/// The settings are read together with the options.
void add_node_options(OptionReader& reader, NodeOptions& options);

/// Why a command could not do its work: what to exit with, and a sentence.
struct Failure {
  int status = kFailed;
  std::string message;
};

class NodeSession final : public node::NodeAccess {
 public:
  /// Whether a node was named, by an option, a variable or the context.
  static bool is_named(const NodeOptions& options);
  /// ... or one runs on this host.
  static bool can_be_found(const NodeOptions& options);

  /// Connects within three seconds. Errors: every node that was tried, and why each did not do.
  static net::Awaitable<std::expected<std::unique_ptr<NodeSession>, Failure>> open(NodeOptions options);
  ~NodeSession() override;

  rpc::Channel& channel() override;
  net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial_link(link::LinkClaim claim,
                                                                                 TimePoint deadline) override;
  /// Where it is connected to, for messages.
  const std::string& where() const;

 private:
  struct Impl;
  explicit NodeSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What to exit with after a call that ended so, and what to say.
Failure failure_of(const rpc::Status& status);

/// Runs `work` on a loop of its own until it has ended; its result is what to exit with. After `limit` it is left where it
/// is, for good, and the result is kTimedOut.
int run_loop(std::function<net::Awaitable<int>()> work, std::optional<Duration> limit = std::nullopt);

/// Connects and runs `work`; a failure to connect is said.
int with_node(NodeOptions options, std::function<net::Awaitable<int>(NodeSession&)> work);

}  // namespace sluice::cli
