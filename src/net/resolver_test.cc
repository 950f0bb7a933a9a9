#include "net/resolver.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <netdb.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstring>
#include <list>
#include <semaphore>
#include <thread>

#include "net/loop_for_test.h"

namespace {

std::counting_semaphore<> let_blocked_go(0);
std::atomic<int> blocked{0};

}  // namespace

// In place of the C library's: the name `blocks` has no answer before the test is over.
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** result) {
  bool asks_a_server = (hints->ai_flags & AI_NUMERICHOST) == 0;
  if (asks_a_server && std::strcmp(node, "blocks") == 0) {
    ++blocked;
    let_blocked_go.acquire();
    --blocked;
    return EAI_AGAIN;
  }
  static auto real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(node, service, hints, result);
}

namespace sluice::net {
namespace {

using testing::HasSubstr;

class ResolverTest : public testing::Test {
 protected:
  ~ResolverTest() override {
    let_blocked_go.release(started_);
    TimePoint deadline = soon();
    while (blocked > 0 && Clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(blocked, 0);
  }

  LookUp& start_blocked() {
    ++started_;
    return look_ups_.emplace_back(loop_.executor(), HostPort{"blocks", 1});
  }

  TestLoop loop_;
  std::list<LookUp> look_ups_;
  int started_ = 0;
};

TEST_F(ResolverTest, AnAddressNeedsNoLookUp) {
  auto found = loop_.run(resolve({"127.0.0.2", 7}, soon()));
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(endpoint_of((*found)[0]), (Endpoint{"127.0.0.2", 7}));
}

TEST_F(ResolverTest, NamesThatGetNoAnswerDoNotDelayOthers) {
  for (int i = 0; i < 5; ++i) start_blocked();
  auto found = loop_.run(resolve({"localhost", 7}, soon()));
  ASSERT_TRUE(found);
  EXPECT_EQ(endpoint_of(found->front()).port, 7);
}

TEST_F(ResolverTest, AnAnswerIsAwaitedNoLongerThanTold) {
  auto found = loop_.run(start_blocked().wait_until(Clock::now() + std::chrono::milliseconds(20)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, NetErrorKind::timed_out);
}

TEST_F(ResolverTest, AWaitCanBeCancelled) {
  LookUp& look_up = start_blocked();
  asio::post(loop_.executor(), [&] { look_up.cancel(); });
  auto found = loop_.run(look_up.wait_until(soon()));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, NetErrorKind::cancelled);
}

TEST_F(ResolverTest, AFailureNamesTheName) {
  auto found = loop_.run(resolve({"no..host", 7}, soon()));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, NetErrorKind::unreachable);
  EXPECT_THAT(found.error().message, HasSubstr("'no..host'"));
}

TEST_F(ResolverTest, ThreadsThatWaitAreLimited) {
  for (int i = 0; i < kLookUpsMax; ++i) start_blocked();
  auto found = loop_.run(resolve({"localhost", 7}, soon()));
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("64 look-ups"));
}

}  // namespace
}  // namespace sluice::net
