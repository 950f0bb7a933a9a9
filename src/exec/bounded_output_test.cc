#include "exec/bounded_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "exec/processes_for_test.h"

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{};
constexpr std::uint64_t kBound = 8192;  // segments of 1024

class BoundedOutputTest : public testing::Test {
 protected:
  std::string all(std::uint64_t from = 0) const {
    std::string text;
    while (true) {
      auto chunk = read_bounded_output(folder_.path(), "1.stdout", from, 1000);
      EXPECT_TRUE(chunk.has_value());
      if (!chunk || chunk->bytes.empty()) return text;
      text += chunk->bytes;
      from = chunk->offset + chunk->bytes.size();
    }
  }
  OutputChunk look(std::uint64_t offset) const {
    return read_bounded_output(folder_.path(), "1.stdout", offset, 100).value_or(OutputChunk{});
  }
  std::uint64_t bytes_on_disk() const {
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) bytes += entry.file_size();
    return bytes;
  }
  // Byte number n of the stream is this.
  static std::string text(std::uint64_t from, std::uint64_t size) {
    std::string bytes;
    for (std::uint64_t i = from; i < from + size; ++i) bytes += static_cast<char>('a' + i % 23);
    return bytes;
  }

  FolderForTest folder_;
  UniqueFd directory_{::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  BoundedOutput output_{directory_.get(), "1.stdout", kBound};
};

TEST_F(BoundedOutputTest, KeepsAllThatFits) {
  output_.append("one\n", kStart);
  output_.append("two\n", kStart);
  EXPECT_EQ(all(), "one\ntwo\n");
  EXPECT_EQ(all(4), "two\n");
  EXPECT_EQ(all(8), "");
  EXPECT_EQ(look(99).offset, 8u);
  EXPECT_EQ(output_.total_bytes(), 8u);
  EXPECT_EQ(output_.dropped_bytes(), 0u);
}

TEST_F(BoundedOutputTest, KeepsTheLastBytesAndCountsTheRest) {
  constexpr std::uint64_t kTotal = 100'000;
  for (std::uint64_t at = 0; at < kTotal; at += 777)
    output_.append(text(at, std::min<std::uint64_t>(777, kTotal - at)), kStart);
  EXPECT_EQ(output_.total_bytes(), kTotal);
  EXPECT_LE(bytes_on_disk(), kBound);
  EXPECT_GE(bytes_on_disk(), kBound * 7 / 8);
  EXPECT_EQ(output_.dropped_bytes(), kTotal - bytes_on_disk());
  OutputChunk first = look(0);
  EXPECT_EQ(first.offset, output_.dropped_bytes());
  EXPECT_EQ(first.first_kept, output_.dropped_bytes());
  EXPECT_EQ(first.dropped, output_.dropped_bytes());
  EXPECT_EQ(first.end, kTotal);
  EXPECT_EQ(all(), text(first.offset, kTotal - first.offset));
}

TEST_F(BoundedOutputTest, CutsAWriteThatIsLargerThanTheBound) {
  output_.append(text(0, 50'000), kStart);
  EXPECT_LE(bytes_on_disk(), kBound);
  EXPECT_EQ(all(49'000), text(49'000, 1000));
}

TEST_F(BoundedOutputTest, KeepsNothingWhenAskedTo) {
  BoundedOutput none(directory_.get(), "1.stdout", 0);
  none.append("text", kStart);
  EXPECT_EQ(none.dropped_bytes(), 4u);
  EXPECT_EQ(bytes_on_disk(), 0u);
  EXPECT_FALSE(none.failing());
}

TEST_F(BoundedOutputTest, ReadsNothingFromAStreamThatIsNotThere) {
  EXPECT_EQ(look(5).end, 0u);
  EXPECT_EQ(look(5).bytes, "");
  EXPECT_FALSE(read_bounded_output("/no/such/folder", "1.stdout", 0, 10).has_value());
}

TEST_F(BoundedOutputTest, LooksAtNoFileWithAForeignName) {
  for (const char* name : {"1.stdout.x", "1.stdout.12x", "1.stdout.", "11.stdout.00000000000000000000",
                           "1.stdout.99999999999999999999999"})
    std::ofstream(folder_ / name) << "foreign";
  std::filesystem::create_symlink("/etc/passwd", folder_ / "1.stdout.00000000000000000007");
  output_.append("own", kStart);
  EXPECT_EQ(all(), "own");
}

// The limit of a file's size stands for a full disk, and can be lifted again.
TEST_F(BoundedOutputTest, DropsAndCountsWhileNothingCanBeWritten) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  output_.append(text(0, 100), kStart);
  rlimit full = before;
  full.rlim_cur = 300;
  ::setrlimit(RLIMIT_FSIZE, &full);
  output_.append(text(100, 500), kStart);  // 200 fit
  EXPECT_TRUE(output_.failing());
  EXPECT_EQ(output_.error(), EFBIG);
  EXPECT_EQ(output_.total_bytes(), 600u);
  EXPECT_EQ(output_.dropped_bytes(), 300u);
  output_.append(text(600, 100), kStart + 99ms);
  EXPECT_EQ(output_.dropped_bytes(), 400u) << "not tried again so soon";
  ::setrlimit(RLIMIT_FSIZE, &before);
  output_.append(text(700, 50), kStart + 100ms);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(output_.failing());
  EXPECT_EQ(output_.dropped_bytes(), 400u);
  EXPECT_EQ(look(0).dropped, 400u);
  EXPECT_EQ(look(250).bytes, text(250, 50)) << "a chunk ends at the hole";
  EXPECT_EQ(look(300).offset, 700u) << "and the next begins behind it";
  EXPECT_EQ(all(), text(0, 300) + text(700, 50));
}

// Being root is enough to mount something; else a user namespace makes us that.
bool may_mount() {
  if (::geteuid() == 0) return ::unshare(CLONE_NEWNS) == 0;
  std::string uid = "0 " + std::to_string(::geteuid()) + " 1", gid = "0 " + std::to_string(::getegid()) + " 1";
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << uid;
  std::ofstream("/proc/self/gid_map") << gid;
  return ::geteuid() == 0;
}

// In a namespace of its own, on a file system of 64 KiB.
int fill_small_disk(const std::string& folder) {
  if (!may_mount() || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (::mount("small", folder.c_str(), "tmpfs", 0, "size=64k") != 0) return 77;
  UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  BoundedOutput output(directory.get(), "1.stdout", 1 << 20);
  std::string chunk(10'000, 'x');
  for (int i = 0; i < 20; ++i) output.append(chunk, kStart + std::chrono::seconds(i));
  bool counted = output.total_bytes() == 200'000 && output.dropped_bytes() >= 200'000 - 65'536;
  auto read = read_bounded_output(folder, "1.stdout", 0, 100);
  return counted && output.error() == ENOSPC && read && read->bytes.size() == 100 ? 0 : 1;
}

TEST_F(BoundedOutputTest, CopesWithAFullDisk) {
  pid_t child = ::fork();
  if (child == 0) ::_exit(fill_small_disk(folder_.path()));
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no user namespace to mount a small file system in";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice::exec
