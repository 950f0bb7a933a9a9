#include "net/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "net/certificates_for_test.h"
#include "net/listening_socket.h"
#include "net/loop_for_test.h"
#include "net/socket_address.h"
#include "net/tls_pair_for_test.h"
#include "net/wakeup.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

/// A socket without any of our code on it.
UniqueFd connect_raw(const Endpoint& to) {
  auto address = numeric_address(to.address, to.port);
  UniqueFd fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd && ::connect(fd.get(), address->get(), address->size) != 0) fd.reset();
  return fd;
}

/// Reads what the other side still says, and then its end.
bool is_ended(const UniqueFd& fd) {
  char some[256];
  ssize_t got = ::recv(fd.get(), some, sizeof some, MSG_DONTWAIT);
  while (got > 0) got = ::recv(fd.get(), some, sizeof some, MSG_DONTWAIT);
  return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

class ListenerTest : public testing::Test {
 protected:
  std::unique_ptr<Listener> listen(const TlsContext* tls, const Endpoint& at = {.address = "127.0.0.1"}) {
    auto listener = Listener::open_tcp(
        loop_.executor(), at, [tls] { return tls; }, arrivals_.taker(), log_);
    if (!listener) ADD_FAILURE() << listener.error().message;
    return *std::move(listener);
  }
  auto dial_to(const Listener& listener, const TlsContext* tls, std::optional<NodeId> expected = {}) {
    DialOptions options{.deadline = soon(), .tls = tls, .expected = expected};
    return loop_.run(dial({listener.endpoint().address, listener.endpoint().port}, options));
  }
  void run_for(Duration time) {
    Wakeup nobody(loop_.executor());
    loop_.run(nobody.wait_until(Clock::now() + time));
  }

  TestLoop loop_;
  Logger log_{{.level = LogLevel::warn}};
  Arrivals arrivals_{loop_};
  TestAuthority authority_;
  TlsContext node_ = context_of(authority_.issue());
  TlsContext runner_ = context_of(authority_.issue_for("run"));
};

TEST_F(ListenerTest, HandsAConnectionOverOnceItsHandshakeIsDone) {
  auto listener = listen(&node_);
  EXPECT_NE(listener->endpoint().port, 0);
  auto client = dial_to(*listener, &runner_);
  ASSERT_TRUE(client);
  EXPECT_EQ((*client)->peer().role, Role::node);
  EXPECT_EQ((*client)->remote(), to_text(listener->endpoint()));
  auto server = loop_.run(arrivals_.next());
  EXPECT_EQ(server->peer().role, Role::run);
  EXPECT_EQ(server->alpn(), kAlpnSluice);
  EXPECT_THAT(server->remote(), HasSubstr("127.0.0.1:"));
  ASSERT_TRUE(loop_.run((*client)->write(bytes_of("ping"))));
  EXPECT_EQ(loop_.run(read_exactly(*server, 4)), "ping");
}

TEST_F(ListenerTest, ServesPlainTextWithoutAContext) {
  auto listener = listen(nullptr);
  auto client = dial_to(*listener, nullptr);
  ASSERT_TRUE(client);
  auto server = loop_.run(arrivals_.next());
  EXPECT_FALSE(server->encrypted());
  EXPECT_EQ(server->peer().proof, Peer::Proof::none);
  ASSERT_TRUE(loop_.run(server->write(bytes_of("pong"))));
  EXPECT_EQ(loop_.run(read_exactly(**client, 4)), "pong");
}

TEST_F(ListenerTest, ListensOnIpv6) {
  auto listening = listen_tcp({.address = "::1"});
  if (!listening) GTEST_SKIP() << "this host has no IPv6: " << listening.error().message;
  auto listener = listen(&node_, {.address = "::1"});
  EXPECT_EQ(listener->endpoint().address, "::1");
  EXPECT_TRUE(dial_to(*listener, &runner_));
  EXPECT_THAT(loop_.run(arrivals_.next())->remote(), HasSubstr("[::1]:"));
}

TEST_F(ListenerTest, UsesTheContextOfTheMoment) {
  TestAuthority other;
  TlsContext renewed = context_of(other.issue());
  const TlsContext* current = &renewed;
  auto listener = Listener::open_tcp(
      loop_.executor(), {.address = "127.0.0.1"}, [&] { return current; }, arrivals_.taker(), log_);
  ASSERT_TRUE(listener);
  EXPECT_EQ(dial_to(**listener, &runner_).error().kind, NetErrorKind::wrong_key);
  current = &node_;
  EXPECT_TRUE(dial_to(**listener, &runner_));
}

TEST_F(ListenerTest, DialTellsANodeThatWasNotMeant) {
  auto listener = listen(&node_);
  EXPECT_TRUE(dial_to(*listener, &runner_, NodeId::parse("000102030405060708090a0b0c0d0e0f")));
  auto client = dial_to(*listener, &runner_, NodeId::parse("ff0102030405060708090a0b0c0d0e0f"));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, NetErrorKind::wrong_node);
  EXPECT_THAT(client.error().message, HasSubstr("the node n1 answers there"));
}

