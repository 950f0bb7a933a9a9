#include "exec/program_lookup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sluice::exec {
namespace {

class ProgramLookup : public testing::Test {
 protected:
  ProgramLookup() {
    char folder[] = "/tmp/program_lookup_XXXXXX";
    root_ = ::mkdtemp(folder);
    std::filesystem::create_directories(root_ / "first/folder");
    std::filesystem::create_directories(root_ / "second");
    add("first/plain", 0644);
    add("second/plain", 0755);
    add("second/folder", 0755);
    add("second/tool", 0755);
    add("first/locked", 0644);
    path_ = (root_ / "first").string() + ":" + (root_ / "second").string();
  }
  ~ProgramLookup() override { std::filesystem::remove_all(root_); }

  void add(const char* name, mode_t mode) {
    std::ofstream(root_ / name) << "x";
    ::chmod((root_ / name).c_str(), mode);
  }

  std::filesystem::path root_;
  std::string path_;
};

TEST_F(ProgramLookup, TakesTheFirstExecutableFile) {
  EXPECT_EQ(find_program("tool", path_), (root_ / "second/tool").string());
  EXPECT_EQ(find_program("plain", path_), (root_ / "second/plain").string());
  EXPECT_EQ(find_program("folder", path_), (root_ / "second/folder").string());
}

TEST_F(ProgramLookup, TellsNotFoundFromNotExecutable) {
  EXPECT_EQ(find_program("absent", path_).error(), LookupError::not_found);
  EXPECT_EQ(find_program("", path_).error(), LookupError::not_found);
  EXPECT_EQ(find_program("locked", path_).error(), LookupError::not_executable);
  EXPECT_EQ(find_program((root_ / "first").string(), path_).error(), LookupError::not_executable);
  EXPECT_EQ(find_program("./no/such", path_).error(), LookupError::not_found);
}

TEST_F(ProgramLookup, AnEmptyFolderIsTheCurrentOne) {
  auto before = std::filesystem::current_path();
  std::filesystem::current_path(root_ / "second");
  EXPECT_EQ(find_program("tool", ":" + path_), "./tool");
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace sluice::exec
