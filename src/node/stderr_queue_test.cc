#include "node/stderr_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "base/unique_fd.h"

namespace sluice::node {
namespace {

// Puts a pipe in the place of stderr while a test runs.
class StderrQueueTest : public testing::Test {
 protected:
  StderrQueueTest() {
    ::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader_.reset(ends[0]);
    saved_.reset(::dup(STDERR_FILENO));
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
  }
  ~StderrQueueTest() override { ::dup2(saved_.get(), STDERR_FILENO); }

  std::string read_some() {
    char buffer[1 << 16];
    ssize_t got = ::read(reader_.get(), buffer, sizeof buffer);
    return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : std::string();
  }

  UniqueFd reader_, saved_;
  StderrQueue queue_;
};

TEST_F(StderrQueueTest, WritesAtOnceWhenThereIsRoom) {
  queue_.say("hello");
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(read_some(), "sluice: hello\n");
}

TEST_F(StderrQueueTest, NeverWaitsForAReader) {
  std::string text(1 << 20, 'x');
  queue_.put(text);
  EXPECT_FALSE(queue_.empty());
  EXPECT_FALSE(queue_.has_room());
  std::size_t read = 0;
  while (!queue_.empty()) {
    read += read_some().size();
    queue_.pump();
  }
  while (read < text.size()) read += read_some().size();
  EXPECT_EQ(read, text.size());
}

TEST_F(StderrQueueTest, CountsWhatItHadToDrop) {
  queue_.put(std::string(StderrQueue::kPendingMax * 2, 'x'));
  queue_.say("one");
  queue_.say("two");
  while (!queue_.empty()) {
    read_some();
    queue_.pump();
  }
  queue_.say("three");
  std::string rest;
  while (rest.find("three\n") == std::string::npos) {
    rest += read_some();
    queue_.pump();
  }
  EXPECT_TRUE(rest.ends_with("sluice: 2 messages were lost: nobody read stderr\nsluice: three\n"));
}

TEST_F(StderrQueueTest, GivesUpOnAClosedPipe) {
  reader_.reset();
  queue_.say("nobody hears this");
  EXPECT_TRUE(queue_.empty());
}

}  // namespace
}  // namespace sluice::node
