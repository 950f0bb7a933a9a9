// Calls over TCP as a node has them: a listener hands connections over, each is served, a client dials.
#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>

#include "base/log.h"
#include "net/listener.h"
#include "rpc/channel.h"
#include "rpc/connections_for_test.h"
#include "rpc/server.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 20s;

net::Awaitable<std::expected<std::string, Status>> echo(const CallInfo&, std::string request) { co_return request; }

struct Node {
  Node() {
    table.add({.name = "Test/Echo", .roles = {net::Role::read}, .handler = unary(echo)});
    auto opened = net::Listener::open_tcp(
        loop.get_executor(), {"127.0.0.1", 0}, [] { return nullptr; },
        [this](std::unique_ptr<net::Connection> connection) { serve_it(std::move(connection)); }, log);
    if (opened) listener = std::move(*opened);
  }

  void serve_it(std::shared_ptr<net::Connection> connection) {
    ++serving;
    boost::asio::co_spawn(loop, answer_and_serve(*this, std::move(connection)), [this](std::exception_ptr exception) {
      if (exception) std::rethrow_exception(exception);
      --serving;
    });
  }

  static net::Awaitable<void> answer_and_serve(Node& node, std::shared_ptr<net::Connection> connection) {
    bool accepted = co_await answer_first_frame(connection);
    if (accepted) co_await serve(connection, node.table, node.log);
  }

  Logger log{Logger::Options{.level = LogLevel::error}};
  DispatchTable table;
  int serving = 0;
  boost::asio::io_context loop{1};
  std::unique_ptr<net::Listener> listener;
};

net::Awaitable<void> dial_and_call(std::uint16_t port, std::vector<std::string>& answers) {
  net::DialOptions options;
  options.deadline = Clock::now() + kPatience;
  net::HostPort to{"127.0.0.1", port};
  auto connection = co_await net::dial(std::move(to), std::move(options));
  EXPECT_TRUE(connection.has_value());
  if (!connection) co_return;
  auto channel = co_await Channel::open(std::move(*connection), Clock::now() + kPatience);
  EXPECT_TRUE(channel.has_value());
  if (!channel) co_return;
  for (int i = 0; i < 3; ++i) {
    auto answer = co_await (*channel)->call("Test/Echo", std::to_string(i));
    answers.push_back(answer.value_or("no answer"));
  }
}

TEST(ChannelOverTcp, AListenersConnectionsAreServed) {
  Node node;
  ASSERT_NE(node.listener, nullptr);
  std::vector<std::string> answers;
  boost::asio::co_spawn(node.loop, dial_and_call(node.listener->endpoint().port, answers),
                        [&node](std::exception_ptr exception) {
                          if (exception) std::rethrow_exception(exception);
                          node.listener->close();
                        });
  node.loop.run_for(kPatience);
  EXPECT_THAT(answers, testing::ElementsAre("0", "1", "2"));
  EXPECT_EQ(node.serving, 0);
}

}  // namespace
}  // namespace sluice::rpc
