#include "api/http_call.h"

#include "api/http_door_for_test.h"

namespace sluice::api {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string chunked_body(const std::string& answer) {
  std::string rest = body_in(answer), body;
  while (true) {
    std::size_t size = std::strtoull(rest.c_str(), nullptr, 16);
    std::size_t begin = rest.find("\r\n") + 2;
    if (size == 0) return body;
    body += rest.substr(begin, size);
    rest.erase(0, begin + size + 2);
  }
}

class HttpCalls : public HttpDoorTest {
 protected:
  void add(std::string name, rpc::Handler handler) {
    const ApiMethod* method = find_api_method(name);
    table.add({.name = name,
               .roles = {net::Role::admin},
               .client_streams = method->client_streams,
               .server_streams = method->server_streams,
               .handler = std::move(handler)});
  }

  static std::string event(v1::NodeEvent::Kind kind) {
    v1::NodeEvent made;
    made.set_kind(kind);
    return made.SerializeAsString();
  }
};

rpc::Handler failing(rpc::Status status) {
  return rpc::unary(
      [status](const rpc::CallInfo&, std::string) -> net::Awaitable<std::expected<std::string, rpc::Status>> {
        co_return std::unexpected(status);
      });
}

TEST_F(HttpCalls, TranslateARequestAndItsAnswer) {
  std::string got;
  add("sluice.v1.Flows/StopFlow",
      rpc::unary_of<v1::StopFlowRequest, v1::Flow>([&got](const rpc::CallInfo& info, v1::StopFlowRequest request)
                                                       -> net::Awaitable<std::expected<v1::Flow, rpc::Status>> {
        got = request.flow() + " " + std::to_string(request.grace_ms()) + " " + info.caller.connection.name;
        EXPECT_TRUE(info.deadline.has_value());
        v1::Flow flow;
        flow.set_state(v1::FLOW_STATE_ENDED);
        co_return flow;
      }));
  std::string answer = answer_to(post("/sluice.v1.Flows/StopFlow", R"({"flow":"f1","graceMs":"5"})"));
  EXPECT_EQ(got, "f1 5 root");
  EXPECT_THAT(body_in(answer), HasSubstr(R"("state":"FLOW_STATE_ENDED")"));
  EXPECT_THAT(body_in(answer), EndsWith("}\n"));
}

TEST_F(HttpCalls, TellErrorsByStatusAndCode) {
  add("sluice.v1.Flows/StopFlow", failing({rpc::Code::not_found, "no flow \"f1\"\n"}));
  std::string answer = answer_to(post("/sluice.v1.Flows/StopFlow", "{}"));
  EXPECT_EQ(status_in(answer), 404);
  EXPECT_EQ(body_in(answer), R"({"code":"NOT_FOUND","message":"no flow \"f1\"\n"})"
                             "\n");
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Flows/WaitFlow", "{}"))), 501);  // this table lacks it
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Flows/StopFlo", "{}"))), 404);
}

