#include "net/tls.h"

#include "base/random.h"
#include "net/certificates_for_test.h"
#include "net/tls_pair_for_test.h"

namespace sluice::net {
namespace {

TEST(Tls, CarriesBytesBothWaysAtOnce) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context);
  ASSERT_TRUE(pair.client.write(bytes_of("ping")));
  ASSERT_TRUE(pair.server.write(bytes_of("pong")));
  converse(pair);
  EXPECT_EQ(read_all(pair.server), "ping");
  EXPECT_EQ(read_all(pair.client), "pong");
}

TEST(Tls, TakesItsBytesOneAtATime) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context, kAlpnSluice, 1);
  ASSERT_TRUE(pair.server.handshaken());
  ASSERT_TRUE(pair.client.write(bytes_of("one byte after the other")));
  converse(pair, 1);
  EXPECT_EQ(read_all(pair.server, nullptr, 1), "one byte after the other");
}

TEST(Tls, ReadsManyRecordsAtOnceAndThroughASmallBuffer) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context);
  std::string sent(kTlsBatch, '\0');
  SeededRandom random(1);
  std::ranges::generate(sent, [&] { return static_cast<char>(random()); });
  for (std::size_t piece : {kTlsBatch, std::size_t{1000}}) {
    ASSERT_TRUE(pair.client.write(bytes_of(sent)));
    converse(pair, 7919);
    EXPECT_EQ(read_all(pair.server, nullptr, piece), sent);
  }
}

TEST(Tls, TakesBytesInPlace) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context);
  ASSERT_TRUE(pair.client.write(bytes_of("in place")));
  std::span<const std::byte> cipher = pair.client.cipher();
  std::span<std::byte> room = pair.server.cipher_room();
  ASSERT_GE(room.size(), std::size_t{16} << 10);
  std::ranges::copy(cipher, room.begin());
  ASSERT_TRUE(pair.server.on_cipher_in_room(cipher.size()));
  EXPECT_EQ(read_all(pair.server), "in place");
  pair.server.cipher_room();
  EXPECT_TRUE(pair.server.on_cipher_in_room(0));
}

TEST(Tls, GivesTheBytesThatCameWithTheEndOfTheHandshake) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair{.client = context.client(), .server = context.server()};
  ASSERT_TRUE(pair.client.start());
  ASSERT_TRUE(carry(pair.client, pair.server, kTlsBatch));
  ASSERT_TRUE(carry(pair.server, pair.client, kTlsBatch));
  ASSERT_TRUE(pair.client.handshaken());
  ASSERT_TRUE(pair.client.write(bytes_of("early")));
  ASSERT_TRUE(carry(pair.client, pair.server, kTlsBatch));
  EXPECT_EQ(read_all(pair.server), "early");
}

TEST(Tls, SaysWhenThePeerEndedInGoodOrder) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context);
  ASSERT_TRUE(pair.client.write(bytes_of("the last words")));
  pair.client.close();
  pair.client.close();
  converse(pair);
  std::optional<NetError> end;
  EXPECT_EQ(read_all(pair.server, &end), "the last words");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->kind, NetErrorKind::closed);
  EXPECT_EQ(pair.client.write(bytes_of("more")).error().kind, NetErrorKind::cancelled);
  EXPECT_TRUE(pair.server.write(bytes_of("the other direction is still open")));
}

TEST(Tls, EndsWithoutAHandshakeSayNothing) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  TlsSession session = context.server();
  session.close();
  EXPECT_TRUE(session.cipher().empty());
  std::byte into[8];
  EXPECT_EQ(session.read(into), 0u);
}

TEST(Tls, TellsWhatIsNoTls) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  for (std::string_view text : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\n\n\n\n\n\n\n\n\n"}) {
    TlsSession server = context.server();
    auto result = server.on_cipher(bytes_of(text));
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().kind, NetErrorKind::protocol) << text;
    EXPECT_EQ(server.on_cipher(bytes_of("more")).error().kind, NetErrorKind::protocol);
    TlsSession client = context.client();
    ASSERT_TRUE(client.start());
    EXPECT_EQ(client.on_cipher(bytes_of(text)).error().kind, NetErrorKind::protocol) << text;
  }
}

TEST(Tls, RefusesAHelloThatClaimsToBeHuge) {
  TestAuthority authority;
  TlsSession server = context_of(authority.issue()).server();
  auto result = server.on_cipher(bytes_of(std::string_view("\x16\x03\x01\x40\x00\x01\x01\xff\xff", 9)));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, NetErrorKind::protocol);
}

// Every state meets damaged bytes: it answers with an error or waits for more, and stays in one piece.
TEST(Tls, SurvivesDamageAnywhere) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    Pair pair{.client = context.client(), .server = context.server()};
    ASSERT_TRUE(pair.client.start());
    std::size_t to_damage = random.below(4000);
    auto carry_damaged = [&](TlsSession& from, TlsSession& to) {
      std::vector<std::byte> some(from.cipher().begin(), from.cipher().end());
      from.consume_cipher(some.size());
      if (to_damage < some.size()) some[to_damage] ^= static_cast<std::byte>(1 + random.below(255));
      to_damage -= std::min(to_damage, some.size() + 1);
      if (!to.on_cipher(some)) return;
      read_all(to);
    };
    for (int round = 0; round < 4; ++round) {
      carry_damaged(pair.client, pair.server);
      carry_damaged(pair.server, pair.client);
      for (TlsSession* session : {&pair.client, &pair.server})
        if (session->handshaken()) static_cast<void>(session->write(bytes_of("some bytes to damage")));
    }
  }
}

TEST(Tls, NoticesEveryChangedByteOfItsData) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair first = shake_hands(context, context);
  ASSERT_TRUE(first.client.write(bytes_of("text")));
  std::size_t size = first.client.cipher().size();
  for (std::size_t at = 0; at < size; ++at) {
    Pair pair = shake_hands(context, context);
    ASSERT_TRUE(pair.client.write(bytes_of("text")));
    std::vector<std::byte> cipher(pair.client.cipher().begin(), pair.client.cipher().end());
    cipher[at] ^= std::byte{1};
    ASSERT_TRUE(pair.server.on_cipher(cipher));
    EXPECT_EQ(read_all(pair.server), "") << at;
    EXPECT_FALSE(pair.server.handshaken() && !pair.server.cipher().empty()) << at;
  }
}

// More records than one key may encrypt. The announcement is a record of its own.
TEST(Tls, ChangesItsKeyInTime) {
  TestAuthority authority;
  TlsContext context = context_of(authority.issue());
  Pair pair = shake_hands(context, context);
  int announced = 0;
  std::size_t usual = 0;
  for (int i = 0; i < 70'000; ++i) {
    ASSERT_TRUE(pair.client.write(bytes_of("x")));
    std::size_t size = pair.client.cipher().size();
    if (i == 0) usual = size;
    if (size > usual) ++announced;
    ASSERT_TRUE(carry(pair.client, pair.server, kTlsBatch));
    std::byte into[2];
    ASSERT_EQ(pair.server.read(into), 1u);
  }
  EXPECT_EQ(announced, 1);
}

}  // namespace
}  // namespace sluice::net
