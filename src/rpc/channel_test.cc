// Calls over real sockets: a channel and the server at its other end.
#include "rpc/channel.h"

#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <optional>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "base/log.h"
#include "rpc/call_multiplexer.h"
#include "rpc/connections_for_test.h"
#include "rpc/server.h"
#include "rpc/wakeup.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

constexpr auto kPatience = 20s;

net::Awaitable<std::expected<std::string, Status>> echo(const CallInfo&, std::string request) {
  if (request == "fail") co_return std::unexpected(Status{Code::not_found, "no such thing"});
  co_return request;
}

net::Awaitable<std::expected<std::string, Status>> who(const CallInfo& info, std::string) {
  std::string text = std::string(net::role_name(info.caller.connection.role)) + " " + info.caller.connection.name;
  if (info.caller.on_behalf_role)
    text += " for " + std::string(net::role_name(*info.caller.on_behalf_role)) + " " + info.caller.on_behalf_of;
  co_return text + " as " + std::string(net::role_name(info.caller.effective));
}

// Answers each message until there is none any more.
net::Awaitable<Status> echo_all(ServerCall& call) {
  while (true) {
    auto message = co_await call.read();
    if (!message) co_return message.error();
    if (!*message) co_return Status{Code::ok, "that was all"};
    auto written = co_await call.write("echo " + **message);
    if (!written) co_return written.error();
  }
}

/// What handlers that wait do and have seen.
struct Seen {
  int waiting = 0;
  int cancelled = 0;
  std::size_t written = 0;
  std::optional<Status> read_error, write_error;
  Wakeup changed;
};

net::Awaitable<void> wait_until(Seen& seen, std::function<bool()> condition) {
  while (!condition()) co_await seen.changed.wait();
}

// Waits for nothing but the end of the call.
net::Awaitable<Status> wait(ServerCall& call, Seen& seen) {
  ++seen.waiting;
  seen.changed.notify();
  co_await call.cancelled();
  auto read = co_await call.read();
  if (!read) seen.read_error = read.error();
  auto written = co_await call.write("too late");
  if (!written) seen.write_error = written.error();
  --seen.waiting;
  ++seen.cancelled;
  seen.changed.notify();
  co_return Status{};
}

