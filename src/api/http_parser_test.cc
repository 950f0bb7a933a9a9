#include "api/http_parser.h"

#include <gmock/gmock.h>

#include "base/random.h"

namespace sluice::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// What the parser makes of the pieces, as text: a head is its method and path, a body is joined.
std::vector<std::string> events_of(const std::vector<std::string>& pieces) {
  HttpParser parser;
  std::vector<std::string> events;
  std::string body;
  for (const std::string& piece : pieces) {
    parser.on_bytes(piece);
    while (true) {
      auto event = parser.poll_event();
      if (!event) {
        events.push_back("refused " + std::to_string(event.error().status));
        return events;
      }
      if (!*event) break;
      if (auto* head = std::get_if<RequestHead>(&**event)) {
        events.push_back(head->method + " " + head->path);
      } else if (auto* bytes = std::get_if<BodyBytes>(&**event)) {
        EXPECT_FALSE(bytes->bytes.empty());
        body += bytes->bytes;
      } else {
        events.push_back("body '" + std::exchange(body, {}) + "'");
      }
    }
  }
  return events;
}

std::vector<std::string> one_by_one(std::string_view text) {
  std::vector<std::string> pieces;
  for (char c : text) pieces.emplace_back(1, c);
  return pieces;
}

std::vector<std::string> by_chance(std::string_view text, SeededRandom& random) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    std::size_t size = std::min<std::size_t>(text.size(), 1 + random.below(20));
    pieces.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return pieces;
}

RequestHead head_of(std::string_view text) {
  HttpParser parser;
  parser.on_bytes(text);
  auto event = parser.poll_event();
  EXPECT_TRUE(event && *event);
  return event && *event ? std::get<RequestHead>(**event) : RequestHead{};
}

int refusal_of(std::string_view text) {
  HttpParser parser;
  parser.on_bytes(text);
  while (true) {
    auto event = parser.poll_event();
    if (!event) return event.error().status;
    if (!*event) return 0;
  }
}

TEST(HttpParser, FindsTheSameRequestsHoweverTheyArrive) {
  const std::string text =
      "GET /livez HTTP/1.1\r\nHost: n1\r\n\r\n"
      "POST /a?b=c HTTP/1.1\r\nHost: n1\r\nContent-Length: 5\r\n\r\nhello"
      "\r\n"
      "POST /b HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
      "POST /c HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"
      "GET / HTTP/1.0\r\n\r\n";
  auto expected = ElementsAre("GET /livez", "body ''", "POST /a", "body 'hello'", "POST /b", "body 'abc0123456789'",
                              "POST /c", "body ''", "GET /", "body ''");
  EXPECT_THAT(events_of({text}), expected);
  EXPECT_THAT(events_of(one_by_one(text)), expected);
  SeededRandom random(7);
  for (int i = 0; i < 200; ++i) EXPECT_THAT(events_of(by_chance(text, random)), expected);
}

