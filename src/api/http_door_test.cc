#include "api/http_door.h"

#include "api/http_door_for_test.h"

namespace sluice::api {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class HttpDoor : public HttpDoorTest {
 protected:
  HttpDoor() {
    auto list = [](const rpc::CallInfo&,
                   v1::ListNodesRequest request) -> net::Awaitable<std::expected<v1::ListNodesResponse, rpc::Status>> {
      v1::ListNodesResponse response;
      response.add_nodes()->set_name(request.all() ? "all" : "n1");
      co_return response;
    };
    table.add({.name = "sluice.v1.Cluster/ListNodes",
               .roles = {net::Role::read, net::Role::admin},
               .handler = rpc::unary_of<v1::ListNodesRequest, v1::ListNodesResponse>(list)});
    table.add({.name = "sluice.v1.Cluster/Leave",
               .roles = {net::Role::operate, net::Role::admin},
               .mutating = true,
               .handler = rpc::unary_of<v1::LeaveRequest, v1::LeaveResponse>(
                   [](const rpc::CallInfo&,
                      v1::LeaveRequest) -> net::Awaitable<std::expected<v1::LeaveResponse, rpc::Status>> {
                     co_return v1::LeaveResponse();
                   })});
  }
};

TEST_F(HttpDoor, SaysThatItLivesAndIsReadyWithoutAskingWhoIsThere) {
  bool ready = false;
  options.is_ready = [&] { return ready; };
  EXPECT_THAT(answer_to(get("/livez"), stranger()),
              testing::AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("\r\n\r\nok\n")));
  EXPECT_EQ(status_in(answer_to(get("/readyz"), stranger())), 503);
  ready = true;
  EXPECT_EQ(status_in(answer_to(get("/readyz"), stranger())), 200);
}

TEST_F(HttpDoor, ListsNodes) {
  std::string answer = answer_to(get("/v1/nodes"));
  EXPECT_EQ(status_in(answer), 200);
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nDate: "));
  EXPECT_THAT(body_in(answer), StartsWith(R"({"nodes":[{"id":"","name":"n1",)"));
  EXPECT_THAT(body_in(answer_to(get("/v1/nodes?all"))), HasSubstr(R"("name":"all")"));
  answer = answer_to(get("/v1/nodes?al"));
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("did you mean 'all'?"));
}

