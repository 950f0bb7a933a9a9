// The real binary against bash: the same text, the same stdin, the same kind of folder; the same stdout and exit
// status.
//
// SLUICE_BINARY names the program. Both run with the status rule of bash's pipefail, which `--pipefail=strict` is.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "property/pipeline_text_generator.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kCases = 200;
constexpr std::chrono::milliseconds kDeadline = std::chrono::seconds(20);  // a text takes milliseconds: this is a hang
constexpr const char* kInput = "b|a\nx\nabc | xyz\n\nlast line without its end";

/// Gone with all that it holds, whichever way the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-property-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary folder: " << pattern;
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Outcome {
  int status = -1;  // as a shell shows it: 128 + the signal
  std::string output;
  std::string errors;
  bool operator==(const Outcome& other) const { return status == other.status && output == other.output; }
};

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Starts a program in a process group of its own, with default signals: gtest's parent may ignore SIGPIPE.
std::optional<pid_t> start(std::vector<std::string> words, const std::filesystem::path& folder) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::filesystem::path work = folder / "work";
  std::filesystem::create_directory(work);
  std::ofstream(folder / "input", std::ios::binary) << kInput;

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, (folder / "input").c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, (folder / "output").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&files, 2, (folder / "errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addchdir_np(&files, work.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigfillset(&defaults);
  sigset_t unblocked;
  sigemptyset(&unblocked);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &unblocked);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  pid_t process = 0;
  const int error = posix_spawnp(&process, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return std::nullopt;
  return process;
}

/// Waits for the process, or ends its group at the deadline. The status, or nothing if it hung.
std::optional<int> wait_for(pid_t process) {
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
  pollfd ended{.fd = handle, .events = POLLIN, .revents = 0};
  const bool in_time = poll(&ended, 1, static_cast<int>(kDeadline.count())) == 1;
  close(handle);
  if (!in_time) kill(-process, SIGKILL);
  int status = 0;
  waitpid(process, &status, 0);
  if (!in_time) return std::nullopt;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Outcome run(std::vector<std::string> words) {
  const TemporaryFolder folder;
  const std::string program = words.front();
  const auto process = start(std::move(words), folder.path());
  if (!process) {
    ADD_FAILURE() << "cannot start " << program;
    return {};
  }
  const auto status = wait_for(*process);
  EXPECT_TRUE(status.has_value()) << program << " did not end within " << kDeadline.count() << " ms";
  return {status.value_or(-1), read_file(folder.path() / "output"), read_file(folder.path() / "errors")};
}

void expect_same_as_bash(const std::string& text) {
  const Outcome bash = run({"bash", "-o", "pipefail", "-c", text});
  const Outcome ours =
      run({std::getenv("SLUICE_BINARY"), "run", "--pipefail=strict", "--progress=none", "--quiet", text});
  EXPECT_EQ(ours.status, bash.status) << "stderr of bash: " << bash.errors << "\nof sluice: " << ours.errors;
  EXPECT_EQ(ours.output, bash.output) << "stderr of bash: " << bash.errors << "\nof sluice: " << ours.errors;
}

class PipelineAgainstBash : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("SLUICE_BINARY") == nullptr) GTEST_SKIP() << "SLUICE_BINARY does not name the sluice program";
  }

  template <typename MakeText>
  void compare(const MakeText& make_text) {
    const std::uint64_t seed = property_seed();
    const std::size_t cases = property_cases(kCases);
    for (std::size_t index = 0; index < cases && !HasFailure(); ++index) {
      PipelineTextGenerator generator(seed + index);
      const std::string text = make_text(generator);
      SCOPED_TRACE(rerun_hint(seed + index) + "\ntext: " + text);
      expect_same_as_bash(text);
    }
  }
};

TEST_F(PipelineAgainstBash, WritesTheSameBytesAndEndsWithTheSameStatus) {
  compare([](PipelineTextGenerator& generator) { return generator.pipeline().text; });
}

TEST_F(PipelineAgainstBash, EndsWithTheSameStatusHoweverItsProcessesEnd) {
  compare([](PipelineTextGenerator& generator) { return generator.status_pipeline(); });
}

}  // namespace
}  // namespace sluice::flow