TEST_F(ListenerTest, DialTellsThatNobodyListens) {
  auto listener = listen(&node_);
  Endpoint at = listener->endpoint();
  listener.reset();
  loop_.poll();
  auto client = loop_.run(dial({at.address, at.port}, DialOptions{.deadline = soon(), .tls = &runner_}));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, NetErrorKind::refused);
  EXPECT_EQ(client.error().message, "connection refused");
}

TEST_F(ListenerTest, DialTellsThatThereIsNoSuchHost) {
  auto client = loop_.run(dial({"no..host", 1}, DialOptions{.deadline = soon()}));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, NetErrorKind::unreachable);
  EXPECT_THAT(client.error().message, HasSubstr("no..host"));
}

TEST_F(ListenerTest, DialLooksNamesUpAndTriesEveryAddress) {
  auto listener = listen(&node_);
  DialOptions options{.deadline = soon(), .tls = &runner_};
  EXPECT_TRUE(loop_.run(dial({"localhost", listener->endpoint().port}, options)));
}

TEST_F(ListenerTest, DialGivesUpAtItsDeadline) {
  auto silent = listen_tcp({.address = "127.0.0.1"});
  ASSERT_TRUE(silent);
  Endpoint at = bound_endpoint(silent->get());
  DialOptions options{.deadline = Clock::now() + std::chrono::milliseconds(50), .tls = &runner_};
  auto client = loop_.run(dial({at.address, at.port}, options));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, NetErrorKind::timed_out);
}

TEST_F(ListenerTest, DialTellsWhatSpeaksNoTls) {
  auto listener = listen(nullptr);
  loop_.start([](Arrivals* arrivals) -> Awaitable<void> {
    auto server = co_await arrivals->next();
    co_await server->write(bytes_of("SSH-2.0-OpenSSH_9.2\r\n"));
    co_await read_to_end(*server);
  }(&arrivals_));
  EXPECT_EQ(dial_to(*listener, &runner_).error().kind, NetErrorKind::protocol);
}

