#include "rpc/dispatch.h"

#include <fmt/format.h>

#include "base/require.h"

namespace sluice::rpc {
namespace {

Status denied(std::string message) { return {Code::permission_denied, std::move(message)}; }

// "run, operate and admin".
std::string names_of(const RoleSet& roles) {
  std::vector<std::string_view> names;
  for (net::Role role : net::all_roles())
    if (roles.contains(role)) names.push_back(net::role_name(role));
  if (names.empty()) return "no role";
  std::string text(names.front());
  for (std::size_t i = 1; i < names.size(); ++i)
    text += fmt::format("{}{}", i + 1 == names.size() ? " and " : ", ", names[i]);
  return text;
}

Status may_not_call(std::string_view role, const Method& method) {
  return denied(fmt::format("the role {} may not call {}; {} may", role, method.name, names_of(method.roles)));
}

// A call that somebody passed on: the claim must be one that is believed, and the method open to whoever it names.
Status check_passed_on(const Method& method, const Caller& caller) {
  std::string_view connection = net::role_name(caller.connection.role);
  std::string_view claimed = net::role_name(*caller.on_behalf_role);
  if (!effective_role(caller.connection.role, caller.on_behalf_role))
    return denied(fmt::format("a call on behalf of the role {} is not believed of the role {}", claimed, connection));
  if (!method.roles.contains(*caller.on_behalf_role)) return may_not_call(claimed, method);
  if (!is_ordinary(*caller.on_behalf_role) && !method.roles.contains_ordinary())
    return denied(fmt::format("{} must be called at its node directly, by the role {}", method.name, claimed));
  return {};
}

Status check_role(const Method& method, const Caller& caller) {
  if (caller.on_behalf_role) return check_passed_on(method, caller);
  if (method.roles.contains(caller.effective)) return {};
  return may_not_call(net::role_name(caller.effective), method);
}

// A call whose first message was read before its handler began.
class OpenedCall final : public ServerCall {
 public:
  OpenedCall(ServerCall& call, std::optional<std::string> first, CallObject object)
      : call_(call), info_(call.info()), first_(std::move(first)) {
    info_.object = std::move(object);
  }

  const CallInfo& info() const override { return info_; }
  net::Awaitable<std::expected<std::optional<std::string>, Status>> read() override {
    if (!first_) co_return co_await call_.read();
    std::optional<std::string> message = std::move(first_);
    first_.reset();
    co_return message;
  }
  net::Awaitable<std::expected<void, Status>> write(std::string message) override {
    return call_.write(std::move(message));
  }
  net::Awaitable<void> cancelled() override { return call_.cancelled(); }

 private:
  ServerCall& call_;
  CallInfo info_;
  std::optional<std::string> first_;  // until it is asked for
};

net::Awaitable<Status> run_unary(ServerCall& call, UnaryFunction function) {
  auto request = co_await call.read();
  if (!request) co_return request.error();
  if (!*request) co_return Status{Code::invalid_argument, "the call came without its request"};
  auto response = co_await function(call.info(), std::move(**request));
  if (!response) co_return response.error();
  auto written = co_await call.write(std::move(*response));
  if (!written) co_return written.error();
  co_return Status{};
}

}  // namespace

void DispatchTable::add(Method method) {
  REQUIRE(!method.name.empty());
  REQUIRE(method.handler != nullptr);
  std::string name = method.name;
  bool added = methods_.emplace(std::move(name), std::move(method)).second;
  REQUIRE(added);
}

const Method* DispatchTable::find(std::string_view name) const {
  auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : &found->second;
}

Status DispatchTable::admit(const CallInfo& info) const {
  const Method* method = find(info.method);
  if (method == nullptr) return {Code::unimplemented, fmt::format("there is no method {}", info.method)};
  Status permission = check_role(*method, info.caller);
  if (!audit_ || (!method->mutating && permission.ok())) return permission;
  auto recorded = audit_(info, permission.ok());
  if (permission.ok() && !recorded) return {Code::resource_exhausted, recorded.error()};
  return permission;
}

net::Awaitable<Status> DispatchTable::run(ServerCall& call) const {
  const Method* method = find(call.info().method);
  // Of whoever may not call it nothing is read.
  if (method == nullptr || !method->object || !check_role(*method, call.info().caller).ok())
    co_return co_await run_admitted(call);
  auto first = co_await call.read();
  if (!first) co_return first.error();
  CallObject object = *first ? method->object(**first) : CallObject();
  OpenedCall opened(call, std::move(*first), std::move(object));
  co_return co_await run_admitted(opened);
}

net::Awaitable<Status> DispatchTable::run_admitted(ServerCall& call) const {
  Status permission = admit(call.info());
  if (!permission.ok()) co_return permission;
  co_return co_await find(call.info().method)->handler(call);
}

Handler unary(UnaryFunction function) {
  // The function is copied into the coroutine's own frame: the handler may be called again before this call has ended.
  return [function = std::move(function)](ServerCall& call) { return run_unary(call, function); };
}

}  // namespace sluice::rpc
