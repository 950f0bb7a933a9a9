#include "node/audit_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cluster/temporary_folder_for_test.h"

namespace sluice::node {
namespace {

class AuditLogTest : public testing::Test {
 protected:
  std::string text() const {
    std::ifstream file(folder_ / "audit.log");
    return (std::stringstream() << file.rdbuf()).str();
  }

  static rpc::CallInfo call(const std::string& method) {
    rpc::CallInfo info{.method = method, .caller = {}, .deadline = {}};
    info.caller.connection.name = "somebody";
    return info;
  }

  cluster::TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

TEST_F(AuditLogTest, ALineSaysWhoCalledWhat) {
  auto log = AuditLog::open(folder_);
  ASSERT_TRUE(log.has_value());
  ASSERT_TRUE(log->write(call("sluice.v1.Flows/Run"), true).has_value());
  EXPECT_NE(text().find(R"("method":"sluice.v1.Flows/Run","allowed":true,"who":"somebody")"), std::string::npos)
      << text();
}

TEST_F(AuditLogTest, ALineSaysWhatWasChanged) {
  auto log = AuditLog::open(folder_);
  ASSERT_TRUE(log.has_value());
  rpc::CallInfo stop = call("sluice.v1.Flows/StopFlow");
  stop.object = {{"flow", "3f2a"}, {"name", std::string(10'000, 'x')}};
  ASSERT_TRUE(log->write(stop, true).has_value());
  EXPECT_NE(text().find(R"("object":{"flow":"3f2a","name":"xxx)"), std::string::npos) << text();
  EXPECT_LT(text().size(), 1000u);
}

// The limit of a file's size stands for a full disk, and can be lifted again.
TEST_F(AuditLogTest, AFullDiskIsAnErrorAndLeavesNoHalfLine) {
  auto log = AuditLog::open(folder_);
  ASSERT_TRUE(log.has_value());
  ASSERT_TRUE(log->write(call("first"), true).has_value());
  std::string before = text();
  rlimit unlimited{};
  ::getrlimit(RLIMIT_FSIZE, &unlimited);
  auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit full = unlimited;
  full.rlim_cur = before.size() + 10;
  ::setrlimit(RLIMIT_FSIZE, &full);
  EXPECT_FALSE(log->write(call("second"), true).has_value());  // ten bytes of it fit
  EXPECT_EQ(text(), before);
  full.rlim_cur = before.size();
  ::setrlimit(RLIMIT_FSIZE, &full);
  EXPECT_EQ(log->write(call("third"), true), std::unexpected(EFBIG));
  ::setrlimit(RLIMIT_FSIZE, &unlimited);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(log->write(call("fourth"), true).has_value());
  EXPECT_TRUE(text().starts_with(before));
  EXPECT_NE(text().find("fourth"), std::string::npos);
  EXPECT_EQ(text().find("second"), std::string::npos);
}

TEST_F(AuditLogTest, AFileThatWasRemovedIsBegunAnew) {
  auto log = AuditLog::open(folder_);
  ASSERT_TRUE(log.has_value());
  ASSERT_TRUE(log->write(call("first"), true).has_value());
  std::filesystem::remove(folder_ / "audit.log");
  ASSERT_TRUE(log->write(call("second"), true).has_value());
  EXPECT_NE(text().find("second"), std::string::npos);
}

TEST_F(AuditLogTest, AFolderThatIsGoneIsAnErrorUntilItIsBack) {
  auto log = AuditLog::open(folder_);
  ASSERT_TRUE(log.has_value());
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(log->write(call("first"), true), std::unexpected(ENOENT));
  EXPECT_EQ(log->write(call("second"), true), std::unexpected(ENOENT));
  std::filesystem::create_directory(folder_);
  EXPECT_TRUE(log->write(call("third"), true).has_value());
}

}  // namespace
}  // namespace sluice::node
