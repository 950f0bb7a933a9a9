#include "link/link_world_for_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/random.h"
#include "base/require.h"
#include "net/tls.h"

namespace sluice::link {
namespace {

// Made once with openssl(1), valid from 2020 to 2120, and trusted by nothing but these tests.
constexpr const char* kNodeKey = R"(-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEH9oF4h46r/nD2MVQbpjnbblw/qLBgpQfm4vyEBYaux
-----END PRIVATE KEY-----
)";
constexpr const char* kNodeCertificate = R"(-----BEGIN CERTIFICATE-----
MIIBeDCCASqgAwIBAgIQEREREREREREREREREREREjAFBgMrZXAwHDEaMBgGA1UE
AwwRdGhyb3dhd2F5IGNsdXN0ZXIwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEw
MDAwMDBaMA0xCzAJBgNVBAMMAm4xMCowBQYDK2VwAyEAeP0ET1kma146N47BlwOE
U/nRwI1mslIlWz8bxyHekJmjgY4wgYswSQYDVR0RBEIwQIYQc2x1aWNlOnJvbGU6
bm9kZYYsc2x1aWNlOm5vZGU6MDAwMTAyMDMwNDA1MDYwNzA4MDkwYTBiMGMwZDBl
MGYwHQYDVR0OBBYEFG3WKffxjfHdeHAZL5ccf66w6S96MB8GA1UdIwQYMBaAFEkB
Lob5clt/H4/DSB41LSZPnR7gMAUGAytlcANBANDddyV9sbmxGQ11rnkCaRcOrxrI
eia8zNHyty3ZLBYXb9kGpyfGum5lL7y9Y20Qnyznv6Zed3SfiD34O8XB6wM=
-----END CERTIFICATE-----
)";
constexpr const char* kAuthority = R"(-----BEGIN CERTIFICATE-----
MIIBPDCB76ADAgECAhARERERERERERERERERERERMAUGAytlcDAcMRowGAYDVQQD
DBF0aHJvd2F3YXkgY2x1c3RlcjAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowHDEaMBgGA1UEAwwRdGhyb3dhd2F5IGNsdXN0ZXIwKjAFBgMrZXADIQAN
aPWaXFskPHgOB3/RqanTa8V1k2itHCHkfgP/DK0S06NFMEMwEgYDVR0TAQH/BAgw
BgEB/wIBADAOBgNVHQ8BAf8EBAMCAgQwHQYDVR0OBBYEFEkBLob5clt/H4/DSB41
LSZPnR7gMAUGAytlcANBADVQdUsQJ5ua8Xu1rHVqbHrOYkwtuffQQmpZRf9yPbkq
r5GgIahEPezlPmIKMQUpL6TvPZFlKpiqfB223t2JrQU=
-----END CERTIFICATE-----
)";

Wired connect_over_tcp() {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener.get(), any, size) == 0 && ::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), any, &size) == 0);
  Wired wired;
  wired.one.socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(wired.one.socket.get(), any, size) == 0);
  wired.other.socket.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  wired.one.remote = "10.0.0.2:7117";
  wired.other.remote = "10.0.0.1:40000";
  return wired;
}

void carry(net::TlsSession& from, net::TlsSession& to) {
  REQUIRE(to.on_cipher(from.cipher()));
  from.consume_cipher(from.cipher().size());
}

// The handshake needs no socket: it is over before the first byte of the link.
void shake_hands(Wired& wired) {
  static auto context = net::TlsContext::make(
      {.certificate_pem = kNodeCertificate, .private_key_pem = kNodeKey, .authority_pems = {kAuthority}});
  REQUIRE(context.has_value());
  wired.one.tls = context->client();
  wired.other.tls = context->server();
  REQUIRE(wired.one.tls->start());
  for (int round = 0; round < 8; ++round) {
    carry(*wired.one.tls, *wired.other.tls);
    carry(*wired.other.tls, *wired.one.tls);
  }
  REQUIRE(wired.one.tls->handshaken() && wired.other.tls->handshaken());
}