TEST_F(HttpCalls, TellWhatIsWrongWithARequest) {
  add("sluice.v1.Flows/StopFlow", failing({rpc::Code::internal, "never runs"}));
  for (const char* body : {"", "[]", "{", R"({"flo":"f1"})", R"({"flow":1})"}) {
    std::string answer = answer_to(post("/sluice.v1.Flows/StopFlow", body));
    EXPECT_EQ(status_in(answer), 400) << body;
    EXPECT_THAT(answer, HasSubstr(R"({"code":"INVALID_ARGUMENT","message":")")) << body;
  }
  EXPECT_THAT(answer_to(post("/sluice.v1.Flows/StopFlow", R"({"flo":"f1"})")), HasSubstr("did you mean 'flow'?"));
}

TEST_F(HttpCalls, StreamAnswersAsJsonLines) {
  add("sluice.v1.Cluster/WatchNodes", [](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    co_await call.write(event(v1::NodeEvent::KIND_PRESENT));
    co_await call.write(event(v1::NodeEvent::KIND_READY));
    co_return rpc::Status{rpc::Code::unavailable, "this node goes"};
  });
  std::string answer = answer_to(post("/sluice.v1.Cluster/WatchNodes", "{}"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: application/x-ndjson\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nTransfer-Encoding: chunked\r\n"));
  EXPECT_EQ(chunked_body(answer), R"({"kind":"KIND_PRESENT","timeUnixMs":"0"}
{"kind":"KIND_READY","timeUnixMs":"0"}
{"error":{"code":"UNAVAILABLE","message":"this node goes"}}
)");
  std::string old = answer_to(
      "POST /sluice.v1.Cluster/WatchNodes HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(body_in(old), chunked_body(answer));
}

TEST_F(HttpCalls, AStreamThatFailsAtOnceHasAStatus) {
  add("sluice.v1.Cluster/WatchNodes", [](rpc::ServerCall&) -> net::Awaitable<rpc::Status> {
    co_return rpc::Status{rpc::Code::resource_exhausted, "too many watch"};
  });
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Cluster/WatchNodes", "{}"))), 429);
}

TEST_F(HttpCalls, EachAnswerOfAStreamIsSentAtOnce) {
  add("sluice.v1.Cluster/WatchNodes", [](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    co_await call.write(event(v1::NodeEvent::KIND_READY));
    co_await call.cancelled();
    co_return rpc::Status{rpc::Code::cancelled, "over"};
  });
  RawClient& client = connect();
  client.send("POST /sluice.v1.Cluster/WatchNodes HTTP/1.1\r\nHost: localhost\r\nHost: localhost:7117\r\n\r\n");
  EXPECT_EQ(status_in(client.until_end()), 400);
  RawClient& other = connect();
  other.send(post("/sluice.v1.Cluster/WatchNodes", "{}"));
  EXPECT_TRUE(other.until_received("KIND_READY"));
  EXPECT_FALSE(other.ended);
}

TEST_F(HttpCalls, EndWhenTheClientGoesAway) {
  bool over = false;
  add("sluice.v1.Flows/WaitFlow", [&over](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    co_await call.cancelled();
    over = true;
    co_return rpc::Status{rpc::Code::cancelled, "over"};
  });
  RawClient& client = connect();
  client.send(post("/sluice.v1.Flows/WaitFlow", "{}"));
  for (int i = 0; i < 20; ++i) client.turn();
  EXPECT_FALSE(over);
  client.close();
  EXPECT_TRUE(client.until([&] { return over && serving == 0; }));
}

TEST_F(HttpCalls, HaveADeadline) {
  add("sluice.v1.Flows/WaitFlow", [](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    co_await call.cancelled();
    auto late = co_await call.write("");
    EXPECT_FALSE(late.has_value());
    co_return rpc::Status{};
  });
  std::string answer =
      answer_to(post("/sluice.v1.Flows/WaitFlow", "{}", "application/json", "Sluice-Timeout: 1ms\r\n"));
  EXPECT_EQ(status_in(answer), 504);
  EXPECT_THAT(answer, HasSubstr(R"("code":"DEADLINE_EXCEEDED")"));
  options.limits.call_time = 1ms;
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Flows/WaitFlow", "{}"))), 504);
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Flows/WaitFlow", "{}", "application/json", "Sluice-Timeout: x\r\n"))),
            400);
}

TEST_F(HttpCalls, AStreamsDeadlineIsItsLastLine) {
  add("sluice.v1.Cluster/WatchNodes", [](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    co_await call.write(event(v1::NodeEvent::KIND_READY));
    co_await call.cancelled();
    co_return rpc::Status{};
  });
  std::string answer =
      answer_to(post("/sluice.v1.Cluster/WatchNodes", "{}", "application/json", "Sluice-Timeout: 50ms\r\n"));
  EXPECT_THAT(chunked_body(answer),
              EndsWith("{\"error\":{\"code\":\"DEADLINE_EXCEEDED\",\"message\":\"the deadline has passed\"}}\n"));
}

TEST_F(HttpCalls, ReadJsonLines) {
  std::vector<std::string> got;
  add("sluice.v1.Files/Put", [&got](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    while (true) {
      auto message = co_await call.read();
      if (!message) co_return message.error();
      if (!*message) break;
      v1::PutRequest request;
      request.ParseFromString(**message);
      got.push_back(request.bytes());
    }
    co_await call.write(v1::PutResponse().SerializeAsString());
    co_return rpc::Status{};
  });
  std::string lines = "{\"bytes\":\"YQ==\"}\n\n{\"bytes\":\"Yg\"}";
  EXPECT_EQ(body_in(answer_to(post("/sluice.v1.Files/Put", lines, "application/x-ndjson"))), "{}\n");
  EXPECT_THAT(got, ElementsAre("a", "b"));
  std::string answer = answer_to(post("/sluice.v1.Files/Put", "{}\n{\"byte\":1}\n", "application/x-ndjson"));
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("did you mean 'bytes'?"));
}

TEST_F(HttpCalls, GoBothWaysAtOnce) {
  add("sluice.v1.Flows/Run", [](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    while (true) {
      auto message = co_await call.read();
      if (!message) co_return message.error();
      if (!*message) co_return rpc::Status{};
      v1::RunInput input;
      input.ParseFromString(**message);
      v1::RunOutput output;
      output.set_note("got " + input.start().name());
      co_await call.write(output.SerializeAsString());
    }
  });
  RawClient& client = connect();
  client.send(
      "POST /sluice.v1.Flows/Run HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/x-ndjson\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (std::string name : {"a", "b"}) {
    std::string line = "{\"start\":{\"name\":\"" + name + "\"}}\n";
    client.send("17\r\n" + line + "\r\n");
    EXPECT_TRUE(client.until_received("got " + name));
  }
  client.send("0\r\n\r\n");
  EXPECT_TRUE(client.until_received("\r\n0\r\n\r\n"));
  client.send(get("/livez"));  // the connection goes on
  EXPECT_THAT(client.until_end(), EndsWith("ok\n"));
}

TEST_F(HttpCalls, WaitForAClientThatReadsSlowly) {
  int written = 0;
  add("sluice.v1.Files/Get", [&written](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    v1::FileChunk chunk;
    chunk.set_bytes(std::string(100000, 'x'));
    for (; written < 100; ++written) {
      auto sent = co_await call.write(chunk.SerializeAsString());
      if (!sent) co_return sent.error();
    }
    co_return rpc::Status{};
  });
  RawClient& client = connect();
  client.send(post("/sluice.v1.Files/Get", "{}"));
  for (int i = 0; i < 200; ++i) client.turn();
  EXPECT_LT(written, 10);
  client.until_end();
  EXPECT_EQ(written, 100);
  EXPECT_THAT(client.received, EndsWith("\r\n0\r\n\r\n"));
}

TEST_F(HttpCalls, EndAtTheDeadlineOfAClientThatReadsNothing) {
  bool over = false;
  add("sluice.v1.Files/Get", [&over](rpc::ServerCall& call) -> net::Awaitable<rpc::Status> {
    v1::FileChunk chunk;
    chunk.set_bytes(std::string(100000, 'x'));
    while (co_await call.write(chunk.SerializeAsString())) {
    }
    over = true;
    co_return rpc::Status{};
  });
  RawClient& client = connect();
  client.send(post("/sluice.v1.Files/Get", "{}", "application/json", "Sluice-Timeout: 20ms\r\n"));
  const TimePoint deadline = Clock::now() + 20s;
  while (!(over && serving == 0) && Clock::now() < deadline) client.turn();
  EXPECT_TRUE(over);
}

}  // namespace
}  // namespace sluice::api
