#include "api/http_site.h"

#include <gtest/gtest.h>

namespace sluice::api {
namespace {

const AllowedHosts kHosts{{"localhost", "127.0.0.1", "::1", "n1.example"}, 7117};

int status_of(std::vector<HttpHeader> headers, Site site = {kHosts}) {
  RequestHead head{.headers = std::move(headers)};
  auto refusal = check_site(head, site);
  return refusal ? refusal->status : 200;
}

TEST(HttpSite, AnswersToItsOwnNamesAtItsOwnPort) {
  for (const char* host : {"localhost:7117", "LOCALHOST:7117", "127.0.0.1:7117", "[::1]:7117", "n1.example:7117"})
    EXPECT_EQ(status_of({{"host", host}}), 200) << host;
  for (const char* host : {"localhost", "localhost:80", "localhost:7118", "evil.example:7117", "::1:7117", "[::1",
                           "[]:7117", "", ":7117", "localhost:", "localhost:x", "localhost:7117:1", "localhost:71170",
                           "a@localhost:7117", "localhost.:7117", "localhost:7117 evil", "127.1:7117"})
    EXPECT_EQ(status_of({{"host", host}}), 421) << host;
}

TEST(HttpSite, LeavesThePortOutWhereTheSchemeSaysIt) {
  const AllowedHosts web{{"n1"}, 443};
  EXPECT_EQ(status_of({{"host", "n1"}}, {web, true}), 200);
  EXPECT_EQ(status_of({{"host", "n1"}}, {web, false}), 421);
}

TEST(HttpSite, HasNoPortOnAUnixSocket) {
  Site site{.hosts = kHosts, .is_unix_socket = true};
  EXPECT_EQ(status_of({{"host", "localhost"}}, site), 200);
  EXPECT_EQ(status_of({{"host", "localhost:1"}}, site), 200);
  EXPECT_EQ(status_of({{"host", "evil.example"}}, site), 421);
}

TEST(HttpSite, RefusesPagesOfOtherSites) {
  const HttpHeader host{"host", "localhost:7117"};
  EXPECT_EQ(status_of({host, {"origin", "http://localhost:7117"}}), 200);
  EXPECT_EQ(status_of({host, {"origin", "https://localhost:7117"}}, {kHosts, true}), 200);
  for (const char* origin :
       {"http://evil.example", "http://localhost", "http://localhost:3000", "https://localhost:7117", "null", "",
        "file://", "http://", "localhost:7117", "http://localhost:7117/"})
    EXPECT_EQ(status_of({host, {"origin", origin}}), 403) << origin;
  EXPECT_EQ(status_of({host, {"origin", "http://localhost:7117"}, {"origin", "http://evil.example"}}), 403);
}

TEST(HttpSite, BelievesWhatABrowserSaysOfThePage) {
  const HttpHeader host{"host", "localhost:7117"};
  for (const char* from : {"same-origin", "none"}) EXPECT_EQ(status_of({host, {"sec-fetch-site", from}}), 200) << from;
  for (const char* from : {"cross-site", "same-site", "", "other"})
    EXPECT_EQ(status_of({host, {"sec-fetch-site", from}}), 403) << from;
}

}  // namespace
}  // namespace sluice::api