net::Awaitable<Status> flood(ServerCall& call, Seen& seen) {
  while (true) {
    auto written = co_await call.write(std::string(10'000, 'x'));
    if (!written) break;
    ++seen.written;
  }
  ++seen.cancelled;
  seen.changed.notify();
  co_return Status{};
}

constexpr int kManyMessages = 100;  // of 10,000 bytes: several windows

// Many messages, and only then the end.
net::Awaitable<Status> tell_much(ServerCall& call) {
  for (int i = 0; i < kManyMessages; ++i)
    if (auto written = co_await call.write(std::string(10'000, 'x')); !written) co_return written.error();
  co_return Status{Code::ok, "told"};
}

// Reads, unless the caller goes away first.
net::Awaitable<Status> race(ServerCall& call, Seen& seen) {
  using namespace boost::asio::experimental::awaitable_operators;
  auto result = co_await (call.cancelled() || call.read());
  if (result.index() == 0) ++seen.cancelled;
  seen.changed.notify();
  co_return Status{Code::aborted, result.index() == 0 ? "cancelled" : "read"};
}

void stop_on_exception(std::exception_ptr exception) noexcept {
  if (exception) std::rethrow_exception(exception);
}

/// What both ends of a connection share in a test.
struct World {
  World() {
    RoleSet all{net::Role::admin, net::Role::node, net::Role::run};
    table.add({.name = "Test/Echo", .roles = all, .handler = unary(echo)});
    table.add({.name = "Test/Who", .roles = all, .handler = unary(who)});
    table.add({.name = "Test/EchoAll", .roles = all, .handler = echo_all});
    table.add({.name = "Test/Wait", .roles = all, .handler = [this](ServerCall& call) { return wait(call, seen); }});
    table.add({.name = "Test/Flood", .roles = all, .handler = [this](ServerCall& call) { return flood(call, seen); }});
    table.add({.name = "Test/TellMuch", .roles = all, .handler = tell_much});
    table.add({.name = "Test/Race", .roles = all, .handler = [this](ServerCall& call) { return race(call, seen); }});
  }

  ~World() {
    // A socket must not outlive its loop.
    kept.reset();
    server_connection.reset();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  std::unique_ptr<net::Connection> connect(UniqueFd socket, net::Role role = net::Role::admin) {
    return connection_on(loop.get_executor(), std::move(socket), role);
  }
  void spawn(net::Awaitable<void> task) { boost::asio::co_spawn(loop, std::move(task), stop_on_exception); }

  Logger log{Logger::Options{.level = LogLevel::error}};
  DispatchTable table;
  Seen seen;
  std::shared_ptr<net::Connection> server_connection;
  std::optional<ClientCall> kept;
  bool done = false;
  bool served = false;
  boost::asio::io_context loop{1};  // goes first: what it still holds refers to the rest
};

using Body = net::Awaitable<void> (*)(Channel&, World&);

net::Awaitable<void> serve_one(World& world, std::shared_ptr<net::Connection> connection) {
  bool accepted = co_await answer_first_frame(connection);
  if (accepted) co_await serve(connection, world.table, world.log);
  world.served = true;
  world.seen.changed.notify();
}

net::Awaitable<void> open_and_run(World& world, std::unique_ptr<net::Connection> connection, Body body) {
  auto channel = co_await Channel::open(std::move(connection), Clock::now() + kPatience);
  EXPECT_TRUE(channel.has_value());
  if (!channel) co_return;
  co_await body(**channel, world);
  world.done = true;
}

class ChannelTest : public testing::Test {
 protected:
  /// Runs `body` on a channel with a server behind it.
  void run(Body body, net::Role role = net::Role::admin) {
    auto [client, server] = socket_pair();
    world_.server_connection = world_.connect(std::move(server), role);
    world_.spawn(serve_one(world_, world_.server_connection));
    world_.spawn(open_and_run(world_, world_.connect(std::move(client)), body));
    world_.loop.run_for(kPatience);
    EXPECT_TRUE(world_.done) << "the test did not end";
    EXPECT_TRUE(world_.served) << "the server did not end";
  }

  World world_;
};

TEST_F(ChannelTest, AUnaryCallIsAnswered) {
  run([](Channel& channel, World&) -> net::Awaitable<void> {
    auto answer = co_await channel.call("Test/Echo", "hello");
    EXPECT_EQ(answer, "hello");
    EXPECT_EQ(channel.peer().name, "peer");
    EXPECT_TRUE(channel.alive());
  });
}

TEST_F(ChannelTest, AStatusComesInPlaceOfAnAnswer) {
  run([](Channel& channel, World&) -> net::Awaitable<void> {
    auto failed = co_await channel.call("Test/Echo", "fail");
    EXPECT_EQ(failed.error(), (Status{Code::not_found, "no such thing"}));
    auto unknown = co_await channel.call("Test/Nothing", "");
    EXPECT_EQ(unknown.error().code, Code::unimplemented);
    auto unnamed = co_await channel.call("no method's name", "");
    EXPECT_EQ(unnamed.error().code, Code::invalid_argument);
    auto again = co_await channel.call("Test/Echo", "still alive");
    EXPECT_EQ(again, "still alive");
  });
}

TEST_F(ChannelTest, TheServerKnowsWhoCalls) {
  run(
      [](Channel& channel, World&) -> net::Awaitable<void> {
        auto own = co_await channel.call("Test/Who", "");
        EXPECT_EQ(own, "node peer as node");
        CallOptions passed_on;
        passed_on.on_behalf_of = "ann";
        passed_on.on_behalf_role = net::Role::run;
        auto other = co_await channel.call("Test/Who", "", passed_on);
        EXPECT_EQ(other, "node peer for run ann as run");
        passed_on.on_behalf_role = net::Role::gateway;
        auto refused = co_await channel.call("Test/Who", "", passed_on);
        EXPECT_EQ(refused.error().code, Code::permission_denied);
      },
      net::Role::node);
}

TEST_F(ChannelTest, MessagesGoBothWaysUntilTheClientIsDone) {
  run([](Channel& channel, World&) -> net::Awaitable<void> {
    ClientCall call = channel.start("Test/EchoAll");
    for (int i = 0; i < 1000; ++i) {
      auto written = co_await call.write(std::to_string(i));
      EXPECT_TRUE(written.has_value());
      auto answer = co_await call.read();
      EXPECT_EQ(answer, "echo " + std::to_string(i));
    }
    call.writes_done();
    auto end = co_await call.read();
    EXPECT_EQ(end, std::nullopt);
    Status status = co_await call.finish();
    EXPECT_EQ(status, (Status{Code::ok, "that was all"}));
  });
}

TEST_F(ChannelTest, TheLargestMessageGoesThereAndBackAndALargerOneNowhere) {
  run([](Channel& channel, World&) -> net::Awaitable<void> {
    std::string largest(kMessageMax, 'x');
    auto answer = co_await channel.call("Test/Echo", largest);
    EXPECT_TRUE(answer == largest);
    auto refused = co_await channel.call("Test/Echo", largest + "x");
    EXPECT_EQ(refused.error().code, Code::resource_exhausted);
  });
}

net::Awaitable<void> call_in_a_row(Channel& channel, int calls, int& answered) {
  for (int i = 0; i < calls; ++i) {
    auto answer = co_await channel.call("Test/Echo", std::to_string(i));
    if (answer == std::to_string(i)) ++answered;
  }
}

TEST_F(ChannelTest, ManyCallsShareTheConnection) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    int answered = 0;
    int running = 200;
    for (int i = 0; i < 200; ++i)
      boost::asio::co_spawn(world.loop, call_in_a_row(channel, 20, answered), [&world, &running](std::exception_ptr) {
        --running;
        world.seen.changed.notify();
      });
    co_await wait_until(world.seen, [&running] { return running == 0; });
    EXPECT_EQ(answered, 200 * 20);
  });
}

TEST_F(ChannelTest, TheEndComesThoughNobodyReadsTheMessagesBeforeIt) {
  run([](Channel& channel, World&) -> net::Awaitable<void> {
    ClientCall call = channel.start("Test/TellMuch", {.timeout = kPatience});
    call.writes_done();
    Status status = co_await call.finish();
    EXPECT_EQ(status.code, Code::ok);
    EXPECT_EQ(status.message, "told");
  });
}

TEST_F(ChannelTest, DroppingACallCancelsItsHandler) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    {
      ClientCall call = channel.start("Test/Wait");
      co_await wait_until(world.seen, [&world] { return world.seen.waiting == 1; });
    }
    co_await wait_until(world.seen, [&world] { return world.seen.cancelled == 1; });
    EXPECT_EQ(world.seen.read_error->code, Code::cancelled);
    EXPECT_EQ(world.seen.write_error->code, Code::cancelled);
    EXPECT_TRUE(channel.alive());
  });
}