TEST(HttpParser, ReadsTheHead) {
  auto head = head_of(
      "POST /v1/run?pipeline=a%20b HTTP/1.1\r\nHOST: n1:80\r\nX-Two:  1 \r\nx-two: 2\r\nExpect: 100-Continue\r\n"
      "Content-Length: 3\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(head.path, "/v1/run");
  EXPECT_EQ(head.query, "pipeline=a%20b");
  EXPECT_THAT(head.all("x-two"), ElementsAre("1", "2"));
  EXPECT_EQ(*head.find("host"), "n1:80");
  EXPECT_EQ(head.find("nope"), nullptr);
  EXPECT_EQ(head.content_length, 3u);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_FALSE(head.keep_alive);
}

TEST(HttpParser, KnowsWhoKeepsTheConnection) {
  EXPECT_TRUE(head_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
  EXPECT_FALSE(head_of("GET / HTTP/1.0\r\nHost: a\r\n\r\n").keep_alive);
  EXPECT_TRUE(head_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

// Two programs that see the end of a request at different places see different requests behind it.
TEST(HttpParser, RefusesABodyWhoseEndIsAmbiguous) {
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(refusal_of(start + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: 3, 3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: -3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: 0x3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Content-Length : 3\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: chunked, gzip\r\n\r\n"), 501);
  EXPECT_EQ(refusal_of(start + "Transfer-Encoding: identity\r\n\r\n"), 501);
  EXPECT_EQ(refusal_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(HttpParser, RefusesChunksThatAreNotWellFormed) {
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* chunks : {"x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "\r\n", " 1\r\n", "1 \r\n", "1\n", "3\r\nabcd\r\n",
                             "3\r\nabc\n0\r\n\r\n", "11112222333344445\r\n", "0\r\na\nb\r\n", "1;\x01\r\n"}) {
    // What ends without CR LF is refused at the latest when the line is too long.
    EXPECT_EQ(refusal_of(start + chunks + std::string(600, 'a')), 400) << testing::PrintToString(chunks);
  }
  EXPECT_EQ(refusal_of(start + "1;" + std::string(kChunkLineMax, 'x') + "\r\n"), 400);
  EXPECT_EQ(refusal_of(start + "0\r\n" + std::string(kTrailersMax, 'x')), 400);
  std::string many = start + "0\r\n";
  for (int i = 0; i < 3000; ++i) many += "a:b\r\n";
  EXPECT_EQ(refusal_of(many), 400);
}

TEST(HttpParser, HasLimits) {
  EXPECT_EQ(refusal_of("GET /" + std::string(kTargetMax, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
  EXPECT_EQ(refusal_of("GET /" + std::string(kHeadMax, 'a')), 414);
  EXPECT_EQ(refusal_of("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(kHeadMax, 'a')), 431);
  EXPECT_EQ(refusal_of("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(kHeadMax, 'a') + "\r\n\r\n"), 431);
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (std::size_t i = 1; i < kHeadersMax; ++i) many += "x: y\r\n";
  EXPECT_EQ(refusal_of(many + "\r\n"), 0);
  EXPECT_EQ(refusal_of(many + "x: y\r\n\r\n"), 431);
  EXPECT_THAT(events_of(one_by_one("GET / HTTP/1.1\r\nX: " + std::string(kHeadMax, 'a'))), ElementsAre("refused 431"));
}

TEST(HttpParser, RefusesWhatIsNoRequest) {
  for (const char* text :
       {"GET\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x01 ....",
        "GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\x01: c\r\n\r\n", "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "SLUI\1\2\3\4\5\6\7\r\n\r\n"})
    EXPECT_EQ(refusal_of(text), 400) << text;
  EXPECT_EQ(refusal_of("GET / HTTP/1.1\nHost: a\n\n"), 505);
  EXPECT_EQ(refusal_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
  EXPECT_EQ(refusal_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(refusal_of("GET / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n"), 417);
}

TEST(HttpParser, SaysTheSameAfterARefusalAndHoldsNothing) {
  HttpParser parser;
  parser.on_bytes("nonsense\r\n\r\n");
  EXPECT_FALSE(parser.poll_event());
  parser.on_bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  auto again = parser.poll_event();
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("not well-formed"));
}

TEST(HttpParser, GivesABodyAsItArrivesAndWaitsWithTheNextRequest) {
  HttpParser parser;
  parser.on_bytes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
  EXPECT_TRUE(std::holds_alternative<RequestHead>(**parser.poll_event()));
  EXPECT_EQ(std::get<BodyBytes>(**parser.poll_event()).bytes, "12345");
  EXPECT_FALSE(parser.poll_event()->has_value());
  EXPECT_TRUE(parser.inside_request());
  parser.on_bytes("67890GET");
  EXPECT_EQ(std::get<BodyBytes>(**parser.poll_event()).bytes, "67890");
  EXPECT_TRUE(std::holds_alternative<BodyEnd>(**parser.poll_event()));
  EXPECT_EQ(parser.buffered(), 3u);
}

}  // namespace
}  // namespace sluice::api