void wait_for(int descriptor, short events) {
  pollfd look{.fd = descriptor, .events = events, .revents = 0};
  ::poll(&look, 1, std::chrono::milliseconds(kTestPatience).count());
}

}  // namespace

PipeEnds make_pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  return {.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
}

PipeEnds make_socket_pair() {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
}

std::string to_text(Wire wire) { return wire == Wire::tcp ? "Tcp" : wire == Wire::local ? "Local" : "Tls"; }

Wired connect(Wire wire) {
  if (wire == Wire::local) {
    PipeEnds pair = make_socket_pair();
    Wired wired;
    wired.one.socket = std::move(pair.read_end);
    wired.other.socket = std::move(pair.write_end);
    return wired;
  }
  Wired wired = connect_over_tcp();
  if (wire == Wire::tls) shake_hands(wired);
  return wired;
}

std::string random_text(std::size_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  std::string text(size + sizeof(std::uint64_t), '\0');
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    std::uint64_t eight = random();
    std::memcpy(text.data() + at, &eight, sizeof eight);
  }
  text.resize(size);
  return text;
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    ssize_t put = ::write(descriptor, text.data(), text.size());
    if (put < 0 && errno != EAGAIN) return false;
    if (put < 0) wait_for(descriptor, POLLOUT);
    if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

std::string read_all(int descriptor, std::size_t size) {
  std::string text;
  char buffer[65536];
  while (text.size() < size) {
    ssize_t got = ::read(descriptor, buffer, std::min(sizeof buffer, size - text.size()));
    if (got == 0 || (got < 0 && errno != EAGAIN)) break;
    if (got < 0) wait_for(descriptor, POLLIN);
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

bool happens(int descriptor, short events) {
  pollfd look{.fd = descriptor, .events = events, .revents = 0};
  return ::poll(&look, 1, std::chrono::milliseconds(kTestPatience).count()) > 0;
}

struct Owner::Loop {
  boost::asio::io_context context{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work = boost::asio::make_work_guard(context);
};

Owner::Owner() : loop_(std::make_unique<Loop>()) { ::signal(SIGPIPE, SIG_IGN); }
Owner::~Owner() = default;

LinkOptions Owner::options(bool descriptor_is_ours) {
  return {.owner = loop_->context.get_executor(), .descriptor_is_ours = descriptor_is_ours};
}

OnEnd Owner::report_to(std::optional<LinkEnd>& end) {
  return [&end](LinkEnd how) {
    EXPECT_FALSE(end.has_value()) << "a link ends once";
    end = std::move(how);
  };
}

bool Owner::run_until(const std::function<bool()>& done) {
  auto deadline = std::chrono::steady_clock::now() + kTestPatience;
  // What happens on a data loop wakes nobody here, so it is looked at again and again.
  while (!done() && std::chrono::steady_clock::now() < deadline)
    loop_->context.run_one_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(done()) << "the patience is over";
  return done();
}

LinkEnd Owner::await(const std::optional<LinkEnd>& end) {
  if (!run_until([&] { return end.has_value(); }))
    return {.kind = LinkEnd::Kind::cut, .message = "no end was reported"};
  return *end;
}

void Owner::run_posted() { loop_->context.poll(); }

std::size_t open_descriptors() {
  std::filesystem::directory_iterator folder("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
}

TEST(LinkWorldForTest, ConnectsBothEnds) {
  for (Wire wire : {Wire::tcp, Wire::local, Wire::tls}) {
    Wired wired = connect(wire);
    EXPECT_EQ(wired.one.tls.has_value(), wire == Wire::tls);
    ASSERT_TRUE(write_all(wired.one.socket.get(), "x"));
    EXPECT_EQ(read_all(wired.other.socket.get(), 1), "x");
  }
}

}  // namespace sluice::link
