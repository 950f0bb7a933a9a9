#pragma once
// One call as its method sees it, whichever door it came through, and what its caller counts as.
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "net/async.h"
#include "net/peer.h"
#include "rpc/limits.h"
#include "rpc/status.h"

namespace sluice::rpc {

/// Who calls. A gateway or a node may pass on a call of somebody else, and says whose; that is believed of nobody else.
struct Caller {
  net::Peer connection;
  net::Role effective = net::Role::read;         // what counts: `effective_role` of the two roles
  std::string on_behalf_of;                      // empty: the connection's own peer
  std::optional<net::Role> on_behalf_role = {};  // of `on_behalf_of`, as the connection says
  std::string remote;                            // address, for the audit log
};

/// Whether the role can be passed on: all but `gateway`, `node` and `admin`, which nobody has by hearsay.
bool is_ordinary(net::Role role);

/// What a call counts as; nothing: it must be refused.
///
///   connection's role | no claim  | claims an ordinary role | claims admin | claims gateway or node
///   gateway, node     | that role | the claimed role        | operate      | refused
///   any other         | that role | refused                 | refused      | refused
///
/// An administrator's call that was passed on may still call whatever lists `admin` and an ordinary role beside it
/// (DispatchTable::run): so `sluice stop` by the local node works on every node. What lists no ordinary role (issuing
/// certificates) must be called directly, for a stolen certificate of a node must not be worth the cluster key.
std::optional<net::Role> effective_role(net::Role connection, std::optional<net::Role> on_behalf);

/// What a call is about, for the audit log: names and ids, as in {"flow", "3f2a..."}. No payload, no environment.
using CallObject = std::vector<std::pair<std::string, std::string>>;

struct CallInfo {
  std::string method;  // "sluice.v1.Flows/Run"
  Caller caller;
  std::optional<TimePoint> deadline;
  CallObject object = {};  // of methods that say so (Method::object)
};

/// The server's end of one call: messages in, messages out, as serialized protobuf. Every method may be awaited by one
/// coroutine at a time each. Implementations: rpc/ (our own connections), api/ (HTTP).
class ServerCall {
 public:
  virtual ~ServerCall() = default;
  virtual const CallInfo& info() const = 0;
  /// The next message of the caller, nothing when there is none any more. Errors: cancelled (by the caller, its loss, or
  /// the deadline).
  virtual net::Awaitable<std::expected<std::optional<std::string>, Status>> read() = 0;
  /// Sends one message; waits while the caller reads too slowly. Errors: cancelled; resource_exhausted if it is larger
  /// than kMessageMax.
  virtual net::Awaitable<std::expected<void, Status>> write(std::string message) = 0;
  /// Returns when the call is over for the caller: cancelled, lost, past its deadline.
  virtual net::Awaitable<void> cancelled() = 0;
};

}  // namespace sluice::rpc