TEST_F(ChannelTest, ACancelledCallEndsAtOnceForItsCaller) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    ClientCall call = channel.start("Test/Wait");
    co_await wait_until(world.seen, [&world] { return world.seen.waiting == 1; });
    call.cancel();
    Status status = co_await call.finish();
    EXPECT_EQ(status.code, Code::cancelled);
    auto message = co_await call.read();
    EXPECT_EQ(message, std::nullopt);
  });
}

TEST_F(ChannelTest, ACallEndsAtItsDeadline) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    CallOptions options;
    options.timeout = 10ms;
    auto answer = co_await channel.call("Test/Wait", "", options);
    EXPECT_EQ(answer.error().code, Code::deadline_exceeded);
    co_await wait_until(world.seen, [&world] { return world.seen.cancelled == 1; });
    auto again = co_await channel.call("Test/Echo", "still alive");
    EXPECT_EQ(again, "still alive");
  });
}

TEST_F(ChannelTest, AHandlerMayReadUntilItsCallerGoesAway) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    ClientCall reads = channel.start("Test/Race");
    auto written = co_await reads.write("something");
    EXPECT_TRUE(written.has_value());
    Status status = co_await reads.finish();
    EXPECT_EQ(status, (Status{Code::aborted, "read"}));
    {
      ClientCall dropped = channel.start("Test/Race");
      auto answer = co_await channel.call("Test/Echo", "the server has seen the call before this one");
      EXPECT_TRUE(answer.has_value());
    }
    co_await wait_until(world.seen, [&world] { return world.seen.cancelled == 1; });
  });
}

