#include "api/http_route.h"

#include <gmock/gmock.h>

#include "api/http_response.h"
#include "api/http_run.h"
#include "api/line_splitter.h"

namespace sluice::api {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

RequestHead request(std::string method, std::string path, std::vector<HttpHeader> headers = {}) {
  RequestHead head{.method = std::move(method), .headers = std::move(headers)};
  std::size_t mark = std::min(path.find('?'), path.size());
  head.path = path.substr(0, mark);
  if (mark < path.size()) head.query = path.substr(mark + 1);
  return head;
}

int status_of(const RequestHead& head) {
  auto route = find_route(head);
  return route ? 200 : route.error().status;
}

TEST(HttpRoute, FindsMethodsAndResources) {
  auto list = std::get<CallRoute>(*find_route(request("POST", "/sluice.v1.Cluster/ListNodes")));
  EXPECT_EQ(list.method->name, "sluice.v1.Cluster/ListNodes");
  EXPECT_FALSE(list.from_query);
  auto nodes = std::get<CallRoute>(*find_route(request("HEAD", "/v1/nodes")));
  EXPECT_EQ(nodes.method->name, "sluice.v1.Cluster/ListNodes");
  EXPECT_TRUE(nodes.from_query);
  EXPECT_TRUE(std::holds_alternative<RunRoute>(*find_route(request("POST", "/v1/run"))));
  EXPECT_TRUE(std::holds_alternative<LiveRoute>(*find_route(request("GET", "/livez"))));
  EXPECT_TRUE(std::holds_alternative<ReadyRoute>(*find_route(request("GET", "/readyz"))));
  EXPECT_TRUE(std::holds_alternative<MetricsRoute>(*find_route(request("GET", "/metrics"))));
  EXPECT_EQ(status_of(request("POST", "/metrics")), 405);
}

TEST(HttpRoute, SaysWhatIsWrongWithAnAddressOrItsMethod) {
  EXPECT_EQ(find_route(request("POST", "/sluice.v1.Cluster/ListNode")).error().message,
            "there is nothing at '/sluice.v1.Cluster/ListNode'; did you mean '/sluice.v1.Cluster/ListNodes'?");
  for (const char* path : {"/", "", "*", "//livez", "/livez/", "/v1", "/sluice.v1.Cluster%2FListNodes", "/LIVEZ"})
    EXPECT_EQ(status_of(request("GET", path)), 404) << path;
  auto refusal = find_route(request("GET", "/v1/run")).error();
  EXPECT_EQ(refusal.status, 405);
  ASSERT_EQ(refusal.headers.size(), 1u);
  EXPECT_EQ(refusal.headers[0].name, "Allow");
  EXPECT_EQ(refusal.headers[0].value, "POST");
  for (const char* path : {"/v1/nodes", "/livez", "/sluice.v1.Flows/Run", "*"})
    EXPECT_EQ(status_of(request("OPTIONS", path)), 405) << path;
  EXPECT_EQ(status_of(request("get", "/livez")), 405);
}

// Whatever a page of another site can send without asking first is refused.
TEST(HttpRoute, TakesNoBodyThatAFormCouldSend) {
  auto check = [](const char* path, std::vector<HttpHeader> headers) {
    auto head = request("POST", path, std::move(headers));
    auto checked = check_content_type(head, *find_route(head));
    return checked ? 200 : checked.error().status;
  };
  const char* unary = "/sluice.v1.Cluster/ListNodes";
  EXPECT_EQ(check(unary, {{"content-type", "application/json"}}), 200);
  EXPECT_EQ(check(unary, {{"content-type", "Application/JSON ; charset=utf-8"}}), 200);
  EXPECT_EQ(check("/sluice.v1.Files/Put", {{"content-type", "application/x-ndjson"}}), 200);
  EXPECT_EQ(check("/v1/run", {{"content-type", "application/octet-stream"}}), 200);
  for (const char* path : {unary, "/v1/run", "/sluice.v1.Files/Put"}) {
    EXPECT_EQ(check(path, {}), 415) << path;
    for (const char* type :
         {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json", "",
          "text/plain;application/json", "application/jsonx", "*/*"})
      EXPECT_EQ(check(path, {{"content-type", type}}), 415) << path << type;
  }
}

TEST(HttpRoute, ReadsFieldsFromTheQuery) {
  const ApiMethod& method = *find_api_method("sluice.v1.Flows/ListFlows");
  for (const char* query : {"/v1/flows?all", "/v1/flows?all=true", "/v1/flows?all=1&"})
    EXPECT_EQ(json_from_query(request("GET", query), method), R"({"all":true})");
  EXPECT_EQ(json_from_query(request("GET", "/v1/flows?this_node_only=0&x=%22"), method),
            R"({"this_node_only":false,"x":"\""})");
  EXPECT_EQ(json_from_query(request("GET", "/v1/flows?all=%2"), method).error().status, 400);
}

