#include "rpc/wakeup.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <variant>

namespace sluice::rpc {
namespace {

namespace asio = boost::asio;

net::Awaitable<void> count_one(Wakeup& wakeup, int& woken) {
  bool notified = co_await wakeup.wait();
  if (notified) ++woken;
}

TEST(Wakeup, WakesEveryoneWhoWaitsAndNobodyLater) {
  asio::io_context loop;
  Wakeup wakeup;
  int woken = 0;
  wakeup.notify();  // of no use to those who come later
  for (int i = 0; i < 3; ++i) asio::co_spawn(loop, count_one(wakeup, woken), [](std::exception_ptr) {});
  loop.poll();
  EXPECT_EQ(woken, 0);
  wakeup.notify();
  EXPECT_EQ(woken, 0);  // they run when the loop does
  loop.poll();
  EXPECT_EQ(woken, 3);
}

net::Awaitable<void> wait_for_either(Wakeup& first, Wakeup& second, std::size_t& winner) {
  using namespace asio::experimental::awaitable_operators;
  auto result = co_await (first.wait() || second.wait());
  winner = result.index();
}

TEST(Wakeup, AWaitCanBeCancelled) {
  asio::io_context loop;
  Wakeup first, second;
  std::size_t winner = 99;
  asio::co_spawn(loop, wait_for_either(first, second, winner), [](std::exception_ptr) {});
  loop.poll();
  second.notify();
  loop.restart();
  loop.poll();
  EXPECT_EQ(winner, 1u);
  first.notify();  // nobody is left in it
  EXPECT_EQ(loop.poll(), 0u);
}

}  // namespace
}  // namespace sluice::rpc
