#include "node/file_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/id.h"

namespace sluice::node {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ContentId hash_of(std::string_view bytes) {
  ContentHash hash;
  hash.update(bytes);
  return hash.finish();
}

std::string read(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path).rdbuf();
  return content.str();
}

class FileStoreTest : public testing::Test {
 protected:
  FileStoreTest() : folder_(testing::TempDir() + fmt::format("files-{}", NodeId::random().text())) {
    std::filesystem::create_directories(folder_ + "/part");
  }
  ~FileStoreTest() override { std::filesystem::remove_all(folder_); }

  FileStore open(std::uint64_t size_max = FileStore::kSizeMax) { return *FileStore::open(folder_, size_max); }
  static ContentId put(FileStore& store, const std::string& bytes) {
    ContentId content = hash_of(bytes);
    auto arrival = store.receive(content, bytes.size());
    EXPECT_TRUE(arrival) << arrival.error();
    EXPECT_TRUE(arrival->write(bytes));
    EXPECT_TRUE(arrival->finish());
    return content;
  }
  std::size_t kept() const {
    auto entries = std::filesystem::directory_iterator(folder_ + "/files");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
  }
  std::expected<void, std::string> lay(FileStore& store, const std::string& path, const ContentId& content,
                                       bool executable = false) {
    std::vector<LaidFile> files = {{.path = path, .content = content, .executable = executable}};
    return lay_file(store.path_of(content), files[0], folder_ + "/part", work_directory_for(files), std::nullopt);
  }

  std::string folder_;
};

TEST_F(FileStoreTest, HashesAsTheStandardSays) {
  EXPECT_EQ(hash_of("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4, B.1
  EXPECT_EQ(ContentId::from_bytes(hash_of("").as_bytes()), hash_of(""));
  EXPECT_EQ(ContentId::from_bytes("short"), std::nullopt);
}

TEST_F(FileStoreTest, KeepsWhatArrivedWhole) {
  FileStore store = open();
  EXPECT_FALSE(store.has(hash_of("content")));
  ContentId content = put(store, "content");
  EXPECT_TRUE(store.has(content));
  EXPECT_TRUE(open().has(content)) << "after a restart too";
  EXPECT_EQ(read(store.path_of(content)), "content");
}

TEST_F(FileStoreTest, KeepsNothingThatIsNotWhatItWasSaidToBe) {
  FileStore store = open();
  auto other = store.receive(hash_of("content"), 7);
  EXPECT_TRUE(other->write(std::string("CONTENT")));
  EXPECT_THAT(other->finish().error(), HasSubstr("changed"));
  auto shorter = store.receive(hash_of("content"), 7);
  EXPECT_TRUE(shorter->write(std::string("cont")));
  EXPECT_FALSE(shorter->finish());
  auto longer = store.receive(hash_of("content"), 3);
  EXPECT_FALSE(longer->write(std::string("content")));
  EXPECT_FALSE(store.has(hash_of("content")));
}

TEST_F(FileStoreTest, AnArrivalThatBreaksOffLeavesNothing) {
  FileStore store = open();
  {
    auto arrival = store.receive(hash_of("content"), 7);
    EXPECT_TRUE(arrival->write(std::string("con")));
    EXPECT_EQ(kept(), 1U);
  }
  EXPECT_EQ(kept(), 0U);
}

TEST_F(FileStoreTest, TheOldestMakeRoom) {
  FileStore store = open(250);
  ContentId old = put(store, std::string(100, 'a')), used = put(store, std::string(100, 'b'));
  std::filesystem::last_write_time(store.path_of(old),
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  std::filesystem::last_write_time(store.path_of(used),
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(3));
  EXPECT_TRUE(store.has(used));  // which is a use
  ContentId fresh = put(store, std::string(100, 'c'));
  EXPECT_FALSE(store.has(old));
  EXPECT_TRUE(store.has(used));
  EXPECT_TRUE(store.has(fresh));
  EXPECT_THAT(store.receive(old, 251).error(), HasSubstr("more than"));
}

TEST_F(FileStoreTest, LaysAFileWhereItsStageExpectsIt) {
  FileStore store = open();
  ContentId content = put(store, "#!/bin/sh\n");
  ASSERT_TRUE(lay(store, "a/b", content, true));
  EXPECT_EQ(read(folder_ + "/part/a/b"), "#!/bin/sh\n");
  struct stat status {};
  ::stat((folder_ + "/part/a/b").c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  EXPECT_FALSE(lay(store, "a/b", content)) << "it is there already";
}

TEST_F(FileStoreTest, ThereIsRoomAboveForPathsThatGoUp) {
  FileStore store = open();
  std::vector<LaidFile> files = {{.path = "x", .content = {}}, {.path = "../../y/z", .content = {}}};
  EXPECT_EQ(work_directory_for(files), "work/work");
  ASSERT_TRUE(lay(store, "../y", put(store, "up")));
  EXPECT_EQ(read(folder_ + "/part/y"), "up");
  EXPECT_TRUE(std::filesystem::is_directory(folder_ + "/part/work"));
}

TEST_F(FileStoreTest, ADamagedCopyIsNoticedAndGoes) {
  FileStore store = open();
  ContentId content = put(store, "content");
  std::ofstream(store.path_of(content)) << "CONTENT";
  EXPECT_THAT(lay(store, "x", content).error(), HasSubstr("damaged"));
  EXPECT_FALSE(store.has(content));
}

TEST_F(FileStoreTest, SomePathsAreRefused) {
  for (const char* path : {"a", "a/b", "../a", "../../a.b/c"})
    EXPECT_EQ(shipped_path_problem(path), std::nullopt) << path;
  for (const char* path : {"", "/a", "./a", "a/", "a/../b", "..", "../..", "a//b", "."})
    EXPECT_NE(shipped_path_problem(path), std::nullopt) << path;
  std::string far;
  for (int i = 0; i < 40; ++i) far += "../";
  EXPECT_NE(shipped_path_problem(far + "a"), std::nullopt);
  EXPECT_NE(shipped_path_problem(std::string("a\0b", 3)), std::nullopt);
}

}  // namespace
}  // namespace sluice::node