TEST_F(HttpDoor, AnswersHeadWithTheHeadAlone) {
  std::string whole = answer_to(get("/v1/nodes"));
  std::string head = answer_to("HEAD /v1/nodes HTTP/1.1\r\nHost: localhost:7117\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(body_in(head), "");
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: " + std::to_string(body_in(whole).size()) + "\r\n"));
}

// --- who calls ----------------------------------------------------------------------------------------------------

TEST_F(HttpDoor, AsksAStrangerForProof) {
  for (const char* path : {"/v1/nodes", "/nowhere"}) {
    std::string answer = answer_to(get(path), stranger());
    EXPECT_EQ(status_in(answer), 401);
    EXPECT_THAT(answer, HasSubstr("\r\nWWW-Authenticate: Bearer"));
    EXPECT_THAT(answer, HasSubstr(R"("code":"UNAUTHENTICATED")"));
  }
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Authorization: Bearer wrong\r\n"), stranger())), 401);
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Authorization: Bearer reader\r\n"), stranger())), 200);
}

TEST_F(HttpDoor, ATokenHasItsRoleAndNoMore) {
  std::string leave = post("/sluice.v1.Cluster/Leave", "{}", "application/json", "Authorization: Bearer reader\r\n");
  std::string answer = answer_to(leave, stranger());
  EXPECT_EQ(status_in(answer), 403);
  EXPECT_THAT(answer, HasSubstr("the role read may not call sluice.v1.Cluster/Leave"));
  EXPECT_THAT(audit, testing::ElementsAre("sluice.v1.Cluster/Leave refused"));
  audit.clear();
  EXPECT_EQ(status_in(answer_to(leave, admin())), 200);  // who is known otherwise needs no token
  EXPECT_THAT(audit, testing::ElementsAre("sluice.v1.Cluster/Leave allowed"));
}

TEST_F(HttpDoor, ACertificateHasItsRole) {
  net::Peer peer{.proof = net::Peer::Proof::certificate, .role = net::Role::read, .name = "reader"};
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes"), peer)), 200);
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Cluster/Leave", "{}"), peer)), 403);
}

TEST_F(HttpDoor, WithoutTokensNoneIsGood) {
  options.role_of_token = nullptr;
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Authorization: Bearer reader\r\n"), stranger())), 401);
}

// --- pages of other sites -----------------------------------------------------------------------------------------

TEST_F(HttpDoor, RefusesPagesOfOtherSitesAndForms) {
  EXPECT_EQ(status_in(answer_to("GET /v1/nodes HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")), 421);
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Origin: http://evil.example\r\n"))), 403);
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Origin: null\r\n"))), 403);
  EXPECT_EQ(status_in(answer_to(get("/v1/nodes", "Sec-Fetch-Site: cross-site\r\n"))), 403);
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Cluster/Leave", "a=b", "application/x-www-form-urlencoded"))), 415);
  EXPECT_EQ(status_in(answer_to(post("/sluice.v1.Cluster/Leave", "{}", "text/plain"))), 415);
  EXPECT_EQ(status_in(answer_to(post("/v1/run?pipeline=cat", "x", "text/plain"))), 415);
  EXPECT_THAT(audit, testing::IsEmpty());
}

TEST_F(HttpDoor, AllowsNoOtherSiteToAsk) {
  for (const char* origin : {"http://evil.example", "http://localhost:7117"}) {
    std::string answer = answer_to("OPTIONS /v1/run HTTP/1.1\r\nHost: localhost:7117\r\nConnection: close\r\nOrigin: " +
                                   std::string(origin) + "\r\nAccess-Control-Request-Method: POST\r\n\r\n");
    EXPECT_EQ(status_in(answer), 405);
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: POST\r\n"));
    EXPECT_THAT(answer, Not(HasSubstr("Access-Control")));
  }
}

// --- connections --------------------------------------------------------------------------------------------------

TEST_F(HttpDoor, AnswersRequestsInTheirOrderOnOneConnection) {
  RawClient& client = connect();
  std::string keep = "GET /livez HTTP/1.1\r\nHost: localhost:7117\r\n\r\n";
  client.send(keep + "GET /nowhere HTTP/1.1\r\nHost: localhost:7117\r\n\r\n" + get("/v1/nodes") + keep);
  std::string answers = client.until_end();
  EXPECT_THAT(answers, StartsWith("HTTP/1.1 200 OK"));
  std::size_t second = answers.find("HTTP/1.1 404");
  std::size_t third = answers.find("HTTP/1.1 200 OK", 1);
  EXPECT_LT(second, third);
  EXPECT_EQ(answers.find("HTTP/1.1", third + 1), answers.npos);  // the third ended the connection
}

TEST_F(HttpDoor, ServesClientsOfHttp10) {
  std::string answer = answer_to("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
  RawClient& client = connect();
  client.send("GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_TRUE(client.until_received("\r\nConnection: keep-alive\r\n"));
  client.send("GET /nowhere HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.until_end(), HasSubstr("404 Not Found"));
}

TEST_F(HttpDoor, AnswersAClientThatHasEndedItsOwnDirection) {
  RawClient& client = connect();
  client.send(
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n"
      "Content-Length: 2\r\n\r\n{}");
  client.end_sending();
  EXPECT_EQ(status_in(client.until_end()), 200);
}

TEST_F(HttpDoor, TellsWhatIsNoRequestAndEnds) {
  std::string answer = answer_to("\x16\x03\x01 hello\r\n\r\n");
  EXPECT_EQ(status_in(answer), 400);
  EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_EQ(
      status_in(answer_to("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")),
      400);
  EXPECT_EQ(status_in(answer_to("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n")), 414);
  EXPECT_EQ(status_in(answer_to("GET / HTTP/1.1\r\nA: " + std::string(20000, 'a'))), 431);
}

TEST_F(HttpDoor, GivesAHeadLimitedTime) {
  options.limits.head_time = 1ms;
  for (const char* start : {"G", "GET /livez HTTP/1.1\r\n", "GET /livez HTTP/1.1\r\nHo"})
    EXPECT_EQ(status_in(answer_to(start)), 408) << start;
  EXPECT_EQ(answer_to(""), "");  // who says nothing is told nothing
}

TEST_F(HttpDoor, EndsAnIdleConnection) {
  options.limits.idle_time = 1ms;
  RawClient& client = connect();
  client.send("GET /livez HTTP/1.1\r\nHost: localhost:7117\r\n\r\n");
  EXPECT_THAT(client.until_end(), EndsWith("ok\n"));
}

TEST_F(HttpDoor, EndsWhenItsConnectionIsClosedFromOutside) {
  RawClient& client = connect();
  client.send("GET /livez HTTP/1.1\r\nHost: localhost:7117\r\n\r\n");
  EXPECT_TRUE(client.until_received("ok\n"));
  connections.front()->close();
  EXPECT_TRUE(client.until([&] { return serving == 0; }));
}

// --- bodies -------------------------------------------------------------------------------------------------------

TEST_F(HttpDoor, TakesABodyInChunks) {
  std::string answer = answer_to(
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{\"all\r\n7\r\n\":true}\r\n0\r\n\r\n");
  EXPECT_THAT(body_in(answer), HasSubstr(R"("name":"all")"));
}

TEST_F(HttpDoor, AsksForABodyThatItWants) {
  RawClient& client = connect();
  client.send(
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n"
      "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.until_received("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("{}");
  EXPECT_THAT(client.until_end(), HasSubstr("\r\n\r\nHTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpDoor, AsksForNoBodyThatItRefuses) {
  for (const char* type : {"text/plain", "application/json"}) {
    RawClient& client = connect(std::string_view(type) == "text/plain" ? admin() : stranger());
    client.send("POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: " +
                std::string(type) + "\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_THAT(client.until_end(), Not(HasSubstr("100 Continue")));
    EXPECT_THAT(client.received, HasSubstr("\r\nConnection: close\r\n"));  // whether it comes is not known
  }
}

TEST_F(HttpDoor, LimitsTheSizeOfABody) {
  std::string head =
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n";
  EXPECT_EQ(status_in(answer_to(head + "Content-Length: 4194305\r\n\r\n")), 413);
  RawClient& client = connect();
  client.send(head + "Transfer-Encoding: chunked\r\n\r\n500000\r\n");
  std::string megabyte(1 << 20, ' ');
  for (int i = 0; i < 5; ++i) client.send(megabyte);
  EXPECT_EQ(status_in(client.until_end()), 413);
}

TEST_F(HttpDoor, ReadsARefusedBodyForAMomentSoThatTheAnswerArrives) {
  options.limits.linger_time = 20s;  // the client ends sooner
  RawClient& client = connect();
  client.send("POST /nowhere HTTP/1.1\r\nHost: localhost:7117\r\nContent-Length: 3000000\r\n\r\n");
  client.send(std::string(3000000, 'x'));
  client.end_sending();
  EXPECT_EQ(status_in(client.until_end()), 404);
}

TEST_F(HttpDoor, EndsABodyThatComesTooSlowly) {
  options.limits.progress_time = 1ms;
  std::string answer = answer_to(
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n"
      "Content-Length: 20\r\n\r\n{");
  EXPECT_EQ(status_in(answer), 408);
}

TEST_F(HttpDoor, GivesUpOnABodyThatEndsTooSoon) {
  RawClient& client = connect();
  client.send(
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n"
      "Content-Length: 20\r\n\r\n{");
  client.end_sending();
  EXPECT_THAT(client.until_end(), HasSubstr("the body is not complete"));
}

TEST_F(HttpDoor, HoldsNoMoreOfBodiesThatArriveThanItsBudget) {
  options.limits.bodies = std::make_shared<BodyBudget>(5000);
  std::string head =
      "POST /sluice.v1.Cluster/ListNodes HTTP/1.1\r\nHost: localhost:7117\r\nContent-Type: application/json\r\n";
  RawClient& first = connect();
  first.send(head + "Content-Length: 4000\r\n\r\n" + std::string(3000, ' '));
  EXPECT_TRUE(first.until([&] { return options.limits.bodies->used() == 3000; }));
  EXPECT_EQ(status_in(answer_to(head + "Content-Length: 2500\r\n\r\n" + std::string(2500, ' '))), 429);
  first.close();
  EXPECT_TRUE(first.until([&] { return options.limits.bodies->used() == 0; }));
}

}  // namespace
}  // namespace sluice::api