// The client learns of it when it reads; what it sent in the meantime must not make a reset of it.
TEST_F(ListenerTest, TheAlertOfARefusalReachesAClientThatHasSentMuch) {
  TestAuthority other;
  Credentials foreign = other.issue_for("run");
  foreign.authority_pems = {authority_.pem()};
  TlsContext stranger = context_of(foreign);
  auto listener = listen(&node_);
  auto client = dial_to(*listener, &stranger);
  ASSERT_TRUE(client);
  std::string much(30'000, 'x');
  EXPECT_TRUE(loop_.run((*client)->write(bytes_of(much))));
  auto [text, error] = loop_.run(read_to_end(**client));
  EXPECT_EQ(error.kind, NetErrorKind::wrong_key);
  EXPECT_EQ(arrivals_.waiting(), 0u);
}

TEST_F(ListenerTest, StrangersHaveTheTimeOfAHandshakeAndNoMore) {
  auto listener = listen(&node_);
  TimePoint began = Clock::now();
  UniqueFd silent = connect_raw(listener->endpoint());
  UniqueFd slow = connect_raw(listener->endpoint());
  ASSERT_EQ(::send(slow.get(), "\x16\x03\x01", 3, 0), 3);
  run_for(kHandshakeTime - std::chrono::milliseconds(500));
  bool ended = is_ended(silent) || is_ended(slow);
  EXPECT_TRUE(!ended || Clock::now() >= began + kHandshakeTime);
  TimePoint deadline = soon();
  while (!(is_ended(silent) && is_ended(slow)) && Clock::now() < deadline) run_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(is_ended(silent));
  EXPECT_TRUE(is_ended(slow));
  EXPECT_EQ(arrivals_.waiting(), 0u);
}

TEST_F(ListenerTest, AThousandSilentStrangersKeepNobodyOut) {
  auto listener = listen(&node_);
  std::vector<UniqueFd> strangers;
  for (int i = 0; i < 1000; ++i) strangers.push_back(connect_raw(listener->endpoint()));
  loop_.poll();
  EXPECT_TRUE(dial_to(*listener, &runner_));  // in ten seconds; four times kHandshakeTime if nobody gave way
}

TEST_F(ListenerTest, HandsNothingOverAfterItWasClosed) {
  auto listener = listen(&node_);
  UniqueFd half = connect_raw(listener->endpoint());
  loop_.poll();
  auto plain = listen(nullptr);
  UniqueFd pending = connect_raw(plain->endpoint());
  listener.reset();
  plain->close();
  plain->close();
  plain.reset();
  loop_.poll();
  EXPECT_EQ(arrivals_.waiting(), 0u);
  EXPECT_TRUE(is_ended(half));
}

TEST_F(ListenerTest, MayBeClosedByWhomItHandsAConnectionTo) {
  std::unique_ptr<Listener> listener;
  int taken = 0;
  auto take_one = [&](std::unique_ptr<Connection>) {
    ++taken;
    listener.reset();
  };
  auto opened = Listener::open_tcp(loop_.executor(), {.address = "127.0.0.1"}, {}, take_one, log_);
  ASSERT_TRUE(opened);
  listener = *std::move(opened);
  UniqueFd first = connect_raw(listener->endpoint());
  UniqueFd second = connect_raw(listener->endpoint());
  TimePoint deadline = soon();
  while (taken == 0 && Clock::now() < deadline) loop_.poll();
  loop_.poll();
  EXPECT_EQ(taken, 1);
}

TEST_F(ListenerTest, SaysWhyItCannotListen) {
  auto listener = listen(nullptr);
  auto message = [&](const Endpoint& at) {
    auto opened = Listener::open_tcp(loop_.executor(), at, {}, arrivals_.taker(), log_);
    return opened ? std::string("none") : opened.error().message;
  };
  EXPECT_THAT(message(listener->endpoint()), HasSubstr("port is in use; is another node running?"));
  EXPECT_THAT(message({.address = "192.0.2.1", .port = 7117}),
              HasSubstr("cannot listen on 192.0.2.1:7117: no interface of this host has the address 192.0.2.1"));
  EXPECT_THAT(message({.address = "eth0"}), HasSubstr("'eth0' is no IP address"));
}

rusage used() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage;
}

