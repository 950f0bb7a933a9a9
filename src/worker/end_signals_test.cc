#include "worker/end_signals.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::worker {
namespace {

void of_the_program(int) {}

using Handler = void (*)(int);

Handler effect_of(int signal) {
  struct sigaction now {};
  ::sigaction(signal, nullptr, &now);
  return now.sa_handler;
}

struct Asked {
  UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::uint64_t times() const {
    std::uint64_t count = 0;
    return ::read(event.get(), &count, sizeof count) == sizeof count ? count : 0;
  }
};

// Each test finds the default, and leaves it.
class EndSignalsTest : public testing::Test {
 protected:
  EndSignalsTest() { reset(); }
  ~EndSignalsTest() override { reset(); }
  static void reset() {
    ::signal(SIGTERM, SIG_DFL);
    ::signal(SIGINT, SIG_DFL);
  }
};

TEST_F(EndSignalsTest, FirstAsksAndGivesTheDefaultBackForTheSecond) {
  Asked asked;
  auto signals = EndSignals::watch(asked.event.get());
  EXPECT_NE(effect_of(SIGTERM), SIG_DFL);
  ::raise(SIGTERM);
  EXPECT_EQ(asked.times(), 1U);
  EXPECT_EQ(effect_of(SIGTERM), SIG_DFL);
  EXPECT_EQ(effect_of(SIGINT), SIG_DFL);
}

TEST_F(EndSignalsTest, ArePutBackAtTheEnd) {
  {
    Asked asked;
    auto signals = EndSignals::watch(asked.event.get());
    EXPECT_NE(effect_of(SIGINT), SIG_DFL);
  }
  EXPECT_EQ(effect_of(SIGTERM), SIG_DFL);
  EXPECT_EQ(effect_of(SIGINT), SIG_DFL);
}

TEST_F(EndSignalsTest, ThoseOfTheProgramAreLeftToIt) {
  ::signal(SIGTERM, of_the_program);
  ::signal(SIGINT, SIG_IGN);
  Asked asked;
  {
    auto signals = EndSignals::watch(asked.event.get());
    EXPECT_EQ(effect_of(SIGTERM), of_the_program);
    EXPECT_EQ(effect_of(SIGINT), SIG_IGN);
    ::raise(SIGTERM);
  }
  EXPECT_EQ(effect_of(SIGTERM), of_the_program);
  EXPECT_EQ(asked.times(), 0U);
}

TEST_F(EndSignalsTest, HandlerThatTheProgramSetsLaterStays) {
  Asked asked;
  {
    auto signals = EndSignals::watch(asked.event.get());
    ::signal(SIGTERM, of_the_program);
  }
  EXPECT_EQ(effect_of(SIGTERM), of_the_program);
  EXPECT_EQ(effect_of(SIGINT), SIG_DFL);
}

TEST_F(EndSignalsTest, AllAreAskedAndTheLastPutsThemBack) {
  Asked one, another;
  auto first = EndSignals::watch(one.event.get());
  {
    auto second = EndSignals::watch(another.event.get());
    ::raise(SIGINT);
  }
  EXPECT_EQ(one.times(), 1U);
  EXPECT_EQ(another.times(), 1U);
  first.reset();
  auto again = EndSignals::watch(one.event.get());
  { auto second = EndSignals::watch(another.event.get()); }
  EXPECT_NE(effect_of(SIGTERM), SIG_DFL) << "one still holds it";
}

TEST_F(EndSignalsTest, ThereIsALimit) {
  Asked asked;
  std::vector<EndSignals> all;
  for (std::size_t i = 0; i < kEndSignalsMax; ++i) all.push_back(*EndSignals::watch(asked.event.get()));
  EXPECT_FALSE(EndSignals::watch(asked.event.get()));
  all.pop_back();
  EXPECT_TRUE(EndSignals::watch(asked.event.get()));
}

}  // namespace
}  // namespace sluice::worker