TEST(HttpRoute, ReadsTheDeadlineAndTheToken) {
  EXPECT_EQ(timeout_of(request("POST", "/")).value(), std::nullopt);
  EXPECT_EQ(timeout_of(request("POST", "/", {{"sluice-timeout", "5s"}})).value(), 5s);
  EXPECT_EQ(timeout_of(request("POST", "/", {{"sluice-timeout", "soon"}})).error().status, 400);
  EXPECT_EQ(bearer_token(request("GET", "/", {{"authorization", "bearer abc"}})), "abc");
  EXPECT_EQ(bearer_token(request("GET", "/", {{"authorization", "Basic abc"}})), std::nullopt);
  EXPECT_EQ(bearer_token(request("GET", "/", {{"authorization", "Bearer"}})), std::nullopt);
  EXPECT_EQ(bearer_token(request("GET", "/")), std::nullopt);
}

TEST(HttpRoute, ReadsWhatToRun) {
  auto text = run_text_of(request("POST", "/v1/run?pipeline=sort+%7C%20uniq%20-c&timeout=1m&pipefail=strict"));
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->pipeline, "sort | uniq -c");
  EXPECT_EQ(text->timeout, 60s);
  EXPECT_EQ(text->pipefail, "strict");
  EXPECT_THAT(run_text_of(request("POST", "/v1/run")).error().message, HasSubstr("'pipeline' is missing"));
  EXPECT_THAT(run_text_of(request("POST", "/v1/run?pipelin=a")).error().message, HasSubstr("did you mean 'pipeline'?"));
  EXPECT_THAT(run_text_of(request("POST", "/v1/run?pipeline=a&timeout=x")).error().message, HasSubstr("timeout: 'x'"));
}

TEST(HttpResponse, KeepsValuesOnOneLine) {
  ResponseHead head{.status = 404, .content_length = 2, .close = true, .headers = {{"X", "a\r\nSet-Cookie: b"}}};
  std::string text = to_text(head);
  EXPECT_THAT(text, testing::StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(text, HasSubstr("\r\nX: a  Set-Cookie: b\r\n"));
  EXPECT_THAT(text, HasSubstr("\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"));
  EXPECT_EQ(last_chunk({{"Sluice-Error", "a\nb"}}), "0\r\nSluice-Error: a b\r\n\r\n");
  EXPECT_EQ(chunk("0123456789abcdef"), "10\r\n0123456789abcdef\r\n");
}

TEST(LineSplitter, FindsLinesHoweverTheyArrive) {
  const std::string text = "one\n\n  \r\ntwo\r\nthree";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    LineSplitter lines;
    std::vector<std::string> found;
    for (std::size_t at = 0; at < text.size(); at += size) {
      lines.on_bytes(text.substr(at, size));
      while (auto line = lines.poll_line()) found.push_back(*line);
    }
    EXPECT_FALSE(lines.finished());
    lines.on_end();
    while (auto line = lines.poll_line()) found.push_back(*line);
    EXPECT_TRUE(lines.finished());
    EXPECT_THAT(found, ElementsAre("one", "two\r", "three"));
  }
}

}  // namespace
}  // namespace sluice::api
