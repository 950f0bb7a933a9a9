#include "link/line_merge.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

namespace sluice::link {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(LineMergeMachine, LinesAreWholeAndMarked) {
  LineMergeMachine merge({"n1: ", "n2: "});
  merge.on_bytes(0, "hel");
  merge.on_bytes(1, "one\ntwo\n");
  EXPECT_EQ(merge.take_output(), "n2: one\nn2: two\n");
  merge.on_bytes(0, "lo\n");
  EXPECT_EQ(merge.take_output(), "n1: hello\n");
}

TEST(LineMergeMachine, AnUnfinishedLineGetsItsEnd) {
  LineMergeMachine merge({"", ""});
  merge.on_bytes(0, "last");
  merge.on_end(0);
  EXPECT_EQ(merge.take_output(), "last\n");
  merge.on_end(1);
  EXPECT_TRUE(merge.finished());
}

TEST(LineMergeMachine, ALongLineHoldsTheOthersBackUntilItEnds) {
  LineMergeMachine merge({"a:", "b:"});
  merge.on_bytes(0, std::string(kLineBufferMax, 'x'));
  EXPECT_FALSE(merge.wants(1));
  EXPECT_EQ(merge.take_output().size(), kLineBufferMax + 2);
  merge.on_bytes(0, "yy\nz");
  EXPECT_TRUE(merge.wants(1));
  EXPECT_EQ(merge.take_output(), "yy\n");
  merge.on_bytes(1, "b\n");
  EXPECT_EQ(merge.take_output(), "b:b\n");
}

TEST(LineMergeMachine, ALongLineThatIsCutOffByTheEndLetsTheOthersGoOn) {
  LineMergeMachine merge({"", ""});
  merge.on_bytes(0, std::string(kLineBufferMax, 'x'));
  merge.on_end(0);
  EXPECT_TRUE(merge.wants(1));
  EXPECT_TRUE(merge.take_output().ends_with("x\n"));
}

struct Pipe {
  UniqueFd read_end, write_end;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == 0) read_end.reset(ends[0]), write_end.reset(ends[1]);
  }
};

void write_text(int fd, std::string_view text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

TEST(LineMerge, MergesPipesUntilAllHaveEnded) {
  Pipe a, b, out;
  std::vector<UniqueFd> inputs;
  inputs.push_back(std::move(a.read_end));
  inputs.push_back(std::move(b.read_end));
  std::promise<MergeEnd> ended;
  auto merge = LineMerge::start(std::move(inputs), {"a ", "b "}, std::move(out.write_end),
                                [&](MergeEnd end) { ended.set_value(end); });
  ASSERT_TRUE(merge);
  write_text(a.write_end.get(), "1\n2\n");
  write_text(b.write_end.get(), "3");
  a.write_end.reset();
  b.write_end.reset();
  auto end = ended.get_future();
  ASSERT_EQ(end.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(end.get(), MergeEnd::ended);
  char buffer[64];
  ssize_t got = ::read(out.read_end.get(), buffer, sizeof buffer);
  std::vector<std::string> lines;
  std::string text(buffer, static_cast<std::size_t>(got));
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.erase(0, text.find('\n') + 1);
  }
  EXPECT_THAT(lines, UnorderedElementsAre("a 1", "a 2", "b 3"));
}

TEST(LineMerge, ALineThatGrowsLongBesideABusyInputIsWhole) {
  constexpr std::size_t kSize = 2 * kLineBufferMax;
  Pipe a, b, out;
  for (Pipe* pipe : {&a, &b, &out})
    ASSERT_GE(::fcntl(pipe->write_end.get(), F_SETPIPE_SZ, 1 << 20), static_cast<int>(kSize));
  std::string long_line(kSize - 1, 'x'), lines;
  while (lines.size() + 5 <= kSize) lines += "line\n";
  write_text(a.write_end.get(), long_line + "\n");
  write_text(b.write_end.get(), lines);
  a.write_end.reset();
  b.write_end.reset();
  std::vector<UniqueFd> inputs;
  inputs.push_back(std::move(a.read_end));
  inputs.push_back(std::move(b.read_end));
  auto merge = LineMerge::start(std::move(inputs), {"", ""}, std::move(out.write_end), [](MergeEnd) {});
  ASSERT_TRUE(merge);
  std::string merged;
  char buffer[65536];
  for (ssize_t got = 1; got > 0; merged.append(buffer, static_cast<std::size_t>(got)))
    got = ::read(out.read_end.get(), buffer, sizeof buffer);
  EXPECT_EQ(merged.size(), kSize + lines.size());
  std::size_t begin = merged.find('x');
  EXPECT_EQ(merged.substr(begin, kSize), long_line + "\n");
}

TEST(LineMerge, NoticesThatItsReaderHasGoneWithoutAnyInput) {
  Pipe a, out;
  std::vector<UniqueFd> inputs;
  inputs.push_back(std::move(a.read_end));
  std::promise<MergeEnd> ended;
  auto merge =
      LineMerge::start(std::move(inputs), {""}, std::move(out.write_end), [&](MergeEnd end) { ended.set_value(end); });
  ASSERT_TRUE(merge);
  out.read_end.reset();
  auto end = ended.get_future();
  ASSERT_EQ(end.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(end.get(), MergeEnd::reader_gone);
}

// poll(2) says POLLHUP of a socket, and POLLERR of a pipe.
TEST(LineMerge, NoticesThatASocketsReaderHasGoneWithoutAnyInput) {
  Pipe a;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd output(ends[0]), reader(ends[1]);
  std::vector<UniqueFd> inputs;
  inputs.push_back(std::move(a.read_end));
  std::promise<MergeEnd> ended;
  auto merge =
      LineMerge::start(std::move(inputs), {""}, std::move(output), [&](MergeEnd end) { ended.set_value(end); });
  ASSERT_TRUE(merge);
  reader.reset();
  auto end = ended.get_future();
  ASSERT_EQ(end.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(end.get(), MergeEnd::reader_gone);
}

TEST(LineMerge, CanBeStoppedWhileItsReaderIsStuck) {
  Pipe a, out;
  std::vector<UniqueFd> inputs;
  inputs.push_back(std::move(a.read_end));
  {
    auto merge = LineMerge::start(std::move(inputs), {""}, std::move(out.write_end), [](MergeEnd) {});
    ASSERT_TRUE(merge);
    std::string lines;
    while (lines.size() < 60000) lines += "a line that fills the pipe\n";
    write_text(a.write_end.get(), lines);
  }
  SUCCEED();
}

}  // namespace
}  // namespace sluice::link