double processor_seconds(const rusage& usage) {
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class DescriptorLimit final {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit lower{.rlim_cur = limit, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &lower);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_F(ListenerTest, PausesWithoutDescriptorsAndRecovers) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs descriptors too, and reports a bug when there are none";
#endif
  auto listener = listen(nullptr);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(connect_raw(listener->endpoint()));
  std::vector<std::unique_ptr<Connection>> taken;
  testing::internal::CaptureStderr();
  {
    DescriptorLimit limit(static_cast<rlim_t>(clients.back().get() + 4));
    double before = processor_seconds(used());
    run_for(std::chrono::milliseconds(600));
    EXPECT_LT(processor_seconds(used()) - before, 0.2);
    EXPECT_LT(arrivals_.waiting(), 8u);
    while (arrivals_.waiting() > 0) loop_.run(arrivals_.next());  // and closed
    run_for(std::chrono::milliseconds(600));
    EXPECT_GT(arrivals_.waiting(), 0u);
  }
  for (int i = 0; i < 2; ++i) loop_.run(arrivals_.next());
  std::string log = testing::internal::GetCapturedStderr();
  std::size_t first = log.find("accepting paused");
  EXPECT_NE(first, log.npos) << log;
  EXPECT_EQ(log.find("accepting paused", first + 1), log.npos) << log;
}

class LocalListenerTest : public ListenerTest {
 protected:
  LocalListenerTest() {
    std::string folder = (fs::temp_directory_path() / "sluice-listener-XXXXXX").string();
    folder_ = ::mkdtemp(folder.data());
  }
  ~LocalListenerTest() override { fs::remove_all(folder_); }

  auto open() { return Listener::open_local(loop_.executor(), path(), arrivals_.taker(), log_); }
  std::string path() const { return (folder_ / "node.socket").string(); }

  fs::path folder_;
};

TEST_F(LocalListenerTest, LetsItsOwnUserInAsAdmin) {
  auto listener = open();
  ASSERT_TRUE(listener) << listener.error().message;
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  auto client = loop_.run(dial_local(path(), soon()));
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ((*client)->peer().proof, Peer::Proof::local_user);
  EXPECT_EQ((*client)->peer().role, Role::node);
  EXPECT_EQ((*client)->peer().user, ::geteuid());
  auto server = loop_.run(arrivals_.next());
  EXPECT_EQ(server->peer().role, Role::admin);
  EXPECT_EQ(server->peer().user, ::geteuid());
  EXPECT_FALSE(server->peer().name.empty());
  ASSERT_TRUE(loop_.run((*client)->write(bytes_of("ping"))));
  EXPECT_EQ(loop_.run(read_exactly(*server, 4)), "ping");
}

TEST_F(LocalListenerTest, TakesItsFileAwayButNotThatOfAnother) {
  auto listener = open();
  ASSERT_TRUE(listener);
  listener->reset();
  EXPECT_FALSE(fs::exists(path()));
  auto first = open();
  ASSERT_TRUE(first);
  fs::rename(path(), folder_ / "moved");
  auto second = open();
  ASSERT_TRUE(second);
  first->reset();
  EXPECT_TRUE(fs::exists(path()));
}

TEST_F(LocalListenerTest, ReplacesASocketThatNobodyAnswers) {
  {
    auto stale = listen_local(path());
    ASSERT_TRUE(stale);
  }
  ASSERT_TRUE(fs::exists(path()));
  auto nobody = loop_.run(dial_local(path(), soon()));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().kind, NetErrorKind::refused);
  auto listener = open();
  EXPECT_TRUE(listener) << listener.error().message;
}

TEST_F(LocalListenerTest, RefusesToTakeTheSocketOfALivingNode) {
  auto first = open();
  ASSERT_TRUE(first);
  auto second = open();
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another node is running there"));
  EXPECT_TRUE(loop_.run(dial_local(path(), soon())));
}

TEST_F(LocalListenerTest, LeavesAFileThatIsNoSocket) {
  std::ofstream(path()) << "precious";
  auto listener = open();
  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error().message, HasSubstr("which is no socket"));
  EXPECT_TRUE(fs::exists(path()));
}

TEST_F(LocalListenerTest, SaysThatAPathIsTooLong) {
  std::string longer = (folder_ / std::string(100, 'x')).string();
  auto listener = Listener::open_local(loop_.executor(), longer, arrivals_.taker(), log_);
  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error().message, HasSubstr("--data"));
  EXPECT_FALSE(loop_.run(dial_local(longer, soon())));
}

TEST_F(LocalListenerTest, DialTellsThatThereIsNoSocket) {
  auto client = loop_.run(dial_local(path(), soon()));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, NetErrorKind::refused);
}

}  // namespace
}  // namespace sluice::net
