#include "net/connection.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/random.h"
#include "net/certificates_for_test.h"
#include "net/loop_for_test.h"
#include "net/tls_pair_for_test.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;

std::string random_text(std::size_t size) {
  SeededRandom random(size);
  std::string text(size, '\0');
  std::ranges::generate(text, [&] { return static_cast<char>(random()); });
  return text;
}

struct Ends {
  std::unique_ptr<Connection> client;
  std::unique_ptr<Connection> server;
};

/// Two ends of a connection in one loop: TLS over a pair of Unix sockets, or the pair alone.
class ConnectionTest : public testing::TestWithParam<bool> {
 protected:
  Ends connect() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    Connection::Parts client{.socket = UniqueFd(fds[0]), .remote = "the server"};
    Connection::Parts server{.socket = UniqueFd(fds[1]), .remote = "the client"};
    if (GetParam()) {
      Pair pair = shake_hands(context_, context_);
      client.tls = std::move(pair.client);
      server.tls = std::move(pair.server);
    }
    return {.client = std::make_unique<Connection>(loop_.executor(), std::move(client)),
            .server = std::make_unique<Connection>(loop_.executor(), std::move(server))};
  }

  TestLoop loop_;
  TestAuthority authority_;
  TlsContext context_ = context_of(authority_.issue());
};

INSTANTIATE_TEST_SUITE_P(Kinds, ConnectionTest, testing::Bool(),
                         [](const auto& of) { return of.param ? "Tls" : "Plain"; });

TEST_P(ConnectionTest, CarriesBytesBothWays) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of("ping"))));
  EXPECT_EQ(loop_.run(read_exactly(*ends.server, 4)), "ping");
  ASSERT_TRUE(loop_.run(ends.server->write(bytes_of("pong"))));
  EXPECT_EQ(loop_.run(read_exactly(*ends.client, 4)), "pong");
  EXPECT_EQ(ends.client->encrypted(), GetParam());
  EXPECT_EQ(ends.client->alpn(), GetParam() ? kAlpnSluice : "");
  EXPECT_EQ(ends.client->peer().name, GetParam() ? "n1" : "");
  EXPECT_EQ(ends.client->remote(), "the server");
}

// Ten megabytes each way at once, more than any buffer holds: both writes wait for both reads.
TEST_P(ConnectionTest, ReadsAndWritesAtTheSameTime) {
  Ends ends = connect();
  std::string text = random_text(10'000'000);
  for (Connection* end : {ends.client.get(), ends.server.get()})
    loop_.start([](Connection* writer, const std::string* sent) -> Awaitable<void> {
      EXPECT_TRUE(co_await writer->write(std::as_bytes(std::span(*sent))));
    }(end, &text));
  std::optional<std::string> at_client;
  loop_.start([](Connection* reader, std::size_t size, std::optional<std::string>* got) -> Awaitable<void> {
    *got = (co_await read_exactly(*reader, size)).value_or("");
  }(ends.client.get(), text.size(), &at_client));
  EXPECT_EQ(loop_.run(read_exactly(*ends.server, text.size())), text);
  ASSERT_TRUE(loop_.run(ends.server->write(bytes_of("!"))));
  loop_.poll();
  while (!at_client) loop_.poll();
  EXPECT_EQ(at_client, text);
}

TEST_P(ConnectionTest, ReadsThroughASmallBuffer) {
  Ends ends = connect();
  std::string text = random_text(40'000);
  loop_.start([](Connection* writer, const std::string* sent) -> Awaitable<void> {
    EXPECT_TRUE(co_await writer->write(std::as_bytes(std::span(*sent))));
    writer->close();
  }(ends.client.get(), &text));
  std::string got;
  std::byte some[7];
  while (true) {
    auto size = loop_.run(ends.server->read_some(some));
    if (!size) break;
    got.append(reinterpret_cast<const char*>(some), *size);
  }
  EXPECT_EQ(got, text);
}

TEST_P(ConnectionTest, TellsThatThePeerEndedInGoodOrder) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of("the last words"))));
  ends.client->close();
  auto [text, error] = loop_.run(read_to_end(*ends.server));
  EXPECT_EQ(text, "the last words");
  EXPECT_EQ(error.kind, NetErrorKind::closed);
}

// Bytes of ours that the peer has not read make the kernel say "reset" behind the end.
TEST_P(ConnectionTest, EndsInGoodOrderEvenWithBytesThatNobodyRead) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.server->write(bytes_of("not read"))));
  ends.client->close();
  auto [text, error] = loop_.run(read_to_end(*ends.server));
  EXPECT_EQ(error.kind, NetErrorKind::closed);
}

