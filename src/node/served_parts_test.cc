#include "node/served_parts.h"

#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/core_for_test.h"
#include "node/mailbox.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

NodeId node_of(std::uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}

// A call of another node that says what the test puts.
class ScriptedCall final : public rpc::ServerCall {
 public:
  ScriptedCall(net::asio::any_io_executor executor, std::optional<NodeId> caller) : commands(std::move(executor)) {
    info_.caller.connection.role = net::Role::node;
    info_.caller.connection.node = caller;
    info_.caller.connection.name = "n2";
  }
  const rpc::CallInfo& info() const override { return info_; }
  net::Awaitable<std::expected<std::optional<std::string>, rpc::Status>> read() override { return next(); }
  net::Awaitable<std::expected<void, rpc::Status>> write(std::string message) override {
    events.emplace_back().ParseFromString(message);
    co_return std::expected<void, rpc::Status>{};
  }
  net::Awaitable<void> cancelled() override { co_return; }

  Mailbox<v1::HostCommand> commands;  // closed: the line broke
  std::vector<v1::HostEvent> events;
  std::optional<rpc::Status> status;  // once it has ended

 private:
  net::Awaitable<std::expected<std::optional<std::string>, rpc::Status>> next() {
    auto command = co_await commands.take();
    if (!command) co_return std::unexpected(rpc::Status{rpc::Code::cancelled, "lost"});
    co_return command->SerializeAsString();
  }
  rpc::CallInfo info_;
};

class ServedPartsTest : public testing::Test, protected CoreForTest {
 protected:
  ScriptedCall& call_of(std::optional<NodeId> caller) {
    ScriptedCall& call = *calls_.emplace_back(std::make_unique<ScriptedCall>(loop_.get_executor(), caller));
    boost::asio::co_spawn(loop_, served_.serve(call),
                          [&call](std::exception_ptr, rpc::Status status) { call.status = std::move(status); });
    return call;
  }
  // A part without a stage can't be prepared: its host says so, and the part waits for its orchestrator's word.
  ScriptedCall& prepare(std::optional<NodeId> caller) {
    ScriptedCall& call = call_of(caller);
    v1::HostCommand command;
    command.mutable_prepare()->set_flow_id("f");
    command.mutable_prepare()->mutable_keep()->set_outlives_orchestrator(true);
    call.commands.put(command);
    run();
    return call;
  }
  ScriptedCall& resume(std::optional<NodeId> caller) {
    ScriptedCall& call = call_of(caller);
    v1::HostCommand command;
    command.mutable_resume()->set_flow_id("f");
    call.commands.put(command);
    run();
    return call;
  }
  void run() {
    loop_.restart();
    loop_.poll();
  }
  void TearDown() override {
    for (const auto& call : calls_) call->commands.close();
    run();
    for (const auto& call : calls_) EXPECT_TRUE(call->status.has_value());
  }

  ServedParts served_{core_, parts_};
  std::vector<std::unique_ptr<ScriptedCall>> calls_;
};

TEST_F(ServedPartsTest, TheOrchestratorOfAPartIsToldAnewWhatBecameOfIt) {
  ScriptedCall& first = prepare(node_of(1));
  ASSERT_EQ(first.events.size(), 1u);
  ScriptedCall& again = resume(node_of(1));
  ASSERT_EQ(again.events.size(), 1u);
  EXPECT_TRUE(again.events[0].has_failed());
  EXPECT_FALSE(again.status.has_value());
}

TEST_F(ServedPartsTest, NobodyElseTakesItUp) {
  prepare(node_of(1));
  for (std::optional<NodeId> stranger : {std::optional(node_of(2)), std::optional<NodeId>()}) {
    ScriptedCall& call = resume(stranger);
    ASSERT_TRUE(call.status.has_value());
    EXPECT_EQ(call.status->code, rpc::Code::not_found);
    EXPECT_TRUE(call.events.empty());
  }
}

TEST_F(ServedPartsTest, APartOfACallerWithoutAnIdIsNobodys) {
  prepare(std::nullopt);
  ScriptedCall& call = resume(node_of(1));
  ASSERT_TRUE(call.status.has_value());
  EXPECT_EQ(call.status->code, rpc::Code::not_found);
}

TEST_F(ServedPartsTest, APartThatHasNotStartedGoesWithItsLine) {
  prepare(node_of(1)).commands.close();
  run();
  ScriptedCall& call = resume(node_of(1));
  ASSERT_TRUE(call.status.has_value());
  EXPECT_EQ(call.status->code, rpc::Code::not_found);
  EXPECT_TRUE(served_.alone().empty());
}

}  // namespace
}  // namespace sluice::node
