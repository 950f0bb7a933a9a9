#include "flow/flow_file_graph.h"

#include <gmock/gmock.h>

#include "flow/flow_drawing.h"

namespace sluice::flow {
namespace {

using testing::AllOf;
using testing::HasSubstr;

FlowFile read(std::string_view text) {
  auto file = read_flow_file(text);
  EXPECT_TRUE(file) << (file ? "" : describe_mistakes("f", file.error()));
  return file ? *file : FlowFile{};
}

std::string refusals(const std::string& stages, const std::string& links) {
  auto graph = graph_of(read("stages: " + stages + "\nlinks: " + links + "\n"));
  return graph ? "" : describe_mistakes("f", graph.error());
}

std::string idle(const std::string& stages, const std::string& links) {
  auto mistakes = idle_keys(read("stages: " + stages + "\nlinks: " + links + "\n"));
  return mistakes.empty() ? "" : describe_mistakes("f", mistakes);
}

constexpr const char* kThree = "{ a: { run: ls }, b: { run: cat }, c: { run: wc } }";

TEST(FlowFileGraph, IsInTheOrderOfItsLinks) {
  auto graph =
      graph_of(read("stages: { c: { run: wc }, a: { run: ls }, b: { run: sort, workers: 2 } }\n"
                    "links: [ b -> c, a -> b ]\n"));
  ASSERT_TRUE(graph);
  ASSERT_EQ(graph->stages.size(), 3u);
  EXPECT_EQ(graph->stages[0].command, "ls");
  EXPECT_EQ(graph->stages[1].words.workers, 2u);
  EXPECT_EQ(graph->stages[2].command, "wc");
  EXPECT_EQ(graph->links[1].from, 1u);
  EXPECT_EQ(graph->links[1].to, 2u);
}

TEST(FlowFileGraph, SetsVariablesInTheShellOfTheStage) {
  auto first = [](const std::string& keys) {
    auto graph = graph_of(read("stages: { a: { " + keys + " } }\n"));
    return graph ? graph->stages.front() : Stage{};
  };
  Stage stage = first("run: printenv A, env: { A: \"it's\", B: '' }");
  EXPECT_EQ(stage.shell_text, "export A='it'\\''s' B=''; printenv A");
  EXPECT_FALSE(stage.plain_words);
  EXPECT_EQ(stage.command, "printenv A");
  EXPECT_EQ(first("run: [echo, a b], env: { A: 1 }").shell_text, "export A=1; exec echo 'a b'");
}

TEST(FlowFileGraph, AWorkerHasItsOwnSettings) {
  auto graph =
      graph_of(read("stages: { a: { worker: ./a, concurrency: 9, retries: 2, restart: on-failure, ordered: true, "
                    "framing: len } }\n"));
  ASSERT_TRUE(graph);
  const Stage& stage = graph->stages.front();
  EXPECT_TRUE(stage.words.worker);
  EXPECT_TRUE(stage.words.ordered);
  EXPECT_EQ(stage.words.framing, RecordFraming::len);
  EXPECT_EQ(stage.concurrency, 9u);
  EXPECT_EQ(stage.retries, 2u);
  EXPECT_EQ(stage.restart, Restart::on_failure);
}

TEST(FlowFileGraph, NamesWhatIsNotThereYet) {
  EXPECT_THAT(
      refusals("{ a: { run: cat, sandbox: true }, b: { run: cat, image: i } }", "[ a -> b ]"),
      AllOf(HasSubstr("f:1:26: stage 'a': '@sandbox' needs"), HasSubstr("f:1:58: stage 'b': '@image=i' needs")));
  EXPECT_THAT(refusals(kThree, "[ a -> b -> c, { link: c -> a, slow: { spill: 1M } } ]"),
              HasSubstr("the link 'c -> a' closes a cycle, which this version can't run"));
}

TEST(FlowFileGraph, NamesKeysThatMeanNothingToTheirStage) {
  EXPECT_EQ(idle("{ a: { worker: ./a.js, retries: 2 }, b: { run: cat, retries: 1, restart: never } }", "[ a -> b ]"),
            "f:1:61: 'retries' of stage 'b' has no records to go by; add 'each: true' or 'map: true'\n");
  EXPECT_EQ(idle("{ a: { run: cat, rate: 5 }, b: { run: cat, rate: 5, workers: 2 } }", "[ a -> b ]"),
            "f:1:26: 'rate' of stage 'a' has no records to go by; add 'workers: 2', 'each: true' or 'map: true'\n");
  EXPECT_THAT(idle("{ a: { run: cat, restart: always } }", "[]"),
              HasSubstr("'restart' of stage 'a': what a program had read, and not passed on, would be lost"));
  EXPECT_EQ(idle("{ a: { worker: ./a, restart: always }, b: { run: cat, restart: never } }", "[ a -> b ]"), "");
  EXPECT_EQ(
      idle("{ a: { run: ls, framing: json } }", "[]"),
      "f:1:25: 'framing' of stage 'a' says how records are told apart, and a stage of one worker takes bytes; leave "
      "it out, or add 'workers: 2', 'each: true' or 'map: true'\n");
  EXPECT_EQ(idle("{ a: { run: cat, sandbox: true } }", "[]"), "");
  EXPECT_EQ(idle(kThree, "[ a -> b -> c, { link: c -> a, slow: { spill: 1M } } ]"), "");
  EXPECT_THAT(refusals("{ a: { run: cat, sandbox: true, rate: 5 } }", "[]"),
              AllOf(HasSubstr("'@sandbox' needs"), HasSubstr("'rate' of stage 'a'")));
}

TEST(FlowFileGraph, EveryLinkLeadsOnToALaterStage) {
  auto graph =
      graph_of(read("stages: { d: { run: d }, a: { run: a }, c: { run: c, stderr: d }, b: { run: b } }\n"
                    "links: [ a -> b -> d, a -> c -> d ]\n"));
  ASSERT_TRUE(graph);
  std::string order;
  for (const Stage& stage : graph->stages) order += stage.name;
  EXPECT_EQ(order, "acbd");
  EXPECT_EQ(graph->links.size(), 5u);
  for (const Link& link : graph->links) EXPECT_LT(link.from, link.to);
}

TEST(FlowFileGraph, FramingIsForRecordsThatMeetOthers) {
  std::string stages = "{ a: { run: ls, framing: json }, b: { run: cat }, c: { run: wc } }";
  EXPECT_EQ(refusals(stages, "[ a -> b, a -> c ]"), "");
  EXPECT_THAT(refusals(stages, "[ a -> b -> c ]"), HasSubstr("f:1:25: 'framing' of stage 'a' says how"));
}

constexpr const char* kUsers = R"(name: users
stages:
  parser:   { run: ./parse users.csv, stderr: log }
  facebook: { worker: ./facebook.js, workers: 10, concurrency: 10 }
  twitter:  { worker: ./twitter.js }
  merger:   { worker: ./merge.js }
  database: { run: ./insert "x", workers: 2 }
  log:      { run: cat }
links:
  - parser -> facebook -> merger
  - { link: parser -> twitter, slow: drop }
  - twitter -> merger -> database
)";

TEST(FlowDrawing, IsATreeWithEachStageOnce) {
  EXPECT_EQ(draw_as_text(read(kUsers)),
            "parser: ./parse users.csv\n"
            "│ copies to\n"
            "├─> facebook (worker, @x10, concurrency 10): ./facebook.js\n"
            "│  ─> merger, below\n"
            "├─ drop -> twitter (worker): ./twitter.js\n"
            "│  ─> merger (of 2 links, worker): ./merge.js\n"
            "│  ─> database (@x2): ./insert \"x\"\n"
            "└─ stderr -> log: cat\n");
}

TEST(FlowDrawing, EndsOfCyclesAndDeepBranches) {
  EXPECT_EQ(draw_as_text(read("stages: { a: { run: ls }, b: { run: cat } }\n"
                              "links: [ a -> b, { link: b -> a, slow: { spill: 1M } } ]\n")),
            "a: ls\n"
            "─> b: cat\n"
            "─ spill 1.00 MiB -> a, above\n");
  std::string stages = "stages:\n  s0: { run: ls }\n", links = "links:\n";
  for (int i = 1; i < 2000; ++i) {
    stages += "  s" + std::to_string(i) + ": { run: cat }\n  t" + std::to_string(i) + ": { run: cat }\n";
    for (const char* to : {"s", "t"}) links += "  - s" + std::to_string(i - 1) + " -> " + to + std::to_string(i) + "\n";
  }
  std::string drawing = draw_as_text(read(stages + links));
  EXPECT_LT(drawing.size(), 1'000'000u);
  EXPECT_THAT(drawing, HasSubstr("s1999: cat"));
}

TEST(FlowDrawing, SpeaksDotAndJson) {
  std::string dot = draw_as_dot(read(kUsers));
  EXPECT_THAT(dot, HasSubstr("digraph \"users\" {"));
  EXPECT_THAT(dot, HasSubstr("\"database\" [label=\"database\\n@x2\\n./insert \\\"x\\\"\"];"));
  EXPECT_THAT(dot, HasSubstr("\"parser\" -> \"twitter\" [label=\"drop\"];"));
  EXPECT_THAT(dot, HasSubstr("\"parser\" -> \"log\" [label=\"stderr\", style=dashed];"));
  std::string json = draw_as_json(read("stages: { a: { run: ls, env: { SECRET: x } } }\n"), {{{2, 3}, "m"}});
  EXPECT_EQ(json, R"({"name":null,"stages":[{"name":"a","command":"ls","worker":false,"at_words":[]}],"links":[],)"
                  R"("problems":[{"line":2,"column":3,"message":"m"}]})");
}

}  // namespace
}  // namespace sluice::flow
