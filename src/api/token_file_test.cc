#include "api/token_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

namespace sluice::api {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kToken = "0123456789abcdef0123456789abcdef";

std::string error_of(std::string_view text) {
  auto file = TokenFile::parse(text, "tokens");
  return file ? "" : file.error();
}

TEST(TokenFile, KnowsTheRoleOfEachToken) {
  auto file = TokenFile::parse("# operators\n\nread 0123456789abcdefghijklmn\n  admin\t" + std::string(kToken) + "\r\n",
                               "tokens");
  ASSERT_TRUE(file.has_value()) << file.error();
  EXPECT_EQ(file->role_of(kToken), net::Role::admin);
  EXPECT_EQ(file->role_of("0123456789abcdefghijklmn"), net::Role::read);
  for (std::string_view token : {"", "0123456789abcdefghijklm", "0123456789abcdefghijklmno", "admin", "# operators"})
    EXPECT_EQ(file->role_of(token), std::nullopt) << token;
}

TEST(TokenFile, SaysWhatIsWrongWithoutShowingAToken) {
  EXPECT_EQ(error_of("\nadmin\n"), "tokens line 2: expected a role and a token");
  EXPECT_THAT(error_of("admi 0123456789abcdefghijklmn"), HasSubstr("did you mean 'admin'?"));
  EXPECT_THAT(error_of("node 0123456789abcdefghijklmn"), HasSubstr("a token can't have the role 'node'"));
  EXPECT_THAT(error_of("admin hunter2"), HasSubstr("20 to 512 letters"));
  EXPECT_THAT(error_of("admin hunter2"), Not(HasSubstr("hunter2")));
  EXPECT_THAT(error_of("admin " + std::string(kToken) + "\xc3\xa4"), HasSubstr("consists of letters"));
  EXPECT_THAT(error_of("admin " + std::string(kToken) + "\nread " + kToken), HasSubstr("line 2: the token stands"));
  EXPECT_THAT(error_of("admin " + std::string(kToken) + " more"), HasSubstr("expected a role and a token"));
}

TEST(TokenFile, IsReadOnlyIfNobodyElseMayReadIt) {
  std::string path = testing::TempDir() + "/sluice-tokens-" + std::to_string(::getpid());
  std::ofstream(path) << "admin " << kToken << "\n";
  ::chmod(path.c_str(), 0600);
  auto file = TokenFile::read(path);
  ASSERT_TRUE(file.has_value()) << file.error();
  EXPECT_EQ(file->role_of(kToken), net::Role::admin);
  ::chmod(path.c_str(), 0640);
  EXPECT_THAT(TokenFile::read(path).error(), HasSubstr("chmod 600"));
  ::unlink(path.c_str());
  EXPECT_THAT(TokenFile::read(path).error(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace sluice::api
