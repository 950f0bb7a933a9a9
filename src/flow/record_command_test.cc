#include "flow/record_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The command with R where a record goes, "none", or what is wrong with it.
std::string places(std::string_view command) {
  auto marked = mark_record_places(command);
  if (!marked) return marked.error();
  if (!marked->has_value()) return "none";
  std::string text = **marked;
  for (std::size_t mark; (mark = text.find(kRecordMark)) != text.npos;) text.replace(mark, kRecordMark.size(), "R");
  return text;
}

TEST(RecordPlaces, AreUnquotedBraces) {
  EXPECT_EQ(places("gzip {}"), "gzip R");
  EXPECT_EQ(places("convert {} out/{}.png"), "convert R out/R.png");
  EXPECT_EQ(places("echo $(basename {}) | tr a b"), "echo $(basename R) | tr a b");
  EXPECT_EQ(places("cat < {} > {}.out"), "cat < R > R.out");
  EXPECT_EQ(places("x={}; echo \"$x\""), "x=R; echo \"$x\"");
  EXPECT_EQ(places("cat # {}\necho {}"), "cat # {}\necho R");
  EXPECT_EQ(places("cat <(sort {})"), "cat <(sort R)");
  EXPECT_EQ(places("cat <<< {}"), "cat <<< R");
  EXPECT_EQ(places("wc -c"), "none");
  EXPECT_EQ(places("f() { cat; }; f"), "none");
  EXPECT_EQ(places("echo \\{}"), "none");
  EXPECT_EQ(places("echo \"a\" {} 'b'"), "echo \"a\" R 'b'");
}

TEST(RecordPlaces, AreRefusedWhereARecordWouldBeText) {
  for (const char* command :
       {"echo '{}'", "echo \"{}\"", "echo $'{}'", "echo `basename {}`", "echo ${x:-{}}", "echo \"$(cat {})\"",
        R"(echo \$'a\' "it'{}'s")", R"(echo $$'a\' "it'{}'s")", R"x(echo "$(case $x in a) echo '"' ;; esac) '{}'")x",
        R"(echo $'it\'s' {})", R"(echo "${x:-'}" {})", "echo $(( {} + 1 ))", "(( {} > 1 ))", "cat <<E\n{}\nE",
        "sh -c 'rm {}'", "echo $((1+(2))) \"{}\""}) {
    SCOPED_TRACE(command);
    EXPECT_THAT(places(command), HasSubstr("pass it as an argument"));
  }
  EXPECT_EQ(places("echo $((1 + (2))) {}"), "echo $((1 + (2))) R");
  EXPECT_EQ(places("echo $'a\\n' {}"), "echo $'a\\n' R");
  EXPECT_EQ(places(R"(echo $$'a\' {})"), R"(echo $$'a\' R)");
  EXPECT_EQ(places("case {} in a) echo $(echo {}) ;; esac"), "case R in a) echo $(echo R) ;; esac");
}

TEST(RecordCommand, MakesAWordOfWhateverTheRecordHolds) {
  std::string mark(kRecordMark);
  RecordCommand executed({"tool", "--in=" + mark, "x"}, std::nullopt);
  EXPECT_TRUE(executed.takes_argument());
  EXPECT_THAT(executed.arguments_for("a b'; rm -rf /").value(), ElementsAre("tool", "--in=a b'; rm -rf /", "x"));
  RecordCommand shell({"bash", "-c", "echo " + mark + " > " + mark}, 2);
  auto arguments = shell.arguments_for("it's $HOME").value();
  EXPECT_THAT(arguments, ElementsAre("bash", "-c", "echo 'it'\\''s $HOME' > 'it'\\''s $HOME'"));
  EXPECT_EQ(shell.text_of(arguments), arguments[2]);
  EXPECT_FALSE(RecordCommand({"cat"}, std::nullopt).takes_argument());
}

TEST(RecordCommand, RefusesWhatNoArgumentCanBe) {
  RecordCommand command({"tool", std::string(kRecordMark)}, std::nullopt);
  EXPECT_THAT(command.arguments_for(std::string_view("a\0b", 3)).error(), HasSubstr("zero byte"));
  EXPECT_THAT(command.arguments_for(std::string(200'000, 'x')).error(), HasSubstr("read it from stdin"));
  EXPECT_TRUE(command.arguments_for("").has_value());
}

}  // namespace
}  // namespace sluice::flow
