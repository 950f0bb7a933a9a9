#include "flow/pipeline_text.h"

#include <gmock/gmock.h>

namespace sluice::flow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(std::string_view text) {
  auto graph = read_pipeline_text(text, {});
  return graph ? "(accepted)" : graph.error();
}

TEST(PipelineText, BecomesStagesAndLinks) {
  auto graph = read_pipeline_text("grep 'a b' |& @here tr a b | { cat; }", {});
  ASSERT_TRUE(graph.has_value()) << graph.error();
  ASSERT_EQ(graph->stages.size(), 3u);
  ASSERT_EQ(graph->links.size(), 2u);
  EXPECT_EQ(graph->links[1].from, 1u);
  EXPECT_EQ(graph->links[1].to, 2u);
  EXPECT_THAT(*graph->stages[0].plain_words, ElementsAre("grep", "a b"));
  EXPECT_TRUE(graph->stages[0].error_joins_output);
  EXPECT_EQ(graph->stages[1].command, "tr a b");
  EXPECT_EQ(graph->stages[1].words.where.kind, Whereabouts::Kind::here);
  EXPECT_EQ(graph->stages[2].plain_words, std::nullopt);
  EXPECT_EQ(graph->stages[2].shell_text, "{ cat; }");
}

TEST(PipelineText, MoreThanOnePipelineIsOneStage) {
  for (std::string text :
       {"a; b | c", "a && b", "a || b", "a &", "! a | b", "time a", "a\nb", "f() { x; }; f", "coproc a"}) {
    auto graph = read_pipeline_text(text, {});
    ASSERT_TRUE(graph.has_value()) << text;
    ASSERT_EQ(graph->stages.size(), 1u) << text;
    EXPECT_EQ(graph->stages[0].shell_text, text);
    EXPECT_EQ(graph->stages[0].plain_words, std::nullopt);
  }
}

TEST(PipelineText, PointsAtASyntaxError) {
  std::string message = refusal("cat |\n  echo 'x");
  EXPECT_THAT(message, HasSubstr("line 2, column 8"));
  EXPECT_THAT(message, HasSubstr("never closed"));
}

TEST(PipelineText, ExtendedPatternsAreTheShellsToKnow) {
  EXPECT_THAT(refusal("ls @(a|b) | wc"), HasSubstr("shopt -s extglob"));
  auto graph = read_pipeline_text("ls @(a|b) | wc", {}, {.extended_patterns = true});
  ASSERT_TRUE(graph.has_value()) << graph.error();
  EXPECT_EQ(graph->stages[0].shell_text, "ls @(a|b)");
  EXPECT_EQ(graph->stages.size(), 2u);
}

TEST(PipelineText, RefusesAnEmptyText) {
  for (const char* text : {"", "  ", "\n", "# nothing"}) EXPECT_THAT(refusal(text), HasSubstr("empty")) << text;
}

TEST(PipelineText, ShowsAStrayWordGrouped) {
  EXPECT_THAT(refusal("cd /x && @x4 make"), HasSubstr("(it has an '&&')"));
  EXPECT_THAT(refusal("cd /x && @x4 make"), HasSubstr("@x4 { cd /x && make; }"));
  EXPECT_THAT(refusal("@db1 a; b;"), HasSubstr("@db1 { a; b; }"));
  EXPECT_THAT(refusal("@db1 a # note\nb"), HasSubstr("@db1 { a # note\nb\n}"));
}

TEST(PipelineText, RefusesAWordInsideAStage) {
  EXPECT_THAT(refusal("{ @x4 a; } | b"), HasSubstr("only at the start of a stage"));
  EXPECT_THAT(refusal("echo $(@x4 a)"), HasSubstr("write '\\@x4'"));
}

TEST(PipelineText, AQuotedWordIsACommand) {
  auto graph = read_pipeline_text("\\@x4 a | '@x5' b", {});
  ASSERT_TRUE(graph.has_value());
  EXPECT_THAT(*graph->stages[0].plain_words, ElementsAre("@x4", "a"));
  EXPECT_THAT(*graph->stages[1].plain_words, ElementsAre("@x5", "b"));
}

TEST(PipelineText, OneCommandNeedsNoShell) {
  FlowGraph graph = single_command({"printf", "%s|", "a b"});
  EXPECT_EQ(graph.stages[0].command, "printf '%s|' 'a b'");
  EXPECT_TRUE(graph.stages[0].without_shell);
}

}  // namespace
}  // namespace sluice::flow
