#include "link/pipe_observer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace sluice::link {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
  UniqueFd read_end, write_end;
};

TEST(PipeObserver, SeesWhenTheReaderIsGone) {
  Pipe pipe;
  PipeObserver observer = PipeObserver::watch(pipe.write_end.get());
  EXPECT_EQ(observer.reader(), ReaderState::open);
  pipe.read_end.reset();
  EXPECT_EQ(observer.reader(), ReaderState::gone);
  pipe.write_end.reset();
  EXPECT_EQ(observer.reader(), ReaderState::gone);
}

TEST(PipeObserver, DoesNotKeepThePipeOpen) {
  Pipe pipe;
  PipeObserver observer = PipeObserver::watch(pipe.read_end.get());
  EXPECT_EQ(observer.reader(), ReaderState::open);
  pipe.write_end.reset();
  char byte;
  EXPECT_EQ(::read(pipe.read_end.get(), &byte, 1), 0) << "the reader must see the end of file";
}

TEST(PipeObserver, MeasuresTheFill) {
  Pipe pipe;
  PipeObserver observer = PipeObserver::watch(pipe.read_end.get());
  ASSERT_EQ(::write(pipe.write_end.get(), "12345", 5), 5);
  auto fill = observer.fill();
  ASSERT_TRUE(fill.has_value());
  EXPECT_EQ(fill->used.value, 5u);
  EXPECT_EQ(fill->capacity.value, static_cast<std::uint64_t>(::fcntl(pipe.read_end.get(), F_GETPIPE_SZ)));
}

TEST(PipeObserver, SeesWhenTheLastWriterIsGone) {
  Pipe pipe;
  std::string path = "/proc/self/fd/" + std::to_string(pipe.read_end.get());
  EXPECT_EQ(pipe_has_writer(path.c_str()), true);
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  pipe.write_end.reset();
  EXPECT_EQ(pipe_has_writer(path.c_str()), false) << "also while there is something left to read";
  EXPECT_EQ(pipe_has_writer("/dev/null"), std::nullopt);
  EXPECT_EQ(pipe_has_writer("/no/such/file"), std::nullopt);
}

TEST(PipeObserver, KnowsNothingOfOtherFiles) {
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  PipeObserver observer = PipeObserver::watch(null.get());
  EXPECT_FALSE(observer.watching());
  EXPECT_EQ(observer.reader(), ReaderState::unknown);
  EXPECT_FALSE(observer.fill().has_value());
}

}  // namespace
}  // namespace sluice::link
