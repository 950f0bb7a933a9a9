#include "node/worker_connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

namespace sluice::node {
namespace {

class WorkerConnectionTest : public testing::Test {
 protected:
  WorkerConnectionTest() {
    auto ends = WorkerConnection::make(1 << 20).value();
    ours_ = std::move(ends.first);
    theirs_ = std::move(ends.second);
  }
  void send(std::size_t bytes) {
    ours_.outgoing().append(bytes, 'x');
    ours_.flush();
  }
  // What is there, up to so much.
  std::size_t read(std::size_t bytes) {
    std::string to(bytes, '\0');
    ssize_t got = ::recv(theirs_.get(), to.data(), to.size(), MSG_DONTWAIT);
    return got < 0 ? 0 : static_cast<std::size_t>(got);
  }

  WorkerConnection ours_;
  UniqueFd theirs_;
};

TEST_F(WorkerConnectionTest, APeerThatReadsNothingIsKnown) {
  EXPECT_FALSE(ours_.is_unread());
  ours_.watch();
  EXPECT_FALSE(ours_.is_unread()) << "nothing was sent";
  send(100);
  EXPECT_TRUE(ours_.is_unread());
  send(100);
  EXPECT_TRUE(ours_.is_unread());
}

TEST_F(WorkerConnectionTest, APeerThatHasReadAPartReads) {
  ours_.watch();
  send(100);
  send(4000);
  ASSERT_EQ(read(100), 100u);
  EXPECT_FALSE(ours_.is_unread());
}

TEST_F(WorkerConnectionTest, APeerThatHasReadAndWasSentMoreSinceReads) {
  ours_.watch();
  send(100);
  ASSERT_EQ(read(100), 100u);
  send(50000);
  EXPECT_FALSE(ours_.is_unread()) << "it works on the first";
}

TEST_F(WorkerConnectionTest, APeerThatMadeRoomReads) {
  ours_.watch();
  send(4 << 20);  // more than there is room for
  ASSERT_GT(ours_.unsent(), 0u);
  EXPECT_TRUE(ours_.is_unread());
  for (int i = 0; i < 1000 && ours_.unsent() > 0; ++i) {
    while (read(1 << 20) > 0) {
    }
    ours_.flush();
  }
  ASSERT_EQ(ours_.unsent(), 0u);
  EXPECT_FALSE(ours_.is_unread());
}

TEST_F(WorkerConnectionTest, WatchedAnewItHasToReadAnew) {
  ours_.watch();
  send(100);
  ASSERT_EQ(read(100), 100u);
  ours_.watch();
  send(100);
  EXPECT_TRUE(ours_.is_unread());
}

}  // namespace
}  // namespace sluice::node
