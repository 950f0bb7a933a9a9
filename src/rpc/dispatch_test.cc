#include "rpc/dispatch.h"

#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <deque>

namespace sluice::rpc {
namespace {

using net::Role;
using testing::ElementsAre;
using testing::HasSubstr;

class FakeCall final : public ServerCall {
 public:
  FakeCall(std::string method, Caller caller) : info_{std::move(method), std::move(caller), {}} {}

  const CallInfo& info() const override { return info_; }
  net::Awaitable<std::expected<std::optional<std::string>, Status>> read() override {
    if (requests.empty()) co_return std::nullopt;
    std::string request = requests.front();
    requests.pop_front();
    co_return request;
  }
  net::Awaitable<std::expected<void, Status>> write(std::string message) override {
    responses.push_back(std::move(message));
    co_return std::expected<void, Status>{};
  }
  net::Awaitable<void> cancelled() override { co_return; }

  std::deque<std::string> requests;
  std::vector<std::string> responses;

 private:
  CallInfo info_;
};

Caller caller_of(Role role, std::optional<Role> on_behalf = {}) {
  Caller caller;
  caller.connection.role = role;
  caller.on_behalf_role = on_behalf;
  caller.effective = effective_role(role, on_behalf).value_or(Role::read);
  return caller;
}

Status run(const DispatchTable& table, ServerCall& call) {
  boost::asio::io_context loop;
  Status status{Code::unknown, "did not end"};
  boost::asio::co_spawn(loop, table.run(call), [&](std::exception_ptr, Status ended) { status = std::move(ended); });
  loop.run();
  return status;
}

net::Awaitable<std::expected<std::string, Status>> echo(const CallInfo&, std::string request) {
  if (request.empty()) co_return std::unexpected(Status{Code::invalid_argument, "nothing to say"});
  co_return "echo of " + request;
}

class Dispatch : public testing::Test {
 protected:
  Dispatch() {
    table_.add({.name = "Test/Run", .roles = {Role::run, Role::operate, Role::admin}, .handler = unary(echo)});
    table_.add({.name = "Test/Programs", .roles = {Role::run, Role::admin}, .mutating = true, .handler = unary(echo)});
    table_.add({.name = "Test/Issue", .roles = {Role::admin}, .mutating = true, .handler = unary(echo)});
    table_.add({.name = "Test/Nodes", .roles = {Role::node}, .handler = unary(echo)});
    table_.set_audit([this](const CallInfo& info, bool allowed) -> std::expected<void, std::string> {
      if (disk_is_full_) return std::unexpected("the disk is full");
      audit_.push_back(info.method + (allowed ? " allowed" : " refused"));
      return {};
    });
  }

  Code code(const std::string& method, Caller caller) {
    FakeCall call(method, std::move(caller));
    call.requests = {"hello"};
    return run(table_, call).code;
  }

