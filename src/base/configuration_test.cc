#include "base/configuration.h"

#include <gmock/gmock.h>

#include <random>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> read(std::string_view text) {
  auto lines = parse_configuration(text);
  if (!lines) return {"line " + std::to_string(lines.error().line) + ": " + lines.error().message};
  std::vector<std::string> shown;
  for (const ConfigurationLine& line : *lines)
    shown.push_back(std::to_string(line.number) + " " + line.key + "=" + line.value);
  return shown;
}

TEST(Configuration, ReadsKeysAndValues) {
  EXPECT_THAT(read("listen = 10.0.0.5:7117\nname=db1\n\trun-as\t=\tnobody "),
              ElementsAre("1 listen=10.0.0.5:7117", "2 name=db1", "3 run-as=nobody"));
  EXPECT_THAT(read(""), ElementsAre());
  EXPECT_THAT(read("\n\n"), ElementsAre());
}

TEST(Configuration, LeavesCommentsOutAndCountsTheirLines) {
  EXPECT_THAT(read("# first\n\n  # second\nname = db1 # of this host\nnode = a#b\n"),
              ElementsAre("4 name=db1", "5 node=a#b"));
}

TEST(Configuration, DividesAtTheFirstEqualsSign) {
  EXPECT_THAT(read("label = rack=3\nlabel=gpu=yes=no\n"), ElementsAre("1 label=rack=3", "2 label=gpu=yes=no"));
}

TEST(Configuration, QuotesKeepBlanksAndNumberSigns) {
  EXPECT_THAT(read("label = \"owner=Ann # Lee \"  # whose\nlabel = 'a=\"b\"'\n"),
              ElementsAre("1 label=owner=Ann # Lee ", "2 label=a=\"b\""));
}

TEST(Configuration, TakesTheLineEndsAndTheMarkOfOtherSystems) {
  EXPECT_THAT(read("\xEF\xBB\xBFname = db1\r\ngrace = 2s\r\n"), ElementsAre("1 name=db1", "2 grace=2s"));
}

TEST(Configuration, RefusesWhatIsNoSettingAndNamesTheLine) {
  EXPECT_THAT(read("name = db1\nlisten 10.0.0.5\n"),
              ElementsAre("line 2: 'listen 10.0.0.5' is no setting; write KEY = VALUE"));
  EXPECT_THAT(read("[start]\n"), ElementsAre(HasSubstr("there are no sections")));
  EXPECT_THAT(read("= 3\n"), ElementsAre(HasSubstr("a key is missing")));
  EXPECT_THAT(read("--listen = x\n"), ElementsAre(HasSubstr("without its dashes")));
  EXPECT_THAT(read("log_level = x\n"), ElementsAre(HasSubstr("'log_level' is no key")));
  EXPECT_THAT(read("name =\n"), ElementsAre(HasSubstr("name has no value")));
  EXPECT_THAT(read("name = # none\n"), ElementsAre(HasSubstr("name has no value")));
  EXPECT_THAT(read("name = ''\n"), ElementsAre(HasSubstr("name has no value")));
  EXPECT_THAT(read("name = \"db1\n"), ElementsAre(HasSubstr("the quote of name is not closed")));
  EXPECT_THAT(read("name = 'db'1\n"), ElementsAre(HasSubstr("something follows the closing quote")));
  EXPECT_THAT(read(std::string_view("name = d\0b\n", 11)), ElementsAre(HasSubstr("control character")));
}

TEST(Configuration, AnyBytesAreReadOrRefused) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (auto size = random() % 40; size > 0; --size) text += "a-= \t\r\n#'\"[\\\0\xff"[random() % 14];
    auto lines = parse_configuration(text);
    if (!lines) continue;
    for (const ConfigurationLine& line : *lines) EXPECT_FALSE(line.key.empty() || line.value.empty()) << text;
  }
}

}  // namespace
}  // namespace sluice