TEST_F(ChannelTest, AReaderThatStopsStopsItsWriterAndNobodyElse) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    ClientCall stalled = channel.start("Test/Flood");
    auto first = co_await stalled.read();
    EXPECT_TRUE(first.has_value());
    // As many round trips as the window has messages: had the writer not stopped, it would have written more.
    for (int i = 0; i < 100; ++i) {
      auto answer = co_await channel.call("Test/Echo", "goes past");
      EXPECT_TRUE(answer.has_value());
    }
    EXPECT_LE(world.seen.written, (kWindow + kQueueLow) / 10'000 + 3);
    for (int i = 0; i < 100; ++i) {
      auto message = co_await stalled.read();
      EXPECT_TRUE(message.has_value());
    }
    EXPECT_GE(world.seen.written, 100u);
  });
}

TEST_F(ChannelTest, TheServersEndEndsEveryCall) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    ClientCall one = channel.start("Test/Wait");
    ClientCall two = channel.start("Test/Wait");
    co_await wait_until(world.seen, [&world] { return world.seen.waiting == 2; });
    world.server_connection->close();
    Status status = co_await one.finish();
    EXPECT_EQ(status.code, Code::unavailable);
    EXPECT_THAT(status.message, HasSubstr("the connection has ended"));
    Status other = co_await two.finish();
    EXPECT_EQ(other.code, Code::unavailable);
    net::NetError reason = co_await channel.closed();
    EXPECT_EQ(reason.kind, net::NetErrorKind::closed) << reason.message;
    EXPECT_FALSE(channel.alive());
    auto later = co_await channel.call("Test/Echo", "");
    EXPECT_EQ(later.error().code, Code::unavailable);
  });
  EXPECT_EQ(world_.seen.waiting, 0);  // every handler was awaited
  EXPECT_EQ(world_.seen.cancelled, 2);
}

TEST_F(ChannelTest, TheClientsEndCancelsEveryHandler) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    ClientCall call = channel.start("Test/Wait");
    ClientCall flood = channel.start("Test/Flood");
    co_await wait_until(world.seen, [&world] { return world.seen.waiting == 1; });
    channel.close();
    Status status = co_await call.finish();
    EXPECT_EQ(status.code, Code::unavailable);
    co_await wait_until(world.seen, [&world] { return world.served; });
    EXPECT_EQ(world.seen.cancelled, 2);
  });
}

TEST_F(ChannelTest, ACallMayOutliveItsChannel) {
  run([](Channel& channel, World& world) -> net::Awaitable<void> {
    world.kept.emplace(channel.start("Test/Wait"));
    co_return;
  });
  world_.kept.reset();
}

// --- peers that are none ---------------------------------------------------------------------------------------------

net::Awaitable<void> send_and_read_to_end(std::unique_ptr<net::Connection> connection, std::string bytes, bool& ended) {
  co_await connection->write(std::as_bytes(std::span(bytes)));
  std::byte buffer[4096];
  while (true) {
    auto size = co_await connection->read_some(buffer);
    if (!size) break;
  }
  ended = true;
}

