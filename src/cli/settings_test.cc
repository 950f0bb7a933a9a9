#include "cli/settings.h"

#include <gmock/gmock.h>

#include <map>

#include "cli/setting_keys.h"

namespace sluice::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct World {
  std::map<std::string, std::string> variables = {};
  std::optional<std::string> user = {}, system = {};
};

std::expected<Settings, std::string> read(const World& world) {
  Settings::Sources sources{.variable =
                                [&world](const std::string& name) {
                                  auto found = world.variables.find(name);
                                  return found == world.variables.end() ? std::string() : found->second;
                                },
                            .home = "/home/ann"};
  if (world.user) sources.user_file = SettingsFile{"/home/ann/.config/sluice/config", *world.user};
  if (world.system) sources.system_file = SettingsFile{"/etc/sluice/config", *world.system};
  return Settings::from(sources);
}

std::vector<std::string> shown(const World& world, const std::string& key) {
  auto settings = read(world);
  if (!settings) return {"refused: " + settings.error()};
  std::vector<std::string> shown;
  if (const auto* values = settings->find(key))
    for (const SettingValue& value : *values) shown.push_back(value.value + " from " + value.origin);
  return shown;
}

std::string refusal(const World& world) {
  auto settings = read(world);
  return settings ? "" : settings.error();
}

TEST(Settings, WhatIsNotSetHasNoValue) { EXPECT_THAT(shown({}, "name"), IsEmpty()); }

TEST(Settings, TheVariableHidesTheUsersFileAndThatTheSystems) {
  World world{.system = "name = third\n"};
  EXPECT_THAT(shown(world, "name"), ElementsAre("third from /etc/sluice/config:1"));
  world.user = "# mine\nname = second\n";
  EXPECT_THAT(shown(world, "name"), ElementsAre("second from /home/ann/.config/sluice/config:2"));
  world.variables["SLUICE_NAME"] = "first";
  EXPECT_THAT(shown(world, "name"), ElementsAre("first from SLUICE_NAME"));
}

TEST(Settings, PlacesHaveTheirOwnSettingsSideBySide) {
  World world{.variables = {{"SLUICE_LOG_LEVEL", "debug"}}, .user = "name = db1", .system = "listen = 10.0.0.5"};
  EXPECT_THAT(shown(world, "log-level"), ElementsAre("debug from SLUICE_LOG_LEVEL"));
  EXPECT_THAT(shown(world, "name"), ElementsAre(HasSubstr("db1")));
  EXPECT_THAT(shown(world, "listen"), ElementsAre(HasSubstr("10.0.0.5")));
}

TEST(Settings, AListIsHiddenWhole) {
  World world{.user = "label = a=1\nlabel = b=2\n", .system = "label = c=3\n"};
  EXPECT_THAT(shown(world, "label"),
              ElementsAre("a=1 from /home/ann/.config/sluice/config:1", "b=2 from /home/ann/.config/sluice/config:2"));
  world.variables["SLUICE_LABEL"] = "  d=4\te=5 ";
  EXPECT_THAT(shown(world, "label"), ElementsAre("d=4 from SLUICE_LABEL", "e=5 from SLUICE_LABEL"));
}

TEST(Settings, AnEmptyVariableIsNotSet) {
  World world{.variables = {{"SLUICE_NAME", ""}, {"SLUICE_LABEL", "  "}}, .user = "name = db1\nlabel = a=1\n"};
  EXPECT_THAT(shown(world, "name"), ElementsAre(StartsWith("db1")));
  EXPECT_THAT(shown(world, "label"), ElementsAre(StartsWith("a=1")));
}

TEST(Settings, AFlagIsTrueOrFalse) {
  for (std::string yes : {"1", "true"})
    EXPECT_THAT(shown({.user = "quiet = " + yes}, "quiet"), ElementsAre(StartsWith("true ")));
  for (std::string no : {"0", "false"})
    EXPECT_THAT(shown({.variables = {{"SLUICE_QUIET", no}}, .user = "quiet = 1"}, "quiet"),
                ElementsAre("false from SLUICE_QUIET"));
  EXPECT_EQ(refusal({.user = "quiet = yes"}),
            "/home/ann/.config/sluice/config:1: quiet: 'yes' is neither true nor false; write 1, 0, true or false");
}

TEST(Settings, APathOfAFileStartsFromThatFile) {
  World world{.user = "key = my.key\ndata = ~/node\n", .system = "cert = /srv/node.pem\nnode = ./sluice.sock\n"};
  EXPECT_THAT(shown(world, "key"), ElementsAre(StartsWith("/home/ann/.config/sluice/my.key ")));
  EXPECT_THAT(shown(world, "data"), ElementsAre(StartsWith("/home/ann/node ")));
  EXPECT_THAT(shown(world, "cert"), ElementsAre(StartsWith("/srv/node.pem ")));
  EXPECT_THAT(shown(world, "node"), ElementsAre(StartsWith("/etc/sluice/./sluice.sock ")));
  world.variables["SLUICE_KEY"] = "my.key";  // the shell's user thinks of the current folder
  EXPECT_THAT(shown(world, "key"), ElementsAre("my.key from SLUICE_KEY"));
}

TEST(Settings, AnUnknownKeyIsRefusedWithTheNearest) {
  EXPECT_THAT(refusal({.system = "\nlistne = 10.0.0.5"}),
              AllOf(StartsWith("/etc/sluice/config:2: there is no setting 'listne'"), HasSubstr("'listen'")));
  // Though another place hides all of it.
  EXPECT_THAT(refusal({.user = "name = db1", .system = "nam = db1"}), StartsWith("/etc/sluice/config:1: "));
}

TEST(Settings, AnUnknownVariableIsSomebodyElses) {
  EXPECT_EQ(refusal({.variables = {{"SLUICE_PORT", "tcp://10.0.0.1:80"}}}), "");
}

TEST(Settings, ALineThatCannotBeReadIsRefused) {
  EXPECT_EQ(refusal({.user = "name = db1\nlisten\n"}),
            "/home/ann/.config/sluice/config:2: 'listen' is no setting; write KEY = VALUE");
}

TEST(Settings, ASecondValueIsRefusedWhereOneIsMeant) {
  EXPECT_EQ(
      refusal({.user = "name = a\nname = b\n"}),
      "/home/ann/.config/sluice/config:2: name is set a second time; /home/ann/.config/sluice/config:1 has it already");
}

TEST(Settings, AValueIsJudgedAsItsOptionWould) {
  for (std::string line : {"listen = a:b", "advertise = [::1", "join = http://x", "name = Big", "name = all",
                           "label = x", "label = all=1", "http = 10.0.0.5:80", "log-format = xml", "log-level = loud",
                           "grace = soon", "pipefail = never", "progress = loud", "output-max = much", "node = a:b"})
    EXPECT_THAT(refusal({.user = line}),
                StartsWith("/home/ann/.config/sluice/config:1: " + line.substr(0, line.find(' ')) + ": "));
  EXPECT_THAT(refusal({.variables = {{"SLUICE_LISTEN", "a:b"}}}), StartsWith("SLUICE_LISTEN: 'a:b' is no address"));
}

TEST(Settings, VariablesAreNamedAfterKeys) {
  EXPECT_EQ(variable_of("log-level"), "SLUICE_LOG_LEVEL");
  EXPECT_EQ(variable_of("node"), "SLUICE_NODE");
}

}  // namespace
}  // namespace sluice::cli
