#include "flow/shell.h"

#include <gmock/gmock.h>

namespace sluice::flow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Shell kBash{ShellKind::bash, "/bin/bash"};
const Shell kDash{ShellKind::posix, "/bin/dash"};
const exec::Environment kPlain({"PATH=/bin"});

TEST(Shell, KnowsItsOwnNames) {
  for (const char* name : {"echo", "cd", "[", "if", "{", "read", "mapfile", "[[", "time", "coproc"})
    EXPECT_TRUE(shell_runs_itself(kBash, name, kPlain)) << name;
  for (const char* name : {"true", "false", "cat", "./echo", "Echo", ""})
    EXPECT_FALSE(shell_runs_itself(kBash, name, kPlain)) << name;
}

TEST(Shell, AnExportedFunctionBelongsToBash) {
  exec::Environment environment({"BASH_FUNC_cat%%=() { echo mine; }"});
  EXPECT_TRUE(shell_runs_itself(kBash, "cat", environment));
  EXPECT_FALSE(shell_runs_itself(kDash, "cat", environment));
}

TEST(Shell, EverythingMayBelongToAnUnknownShell) {
  EXPECT_TRUE(shell_runs_itself({ShellKind::other, "/usr/bin/fish"}, "cat", kPlain));
}

TEST(Shell, StartFilesCustomiseBash) {
  EXPECT_TRUE(shell_is_customised(kBash, exec::Environment({"BASH_ENV=/x"})));
  EXPECT_TRUE(shell_is_customised(kBash, exec::Environment({"SHELLOPTS=xtrace"})));
  EXPECT_FALSE(shell_is_customised(kBash, kPlain));
  EXPECT_FALSE(shell_is_customised(kDash, exec::Environment({"BASH_ENV=/x"})));
}

TEST(Shell, KnowsExtendedPatternsWhenItsOptionsSaySo) {
  exec::Environment with({"BASHOPTS=cmdhist:extglob"});
  EXPECT_TRUE(shell_dialect(kBash, with).extended_patterns);
  EXPECT_FALSE(shell_dialect(kDash, with).extended_patterns);
  EXPECT_FALSE(shell_dialect(kBash, kPlain).extended_patterns);
}

TEST(Shell, GetsTheTextAsOneArgument) {
  EXPECT_THAT(shell_arguments(kBash, "a; b", true), ElementsAre("bash", "-o", "pipefail", "-c", "a; b"));
  EXPECT_THAT(shell_arguments(kBash, "a", false), ElementsAre("bash", "-c", "a"));
  EXPECT_THAT(shell_arguments(kDash, "a", true), ElementsAre("dash", "-c", "a"));
  EXPECT_THAT(shell_arguments(kBash, "-x", false), ElementsAre("bash", "-c", "--", "-x"));
}

TEST(Shell, IsFoundByNameOrPath) {
  EXPECT_EQ(find_shell("", "/usr/bin:/bin")->kind, ShellKind::bash);
  EXPECT_EQ(find_shell("sh", "/usr/bin:/bin")->kind, ShellKind::posix);
  EXPECT_EQ(find_shell("/bin/sh", "")->path, "/bin/sh");
  EXPECT_THAT(find_shell("nosuchshell", "/bin").error(), HasSubstr("'nosuchshell' is not found"));
}

}  // namespace
}  // namespace sluice::flow