TEST_F(ChannelTest, AStrangersBytesEndTheConnection) {
  auto [client, server] = socket_pair();
  world_.spawn(serve_one(world_, world_.connect(std::move(server))));
  bool ended = false;
  std::string bytes = net::encode(net::FirstFrame{}) + std::string(100, '\xff');
  world_.spawn(send_and_read_to_end(world_.connect(std::move(client)), bytes, ended));
  world_.loop.run_for(kPatience);
  EXPECT_TRUE(world_.served);
  EXPECT_TRUE(ended);
}

net::Awaitable<void> open_only(std::unique_ptr<net::Connection> connection, Duration patience,
                               std::optional<net::NetError>& error) {
  auto channel = co_await Channel::open(std::move(connection), Clock::now() + patience);
  if (!channel) error = channel.error();
}

net::Awaitable<void> answer_with(std::unique_ptr<net::Connection> connection, std::string bytes) {
  bool ended = false;
  co_await send_and_read_to_end(std::move(connection), std::move(bytes), ended);
}

net::NetError error_of_open(std::string answer, Duration patience = kPatience) {
  World world;
  auto [client, server] = socket_pair();
  std::optional<net::NetError> error;
  world.spawn(answer_with(world.connect(std::move(server)), std::move(answer)));
  world.spawn(open_only(world.connect(std::move(client)), patience, error));
  world.loop.run_for(kPatience);
  return error.value_or(net::NetError{net::NetErrorKind::system, "no error"});
}

TEST(ChannelOpen, AnotherMajorVersionIsToldApart) {
  net::NetError error =
      error_of_open(net::encode(net::FirstAnswer{{2, 0}, net::FirstStatus::wrong_version, "I speak 2.0"}));
  EXPECT_EQ(error.kind, net::NetErrorKind::wrong_version);
  EXPECT_EQ(error.message, "I speak 2.0");
}

TEST(ChannelOpen, ARefusalIsARoleThatMayNotCall) {
  EXPECT_EQ(error_of_open(net::encode(net::FirstAnswer{{1, 0}, net::FirstStatus::refused, "no"})).kind,
            net::NetErrorKind::wrong_role);
}

TEST(ChannelOpen, AnotherProtocolIsAnError) {
  EXPECT_EQ(error_of_open("HTTP/1.1 400 Bad Request\r\n\r\n").kind, net::NetErrorKind::protocol);
}

TEST(ChannelOpen, SilenceTimesOut) { EXPECT_EQ(error_of_open("", 10ms).kind, net::NetErrorKind::timed_out); }

net::Awaitable<void> wait_for_ever(std::unique_ptr<net::Connection> connection, bool& answered) {
  auto channel = co_await Channel::open(std::move(connection), Clock::now() + kPatience);
  ClientCall call = (*channel)->start("Test/EchoAll");
  auto written = co_await call.write("one");
  auto answer = co_await call.read();
  answered = written && answer;
  answer = co_await call.read();  // never comes
}

// What is under way then is freed: the sanitizer's leak check looks at that.
TEST(ChannelLifetime, ALoopMayEndInTheMiddle) {
#ifdef __SANITIZE_ADDRESS__
  // What waits for another coroutine, and for nothing of the loop's, is not freed with the loop. It must not crash either.
  __lsan::ScopedDisabler leaks_are_known;
#endif
  World world;
  auto [client, server] = socket_pair();
  bool answered = false;
  world.spawn(serve_one(world, world.connect(std::move(server))));
  world.spawn(wait_for_ever(world.connect(std::move(client)), answered));
  for (TimePoint end = Clock::now() + kPatience; !answered && Clock::now() < end;) world.loop.run_one_for(1s);
  EXPECT_TRUE(answered);
}

}  // namespace
}  // namespace sluice::rpc
