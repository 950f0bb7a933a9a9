#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <chrono>

#include "base/time.h"
#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "node/condition.h"
#include "sluice/v1/cluster.pb.h"

namespace sluice::cli {
namespace {

// A node that was told to leave ends within this, unless its host is overloaded.
constexpr std::chrono::seconds kEndTime{10};
constexpr std::chrono::milliseconds kEndLook{20};

net::Awaitable<bool> is_the_one_that_is_asked(rpc::Channel& channel, std::string wanted) {
  if (wanted.empty()) co_return true;
  auto own = co_await rpc::call<v1::Node>(channel, "sluice.v1.Cluster/GetNode", v1::GetNodeRequest());
  co_return own && (own->name() == wanted || own->id() == wanted);
}

// It answers when nothing runs there any more, and closes its connections as the last thing that it does.
net::Awaitable<void> await_end(rpc::Channel& channel) {
  node::Condition pause(co_await net::asio::this_coro::executor);
  TimePoint deadline = Clock::now() + kEndTime;
  while (channel.alive() && Clock::now() < deadline) co_await pause.wait(Clock::now() + kEndLook);
}

net::Awaitable<int> leave(NodeSession& session, v1::LeaveRequest request) {
  bool itself = co_await is_the_one_that_is_asked(session.channel(), request.node());
  rpc::CallOptions options{.timeout = std::nullopt};
  auto left = co_await rpc::call<v1::LeaveResponse>(session.channel(), "sluice.v1.Cluster/Leave", request, options);
  if (left && itself) co_await await_end(session.channel());
  if (left) co_return kSuccess;
  Failure failure = failure_of(left.error());
  co_return refuse(failure.status, failure.message);
}

}  // namespace

int leave_verb(const Arguments& arguments) {
  NodeOptions node;
  std::string grace;
  bool wait = false;
  std::vector<std::string> operands;
  OptionReader reader({.verb = "leave",
                       .description =
                           "Take a node out of the cluster: what runs there is ended, or awaited, then the node "
                           "ends.",
                       .usage = "[NODE]",
                       .examples = "  sluice leave\n  sluice leave n3 --grace 30s\n"});
  reader.value("--grace", grace, "DURATION", "for what runs there to end after SIGTERM (2s)");
  reader.flag("--wait", wait, "let what runs there end by itself");
  reader.operands(operands, 0, 1, "a node", OperandKind::node);
  add_node_options(reader, node);
  reader.settings(node.settings, {"grace"});
  if (auto read = reader.read(arguments); !read) return read.error().status;
  v1::LeaveRequest request;
  if (!operands.empty()) request.set_node(operands[0]);
  request.set_wait(wait);
  request.set_grace_ms(2000);
  if (!grace.empty()) {
    auto duration = parse_duration(grace);
    if (!duration) return refuse(kUsage, "leave: --grace: " + duration.error());
    request.set_grace_ms(
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count()));
  }
  return with_node(node, [request](NodeSession& session) { return leave(session, request); });
}

}  // namespace sluice::cli
