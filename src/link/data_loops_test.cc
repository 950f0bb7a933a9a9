#include "link/data_loops.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <future>
#include <thread>

#include "base/unique_fd.h"

namespace sluice::link {
namespace {

constexpr std::chrono::seconds kPatience{60};

bool comes_true(const std::function<bool()>& condition) {
  auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

template <class Result>
Result on_loop(const DataLoops::Seat& seat, std::function<Result()> work) {
  std::promise<Result> promise;
  auto result = promise.get_future();
  seat.mailbox().post([&] { promise.set_value(work()); });
  return result.get();
}

std::thread::id thread_of(const DataLoops::Seat& seat) {
  return on_loop<std::thread::id>(seat, [] { return std::this_thread::get_id(); });
}

/// Leaves when the loops close, and says so.
struct Resident final : LoopResident {
  explicit Resident(DataLoops::Seat its_seat) : seat(std::move(its_seat)) {}
  void on_loop_closing() override {
    told = true;
    seat.leave(this);
  }
  DataLoops::Seat seat;
  std::atomic<bool> told = false;
};

TEST(DataLoops, HaveNoThreadBeforeTheFirstLink) {
  DataLoops loops;
  EXPECT_EQ(loops.threads(), 0u);
}

TEST(DataLoops, ALinkStaysOnItsThread) {
  DataLoops loops({.threads_max = 2});
  auto seat = loops.take_seat();
  ASSERT_TRUE(seat.has_value());
  EXPECT_EQ(loops.threads(), 1u);
  EXPECT_EQ(thread_of(*seat), thread_of(*seat));
  EXPECT_NE(thread_of(*seat), std::this_thread::get_id());
}

TEST(DataLoops, SpreadOverThreadsUpToTheLimit) {
  DataLoops loops({.threads_max = 2});
  auto a = loops.take_seat(), b = loops.take_seat(), c = loops.take_seat();
  EXPECT_EQ(loops.threads(), 2u);
  EXPECT_NE(thread_of(*a), thread_of(*b));
  EXPECT_TRUE(thread_of(*c) == thread_of(*a) || thread_of(*c) == thread_of(*b));
}

TEST(DataLoops, AFreeLoopIsUsedBeforeANewOneStarts) {
  DataLoops loops({.threads_max = 8});
  { auto gone = loops.take_seat(); }
  auto next = loops.take_seat();
  EXPECT_EQ(loops.threads(), 1u);
}

TEST(DataLoops, WithoutDescriptorsForALoopItSaysSoAndGoesOnLater) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer looks at objects through pipes, for which there would be no descriptors either";
#endif
  DataLoops loops({.threads_max = 2});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  UniqueFd first_free(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(first_free.get());
  ::setrlimit(RLIMIT_NOFILE, &none);
  auto refused = loops.take_seat();
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), EMFILE);
  auto first = loops.take_seat();
  ASSERT_TRUE(first.has_value());
  ::setrlimit(RLIMIT_NOFILE, &none);
  auto second = loops.take_seat();
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(second.has_value()) << "a loop that runs takes it as well";
  EXPECT_EQ(thread_of(*first), thread_of(*second));
}

TEST(DataLoops, TheThreadEndsWhenTheLastLinkHasBeenGoneForAWhile) {
  DataLoops loops({.threads_max = 1, .idle_time = std::chrono::milliseconds(1)});
  {
    auto seat = loops.take_seat();
    thread_of(*seat);
  }
  EXPECT_TRUE(comes_true([&] { return loops.threads() == 0; }));
  auto again = loops.take_seat();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(loops.threads(), 1u);
  thread_of(*again);
}

TEST(DataLoops, ALinkThatComesInTimeKeepsTheThread) {
  DataLoops loops({.threads_max = 1, .idle_time = std::chrono::milliseconds(1)});
  for (int i = 0; i < 500; ++i) {
    auto seat = loops.take_seat();
    ASSERT_TRUE(seat.has_value());
    thread_of(*seat);  // whatever the timer of the one before does meanwhile
  }
}

TEST(DataLoops, CloseTellsWhoIsLeftAndTakesNobodyNew) {
  DataLoops loops({.threads_max = 1});
  auto resident = std::make_shared<Resident>(*loops.take_seat());
  resident->seat.mailbox().post([resident = std::weak_ptr(resident)] {
    if (auto here = resident.lock()) here->seat.enter(here);
  });
  std::weak_ptr<Resident> left = resident;
  auto* told = &resident->told;
  std::thread dropper([owned = std::move(resident), told]() mutable {
    while (!*told) std::this_thread::yield();
    owned.reset();  // the last hold: with it the seat goes
  });
  loops.close();
  dropper.join();
  EXPECT_TRUE(left.expired());
  EXPECT_FALSE(loops.take_seat().has_value());
  EXPECT_EQ(loops.threads(), 0u);
}

TEST(DataLoops, AResidentThatComesWhileTheyCloseIsToldToo) {
  for (int round = 0; round < 100; ++round) {
    DataLoops loops({.threads_max = 1});
    auto resident = std::make_shared<Resident>(*loops.take_seat());
    auto mailbox = resident->seat.mailbox();
    bool told = false;
    // The resident's own hold is what keeps it: it goes with this function, unless the loop has it.
    mailbox.post([&told, resident = std::move(resident)]() mutable {
      struct Told final : LoopResident {
        Told(bool& to_tell, std::shared_ptr<Resident> place) : told(to_tell), in(std::move(place)) {}
        void on_loop_closing() override {
          told = true;
          in->seat.leave(this);
        }
        bool& told;
        std::shared_ptr<Resident> in;
      };
      auto place = std::move(resident);
      place->seat.enter(std::make_shared<Told>(told, place));
    });
    loops.close();
    EXPECT_TRUE(told);
  }
}

TEST(DataLoops, TheirThreadsTakeNoSignals) {
  DataLoops loops;
  auto seat = loops.take_seat();
  bool blocked = on_loop<bool>(*seat, [] {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return sigismember(&mask, SIGPIPE) == 1 && sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGCHLD) == 1;
  });
  EXPECT_TRUE(blocked);
  sigset_t ours;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &ours);
  EXPECT_EQ(sigismember(&ours, SIGINT), 0) << "the starter's own mask is as it was";
}

TEST(DataLoops, BuffersAreUsedAgain) {
  DataLoops loops;
  auto seat = loops.take_seat();
  bool same = on_loop<bool>(*seat, [&] {
    auto first = seat->take_buffer();
    const std::byte* place = first.bytes().data();
    first.give_back();
    return seat->take_buffer().bytes().data() == place;
  });
  EXPECT_TRUE(same);
}

TEST(DataLoops, RoomForLargePipesIsSharedAndComesBack) {
  DataLoops loops({.threads_max = 1, .pipe_room = 100});
  auto other = loops.take_seat();
  {
    auto seat = loops.take_seat();
    EXPECT_TRUE(seat->take_pipe_room(60));
    EXPECT_FALSE(other->take_pipe_room(60));
    auto moved = *std::move(seat);
  }
  EXPECT_TRUE(other->take_pipe_room(100));
}

}  // namespace
}  // namespace sluice::link
