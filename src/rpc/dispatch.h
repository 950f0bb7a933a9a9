#pragma once
// The one dispatch table: every method of the public API, who may call it, and what runs it. All doors lead here.
//
// Handlers are coroutines on the control loop. A method is unary or a stream in either direction; a unary one reads one
// message and writes one (`unary` below makes such a handler from a plain function on messages). A function for `unary`
// is not told when its caller goes away: what may wait for long takes the ServerCall and listens to `cancelled`.
// Threading: filled at start, then only read.
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "net/async.h"
#include "net/peer.h"
#include "rpc/call.h"

namespace sluice::rpc {

using Handler = std::function<net::Awaitable<Status>(ServerCall&)>;

/// A set of roles. `admin` and `node` are listed like any other: nothing is implied.
class RoleSet final {
 public:
  RoleSet() = default;
  RoleSet(std::initializer_list<net::Role> roles) {
    for (net::Role role : roles) bits_ |= 1u << static_cast<unsigned>(role);
  }
  bool contains(net::Role role) const { return (bits_ >> static_cast<unsigned>(role) & 1u) != 0; }
  bool contains_ordinary() const {
    for (net::Role role : {net::Role::read, net::Role::submit, net::Role::invoke, net::Role::run, net::Role::worker,
                           net::Role::agent, net::Role::operate})
      if (contains(role)) return true;
    return false;
  }
  bool empty() const { return bits_ == 0; }

 private:
  unsigned bits_ = 0;
};

struct Method {
  std::string name;  // "sluice.v1.Flows/Run"
  RoleSet roles;
  bool client_streams = false;
  bool server_streams = false;
  bool mutating = false;  // goes to the audit log
  /// What a call is about, by its first message; that is read before the call is recorded then. Bytes that are no message
  /// are about nothing: the handler refuses them.
  std::function<CallObject(std::string_view request)> object = {};
  Handler handler;
};

class DispatchTable final {
 public:
  /// Requires: a name that is new, and a handler.
  void add(Method method);
  const Method* find(std::string_view name) const;
  const std::map<std::string, Method, std::less<>>& methods() const { return methods_; }

  /// Told of each mutating call before it runs, and of each that was refused for its role. Errors: why the call can't be
  /// recorded, a sentence for the caller; it does not run then.
  using Audit = std::function<std::expected<void, std::string>(const CallInfo&, bool allowed)>;
  void set_audit(Audit audit) { audit_ = std::move(audit); }

  /// Checks the role (rpc/call.h, effective_role), writes to the audit log, and runs the method. A call that was passed on
  /// for an administrator may call what lists `admin` and any ordinary role. Errors as status: unimplemented (no such
  /// method), permission_denied, resource_exhausted (the audit log can't be written).
  net::Awaitable<Status> run(ServerCall& call) const;
  /// The first two of these alone, for a door that carries out a method's work in another form (POST /v1/run is Flows/Run).
  Status admit(const CallInfo& info) const;

 private:
  net::Awaitable<Status> run_admitted(ServerCall& call) const;

  std::map<std::string, Method, std::less<>> methods_;
  Audit audit_;
};

/// For Method::object, on protobuf messages.
template <class Request, class Function>
std::function<CallObject(std::string_view)> object_of(Function function) {
  return [function = std::move(function)](std::string_view bytes) -> CallObject {
    Request request;
    if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return {};
    return function(request);
  };
}

/// A unary handler on serialized messages: one in, one out or a status.
using UnaryFunction = std::function<net::Awaitable<std::expected<std::string, Status>>(const CallInfo&, std::string)>;
Handler unary(UnaryFunction function);

/// The same on protobuf messages. `Request` and `Response` are generated classes.
template <class Request, class Response, class Function>
Handler unary_of(Function function) {
  return unary([function = std::move(function)](
                   const CallInfo& info, std::string bytes) -> net::Awaitable<std::expected<std::string, Status>> {
    Request request;
    if (!request.ParseFromString(bytes))
      co_return std::unexpected(Status{Code::invalid_argument, "the request is no message of its type"});
    std::expected<Response, Status> response = co_await function(info, std::move(request));
    if (!response) co_return std::unexpected(response.error());
    co_return response->SerializeAsString();
  });
}

}  // namespace sluice::rpc
