#include "api/http_run.h"

#include "api/http_door_for_test.h"

namespace sluice::api {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class HttpRuns : public HttpDoorTest {
 protected:
  HttpRuns() {
    options.role_of_token = [](std::string_view token) -> std::optional<net::Role> {
      return token == "runner" ? net::Role::run : net::Role::submit;
    };
    table.add({.name = std::string(kRunMethod),
               .roles = {net::Role::run, net::Role::admin},
               .client_streams = true,
               .server_streams = true,
               .mutating = true,
               .handler = [](rpc::ServerCall&) -> net::Awaitable<rpc::Status> { co_return rpc::Status{}; }});
  }

  static std::string run(const std::string& pipeline, const std::string& body = "", const std::string& more = "") {
    return post("/v1/run?pipeline=" + pipeline, body, "application/octet-stream", more);
  }
  static std::string chunked_run(const std::string& pipeline) {
    return "POST /v1/run?pipeline=" + pipeline +
           " HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: "
           "chunked\r\n\r\n";
  }
};

TEST_F(HttpRuns, PassTheBodyThroughAPipeline) {
  std::string answer = answer_to(run("cat&timeout=5s", "some\nlines\n"));
  EXPECT_EQ(status_in(answer), 200);
  EXPECT_THAT(answer, AllOf(HasSubstr("\r\nContent-Type: application/octet-stream\r\n"),
                            HasSubstr("\r\nTrailer: Sluice-Exit-Status, Sluice-Error\r\n"),
                            EndsWith("\r\n\r\nb\r\nsome\nlines\n\r\n0\r\nSluice-Exit-Status: 0\r\n\r\n")));
  EXPECT_EQ(run_door.last_text.pipeline, "cat");
  EXPECT_EQ(run_door.last_text.timeout, 5s);
  EXPECT_THAT(audit, testing::ElementsAre("sluice.v1.Flows/Run allowed"));
}

TEST_F(HttpRuns, ToldApartByHowTheyEnd) {
  EXPECT_THAT(answer_to(run("grep")), EndsWith("found\n\r\n0\r\nSluice-Exit-Status: 1\r\n\r\n"));
  std::string silent = answer_to(run("false"));
  EXPECT_EQ(status_in(silent), 422);
  EXPECT_THAT(silent, AllOf(HasSubstr("\r\nSluice-Exit-Status: 1\r\n"), HasSubstr("the pipeline ended with status 1")));
  std::string empty = answer_to(run("cat"));
  EXPECT_EQ(status_in(empty), 200);
  EXPECT_THAT(empty, AllOf(HasSubstr("\r\nSluice-Exit-Status: 0\r\n"), HasSubstr("\r\nContent-Length: 0\r\n")));
  std::string refused = answer_to(run("fail"));
  EXPECT_EQ(status_in(refused), 400);
  EXPECT_THAT(refused, HasSubstr("'fail' is no pipeline"));
  EXPECT_EQ(status_in(answer_to(run(""))), 400);
}

// A part of the output must not look like all of it.
TEST_F(HttpRuns, AFlowThatWasCutCutsTheConnectionUnlessTheClientReadsTrailers) {
  std::string cut = answer_to(run("lost"));
  EXPECT_THAT(cut, EndsWith("\r\n4\r\npart\r\n"));
  EXPECT_THAT(answer_to(run("lost", "", "TE: trailers\r\n")),
              EndsWith("part\r\n0\r\nSluice-Exit-Status: 125\r\nSluice-Error: node n2 was lost\r\n\r\n"));
}

TEST_F(HttpRuns, NeedTheRoleThatTheCallNeeds) {
  std::string answer = answer_to(run("cat", "x", "Authorization: Bearer submitter\r\n"), stranger());
  EXPECT_EQ(status_in(answer), 403);
  EXPECT_THAT(audit, testing::ElementsAre("sluice.v1.Flows/Run refused"));
  EXPECT_EQ(status_in(answer_to(run("cat", "x", "Authorization: Bearer runner\r\n"), stranger())), 200);
  EXPECT_EQ(run_door.last_caller.effective, net::Role::run);
  EXPECT_EQ(run_door.last_caller.connection.proof, net::Peer::Proof::token);
}

TEST_F(HttpRuns, NeedAClientThatCanTellAPartFromTheWhole) {
  EXPECT_EQ(
      status_in(answer_to("POST /v1/run?pipeline=cat HTTP/1.0\r\nContent-Type: application/octet-stream\r\n\r\n")),
      505);
}

TEST_F(HttpRuns, AnswerWhileTheBodyStillComes) {
  RawClient& client = connect();
  client.send(chunked_run("cat"));
  client.send("6\r\nfirst\n\r\n");
  EXPECT_TRUE(client.until_received("first\n"));
  client.send("7\r\nsecond\n\r\n0\r\n\r\n");
  EXPECT_TRUE(client.until_received("Sluice-Exit-Status: 0\r\n\r\n"));
  client.send(get("/livez"));  // the connection goes on
  EXPECT_THAT(client.until_end(), EndsWith("ok\n"));
}

TEST_F(HttpRuns, TakeARequestBehindTheBodyForTheNextOne) {
  RawClient& client = connect();
  client.send(chunked_run("cat") + "1\r\nx\r\n0\r\n\r\n" + get("/livez"));
  EXPECT_THAT(client.until_end(), AllOf(HasSubstr("Sluice-Exit-Status: 0"), EndsWith("ok\n")));
}

TEST_F(HttpRuns, EndThoughTheBodyWasNotReadToItsEnd) {
  RawClient& client = connect();
  client.send(chunked_run("head") + "1\r\nx\r\n");
  EXPECT_TRUE(client.until_received("first\n\r\n0\r\nSluice-Exit-Status: 0\r\n\r\n"));
  client.end_sending();
  client.until_end();
}

TEST_F(HttpRuns, AskForTheBodyOnceTheyHaveStarted) {
  RawClient& client = connect();
  client.send(
      "POST /v1/run?pipeline=cat HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/octet-stream\r\n"
      "Content-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.until_received("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("x");
  EXPECT_THAT(client.until_end(), HasSubstr("Sluice-Exit-Status: 0"));
  EXPECT_THAT(answer_to("POST /v1/run?pipeline=fail HTTP/1.1\r\nHost: localhost:7117\r\n"
                        "Content-Type: application/octet-stream\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"),
              Not(HasSubstr("100 Continue")));
}

TEST_F(HttpRuns, SlowTheClientDownWhenThePipelineReadsSlowly) {
  RawClient& client = connect();
  client.send(
      "POST /v1/run?pipeline=wait HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/octet-stream\r\n"
      "Content-Length: 100000000\r\n\r\n");
  std::string megabyte(1 << 20, 'x');
  std::size_t sent = 0;
  for (int i = 0; i < 300; ++i) {
    sent += client.send_some(megabyte);
    client.turn();
  }
  EXPECT_LT(sent, std::size_t{2} << 20);  // the pipe, the door's own buffer, and the kernel's
  EXPECT_LE(run_door.flow->most_held, FakeFlow::kPipe);
  run_door.flow->cancel();
  client.until_end();
}

TEST_F(HttpRuns, SlowThePipelineDownWhenTheClientReadsSlowly) {
  RawClient& client = connect();
  client.send(run("flood"));
  for (int i = 0; i < 300; ++i) client.turn();
  EXPECT_LT(run_door.flow->given, std::size_t{2} << 20);
  client.close();
  EXPECT_TRUE(client.until([&] { return serving == 0; }));
}

TEST_F(HttpRuns, EndWhenTheClientGoesAway) {
  for (bool body_ended : {true, false}) {
    run_door.flow = nullptr;
    RawClient& client = connect();
    client.send(body_ended ? run("wait", "x") : chunked_run("wait"));
    EXPECT_TRUE(client.until([&] { return run_door.flow != nullptr; }));
    client.close();
    EXPECT_TRUE(client.until([&] { return serving == 0; }));
  }
}

TEST_F(HttpRuns, EndWhenTheConnectionIsClosedFromOutsideEvenIfNothingMoves) {
  RawClient& client = connect();
  client.send(chunked_run("wait"));
  std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  for (int i = 0; i < 100; ++i) {
    client.send_some(chunk);
    client.turn();
  }
  connections.front()->close();
  EXPECT_TRUE(client.until([&] { return serving == 0; }));
}

TEST_F(HttpRuns, EndWhenTheBodyIsNotWellFormed) {
  RawClient& client = connect();
  client.send(chunked_run("cat") + "1\r\nx\r\nnonsense\r\n");
  EXPECT_THAT(client.until_end(), Not(HasSubstr("\r\n0\r\n")));
}

TEST_F(HttpRuns, SayWhatIsWrongWithABodyBeforeAnyOutput) {
  RawClient& client = connect();
  client.send(chunked_run("wait") + "0x1\r\nx\r\n0\r\n\r\n");
  std::string answer = client.until_end();
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("chunk"));
  RawClient& leaving = connect();
  leaving.send(chunked_run("wait") + "5\r\nx");
  leaving.end_sending();
  answer = leaving.until_end();
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("the body is not complete"));
}

TEST_F(HttpRuns, TakeTheirTimeFromTheHeaderOrTheParameter) {
  EXPECT_EQ(status_in(answer_to(run("cat", "x", "Sluice-Timeout: 7s\r\n"))), 200);
  EXPECT_EQ(run_door.last_text.timeout, 7s);
  EXPECT_EQ(status_in(answer_to(run("cat&timeout=5s", "x", "Sluice-Timeout: 7s\r\n"))), 200);
  EXPECT_EQ(run_door.last_text.timeout, 5s);
  EXPECT_EQ(status_in(answer_to(run("cat", "x", "Sluice-Timeout: soon\r\n"))), 400);
}

TEST_F(HttpRuns, RefuseAParameterThatIsSaidTwice) {
  std::string answer = answer_to(run("cat&pipeline=false", "x"));
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("the parameter 'pipeline' is said twice"));
}

}  // namespace
}  // namespace sluice::api