  DispatchTable table_;
  std::vector<std::string> audit_;
  bool disk_is_full_ = false;
};

TEST_F(Dispatch, AUnaryMethodAnswersOnce) {
  FakeCall call("Test/Run", caller_of(Role::run));
  call.requests = {"hello"};
  EXPECT_TRUE(run(table_, call).ok());
  EXPECT_THAT(call.responses, ElementsAre("echo of hello"));
}

TEST_F(Dispatch, AUnaryMethodMayEndWithAStatusInstead) {
  FakeCall call("Test/Run", caller_of(Role::run));
  call.requests = {""};
  EXPECT_EQ(run(table_, call).code, Code::invalid_argument);
  FakeCall without_request("Test/Run", caller_of(Role::run));
  EXPECT_THAT(run(table_, without_request).message, HasSubstr("without its request"));
}

TEST_F(Dispatch, AnUnknownMethodIsUnimplemented) {
  EXPECT_EQ(code("Test/Other", caller_of(Role::admin)), Code::unimplemented);
}

TEST_F(Dispatch, OnlyListedRolesMayCall) {
  EXPECT_EQ(code("Test/Run", caller_of(Role::operate)), Code::ok);
  EXPECT_EQ(code("Test/Run", caller_of(Role::read)), Code::permission_denied);
  EXPECT_EQ(code("Test/Run", caller_of(Role::node)), Code::permission_denied);
  EXPECT_EQ(code("Test/Nodes", caller_of(Role::node)), Code::ok);
  EXPECT_EQ(code("Test/Nodes", caller_of(Role::admin)), Code::permission_denied);
}

TEST_F(Dispatch, ANodePassesOnWhatTheCallerItselfMayDo) {
  EXPECT_EQ(code("Test/Run", caller_of(Role::node, Role::run)), Code::ok);
  EXPECT_EQ(code("Test/Run", caller_of(Role::gateway, Role::run)), Code::ok);
  EXPECT_EQ(code("Test/Run", caller_of(Role::node, Role::read)), Code::permission_denied);
  EXPECT_EQ(code("Test/Nodes", caller_of(Role::node, Role::run)), Code::permission_denied);
}

TEST_F(Dispatch, NobodyElseIsBelieved) {
  for (Role role : {Role::run, Role::operate, Role::admin})
    EXPECT_EQ(code("Test/Run", caller_of(role, Role::run)), Code::permission_denied);
}

TEST_F(Dispatch, AnAdministratorIsPassedOnAsFarAsOrdinaryRolesGo) {
  EXPECT_EQ(code("Test/Programs", caller_of(Role::node, Role::admin)), Code::ok);
  EXPECT_EQ(code("Test/Issue", caller_of(Role::admin)), Code::ok);
  EXPECT_EQ(code("Test/Issue", caller_of(Role::node, Role::admin)), Code::permission_denied);
  EXPECT_EQ(code("Test/Nodes", caller_of(Role::node, Role::node)), Code::permission_denied);
  EXPECT_EQ(code("Test/Nodes", caller_of(Role::gateway, Role::node)), Code::permission_denied);
}

TEST_F(Dispatch, TheAuditLogHearsOfWhatChangesAndWhatWasRefused) {
  code("Test/Run", caller_of(Role::run));
  code("Test/Programs", caller_of(Role::run));
  code("Test/Issue", caller_of(Role::run));
  code("Test/Run", caller_of(Role::read));
  code("Test/Other", caller_of(Role::run));
  EXPECT_THAT(audit_, ElementsAre("Test/Programs allowed", "Test/Issue refused", "Test/Run refused"));
}

TEST_F(Dispatch, WhatCannotBeRecordedDoesNotHappen) {
  disk_is_full_ = true;
  FakeCall call("Test/Programs", caller_of(Role::run));
  call.requests = {"hello"};
  EXPECT_EQ(run(table_, call), (Status{Code::resource_exhausted, "the disk is full"}));
  EXPECT_TRUE(call.responses.empty());
  EXPECT_EQ(code("Test/Run", caller_of(Role::run)), Code::ok) << "what changes nothing goes on";
  EXPECT_EQ(code("Test/Issue", caller_of(Role::run)), Code::permission_denied);
}

TEST_F(Dispatch, ADoorMayAskWithoutCalling) {
  CallInfo info{"Test/Programs", caller_of(Role::run), {}};
  EXPECT_TRUE(table_.admit(info).ok());
  info.caller = caller_of(Role::submit);
  EXPECT_EQ(table_.admit(info).code, Code::permission_denied);
  EXPECT_THAT(audit_, ElementsAre("Test/Programs allowed", "Test/Programs refused"));
}

TEST(EffectiveRole, IsTheLesserOfTheTwo) {
  EXPECT_EQ(effective_role(Role::submit, {}), Role::submit);
  EXPECT_EQ(effective_role(Role::node, {}), Role::node);
  EXPECT_EQ(effective_role(Role::node, Role::submit), Role::submit);
  EXPECT_EQ(effective_role(Role::gateway, Role::admin), Role::operate);
  EXPECT_EQ(effective_role(Role::node, Role::gateway), std::nullopt);
  EXPECT_EQ(effective_role(Role::admin, Role::read), std::nullopt);
}

TEST_F(Dispatch, WhatACallIsAboutIsReadBeforeItIsRecorded) {
  CallObject recorded;
  table_.set_audit([&](const CallInfo& info, bool) -> std::expected<void, std::string> {
    recorded = info.object;
    return {};
  });
  table_.add({.name = "Test/Stop",
              .roles = {Role::run},
              .mutating = true,
              .object =
                  [](std::string_view request) {
                    return CallObject{{"flow", std::string(request)}};
                  },
              .handler = unary(echo)});
  FakeCall call("Test/Stop", caller_of(Role::run));
  call.requests = {"hello"};
  EXPECT_TRUE(run(table_, call).ok());
  EXPECT_EQ(recorded, (CallObject{{"flow", "hello"}}));
  EXPECT_THAT(call.responses, ElementsAre("echo of hello"));
  FakeCall refused("Test/Stop", caller_of(Role::read));
  refused.requests = {"hello"};
  EXPECT_EQ(run(table_, refused).message, "the role read may not call Test/Stop; run may");
  EXPECT_EQ(recorded, CallObject());
  EXPECT_EQ(refused.requests.size(), 1u);  // of a stranger nothing is read
}

}  // namespace
}  // namespace sluice::rpc
