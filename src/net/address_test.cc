#include "net/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/socket_address.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;

TEST(Address, ReadsAHostWithAndWithoutAPort) {
  EXPECT_EQ(parse_host_port("db1"), (HostPort{"db1", kDefaultPort}));
  EXPECT_EQ(parse_host_port("db1.example.org:80"), (HostPort{"db1.example.org", 80}));
  EXPECT_EQ(parse_host_port("10.0.0.5:0"), (HostPort{"10.0.0.5", 0}));
  EXPECT_EQ(parse_host_port(":7000"), (HostPort{"", 7000}));
  EXPECT_EQ(parse_host_port("[fe80::1]"), (HostPort{"fe80::1", kDefaultPort}));
  EXPECT_EQ(parse_host_port("[fe80::1%eth0]:65535"), (HostPort{"fe80::1%eth0", 65535}));
}

TEST(Address, RefusesWhatIsNone) {
  for (std::string_view text : {"", "a b", "host:", "host:x", "host:65536", "host:-1", "host:+1", "host:1:2", "fe80::1",
                                "[fe80::1", "[fe80::1]1", "[fe80::1]:", "[host]:1", "[]:1", "[fe80::1%]",
                                "[fe80::1%a/b]", "host/path", "us\ner", "host@x:1"})
    EXPECT_FALSE(parse_host_port(text)) << text;
  EXPECT_THAT(parse_host_port("fe80::1").error(), HasSubstr("brackets"));
  EXPECT_THAT(parse_host_port("host:x").error(), HasSubstr("HOST:PORT"));
  EXPECT_LT(parse_host_port(std::string(100'000, ':')).error().size(), 300u);
}

TEST(Address, ReadsTheUrlOfANode) {
  auto url = parse_node_url("sluice://[::1]:7000/n1");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->at, (HostPort{"::1", 7000}));
  EXPECT_EQ(url->node, "n1");
  EXPECT_EQ(parse_node_url("sluice://db1")->at, (HostPort{"db1", kDefaultPort}));
  EXPECT_EQ(parse_node_url("db1:80")->at, (HostPort{"db1", 80}));
  EXPECT_FALSE(parse_node_url("http://db1/"));
  EXPECT_FALSE(parse_node_url("sluice://db1/n1/x"));
  EXPECT_FALSE(parse_node_url("sluice:///n1"));
}

TEST(Address, WritesWhatItReads) {
  for (std::string_view text : {"db1:7117", "10.0.0.5:1", "[fe80::1%eth0]:2"})
    EXPECT_EQ(to_text(*parse_host_port(text)), text);
  EXPECT_EQ(to_url({"::1", 7000}, "n1"), "sluice://[::1]:7000/n1");
  EXPECT_EQ(to_text(Endpoint{"10.0.0.5", 9}), "10.0.0.5:9");
}

TEST(Address, KnowsWhatIsLoopback) {
  for (std::string_view address : {"127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"})
    EXPECT_TRUE(is_loopback(address)) << address;
  for (std::string_view address : {"10.0.0.1", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.1", "localhost", ""})
    EXPECT_FALSE(is_loopback(address)) << address;
}

TEST(SocketAddress, ComesBackAsItWasGiven) {
  EXPECT_EQ(endpoint_of(*numeric_address("10.0.0.5", 7117)), (Endpoint{"10.0.0.5", 7117}));
  EXPECT_EQ(endpoint_of(*numeric_address("fe80:0:0::0001", 1)), (Endpoint{"fe80::1", 1}));
  EXPECT_EQ(endpoint_of(*numeric_address("::ffff:10.0.0.5", 1)), (Endpoint{"10.0.0.5", 1}));
  EXPECT_EQ(endpoint_of(*numeric_address("fe80::1%lo", 1)), (Endpoint{"fe80::1%lo", 1}));
  EXPECT_FALSE(numeric_address("localhost", 1));
}

}  // namespace
}  // namespace sluice::net