TEST_P(ConnectionTest, CancelsWhatIsUnderWayWhenItIsClosed) {
  Ends ends = connect();
  std::vector<NetErrorKind> ended;
  loop_.start([](Connection* reader, std::vector<NetErrorKind>* kinds) -> Awaitable<void> {
    std::byte some[8];
    auto got = co_await reader->read_some(some);
    if (!got) kinds->push_back(got.error().kind);
  }(ends.client.get(), &ended));
  std::string text = random_text(10'000'000);
  loop_.start([](Connection* writer, const std::string* sent, std::vector<NetErrorKind>* kinds) -> Awaitable<void> {
    auto written = co_await writer->write(std::as_bytes(std::span(*sent)));
    if (!written) kinds->push_back(written.error().kind);
  }(ends.client.get(), &text, &ended));
  loop_.poll();
  EXPECT_TRUE(ended.empty());
  ends.client->close();
  ends.client->close();
  ends.client.reset();
  loop_.poll();
  EXPECT_THAT(ended, testing::ElementsAre(NetErrorKind::cancelled, NetErrorKind::cancelled));
}

TEST_P(ConnectionTest, RefusesToBeUsedOnceItIsClosed) {
  Ends ends = connect();
  ends.client->close();
  std::byte some[8];
  EXPECT_EQ(loop_.run(ends.client->read_some(some)).error().kind, NetErrorKind::cancelled);
  EXPECT_EQ(loop_.run(ends.client->write(bytes_of("x"))).error().kind, NetErrorKind::cancelled);
}

TEST_P(ConnectionTest, FailsToWriteToAPeerThatWent) {
  Ends ends = connect();
  ends.server.reset();
  auto written = loop_.run(ends.client->write(bytes_of("hello?")));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, NetErrorKind::cut);
}

TEST_P(ConnectionTest, PutsBytesBackInFront) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of("POST / HTTP/1.1"))));
  EXPECT_EQ(loop_.run(read_exactly(*ends.server, 5)), "POST ");
  ends.server->unread(bytes_of("T "));
  ends.server->unread(bytes_of("POS"));
  std::byte two[2];
  EXPECT_EQ(loop_.run(ends.server->read_some(two)), 2u);
  EXPECT_EQ(loop_.run(read_exactly(*ends.server, 13)), "ST / HTTP/1.1");
}

TEST_P(ConnectionTest, GoesOnAfterItsPartsWereMoved) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of("onetwo"))));
  EXPECT_EQ(loop_.run(read_exactly(*ends.server, 3)), "one");
  ends.server->unread(bytes_of("1"));
  Connection::Parts parts = ends.server->release();
  ends.server.reset();
  EXPECT_EQ(parts.unread.size(), 1u);
  TestLoop other;
  Connection moved(other.executor(), std::move(parts));
  EXPECT_EQ(other.run(read_exactly(moved, 4)), "1two");
  ASSERT_TRUE(other.run(moved.write(bytes_of("three"))));
  EXPECT_EQ(loop_.run(read_exactly(*ends.client, 5)), "three");
  moved.close();
}

// A fast peer must not keep the loop from everybody else.
TEST_P(ConnectionTest, LetsOthersRunWhileBytesKeepComing) {
  Ends ends = connect();
  std::string text = random_text(1000);
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of(text))));
  bool other_ran = false;
  std::size_t read_before = 0;
  loop_.start([](Connection* reader, bool* other, std::size_t* before) -> Awaitable<void> {
    std::byte one[1];
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE(co_await reader->read_some(one));
      if (!*other) ++*before;
    }
  }(ends.server.get(), &other_ran, &read_before));
  loop_.start([](bool* other) -> Awaitable<void> {
    *other = true;
    co_return;
  }(&other_ran));
  while (read_before < 1000 && !other_ran) loop_.poll();
  EXPECT_LT(read_before, 200u);
  ends.server->close();
  loop_.poll();
}

class TlsConnectionTest : public ConnectionTest {};
INSTANTIATE_TEST_SUITE_P(Kinds, TlsConnectionTest, testing::Values(true));

TEST_P(TlsConnectionTest, TellsAnEndWithoutAWordFromAGoodOne) {
  Ends ends = connect();
  ASSERT_TRUE(loop_.run(ends.client->write(bytes_of("half of it"))));
  Connection::Parts parts = ends.client->release();
  parts.socket.reset();
  auto [text, error] = loop_.run(read_to_end(*ends.server));
  EXPECT_EQ(text, "half of it");
  EXPECT_EQ(error.kind, NetErrorKind::cut);
}

TEST_P(TlsConnectionTest, SendsTheAlertWhenThePeerSendsGarbage) {
  Ends ends = connect();
  Connection::Parts parts = ends.client->release();
  std::string garbage("\x17\x03\x03\x00\x20", 5);
  garbage.append(32, 'x');
  ASSERT_EQ(::send(parts.socket.get(), garbage.data(), garbage.size(), 0), static_cast<ssize_t>(garbage.size()));
  auto [text, error] = loop_.run(read_to_end(*ends.server));
  EXPECT_EQ(error.kind, NetErrorKind::protocol);
  char alert[64];
  EXPECT_GT(::recv(parts.socket.get(), alert, sizeof alert, MSG_DONTWAIT), 0);
}

}  // namespace
}  // namespace sluice::net
