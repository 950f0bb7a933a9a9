#include "flow/flow_file.h"

#include <gmock/gmock.h>

#include "flow/graph_cycles.h"

namespace sluice::flow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

FlowFile read(std::string_view text) {
  auto file = read_flow_file(text);
  EXPECT_TRUE(file) << (file ? "" : describe_mistakes("f", file.error()));
  return file ? *file : FlowFile{};
}

std::string mistakes(std::string_view text) {
  auto file = read_flow_file(text);
  return file ? "" : describe_mistakes("f", file.error());
}

// The one stage of a file, in flow style.
FileStage stage(const std::string& keys) {
  FlowFile file = read("stages: { s: " + keys + " }\n");
  return file.stages.empty() ? FileStage{} : file.stages.front();
}
std::string stage_mistakes(const std::string& keys) { return mistakes("stages: { s: " + keys + " }\n"); }

constexpr const char* kUsers = R"(
stages:
  parser:   { run: ./parse users.csv }
  facebook: { worker: ./facebook.js, workers: 10, concurrency: 10 }
  twitter:  { worker: ./twitter.js,  workers: 10, concurrency: 10 }
  merger:   { worker: ./merge.js, concurrency: 1000 }
  database: { run: ./insert, workers: 2 }
links:
  - parser -> facebook -> merger
  - parser -> twitter -> merger
  - merger -> database
)";

std::string links_of(const FlowFile& file) {
  std::string text;
  for (const FileLink& link : file.links)
    text += (text.empty() ? "" : ", ") + file.stages[link.from].name + (link.of_errors ? "! " : " ") +
            file.stages[link.to].name;
  return text;
}

TEST(FlowFile, ReadsTheGraphOfTheDesign) {
  FlowFile file = read(kUsers);
  ASSERT_EQ(file.stages.size(), 5u);
  EXPECT_EQ(file.stages[0].name, "parser");
  EXPECT_THAT(*file.stages[0].stage.plain_words, ElementsAre("./parse", "users.csv"));
  EXPECT_EQ(file.stages[0].stage.path_words.front().path, "./parse");
  EXPECT_FALSE(file.stages[0].worker);
  EXPECT_TRUE(file.stages[1].worker);
  EXPECT_EQ(file.stages[1].stage.words.workers, 10u);
  EXPECT_EQ(file.stages[3].concurrency, 1000u);
  EXPECT_EQ(links_of(file), "parser facebook, facebook merger, parser twitter, twitter merger, merger database");
}

TEST(FlowFile, ReadsTheSameAsJson) {
  FlowFile file = read(R"({"stages":{"a":{"run":"ls","env":{"N":"1"}},"b":{"run":"wc"}},"links":["a -> b"]})");
  EXPECT_EQ(links_of(file), "a b");
  EXPECT_EQ(file.stages[0].environment, (std::vector<std::pair<std::string, std::string>>{{"N", "1"}}));
}

TEST(FlowFile, KeysStandForWords) {
  auto words = [](const std::string& keys) { return stage("{ run: cat, " + keys + " }").stage.words.written; };
  EXPECT_THAT(words("workers: 8, framing: 'null', on: db1"), ElementsAre("@on=db1", "@x8", "@null"));
  EXPECT_THAT(words("framing: null, workers: 2"), ElementsAre("@null", "@x2"));
  EXPECT_THAT(words("on: { gpu: yes, disk: ssd }"), ElementsAre("@gpu=yes", "@disk=ssd"));
  EXPECT_THAT(words("on: gpu=yes"), ElementsAre("@gpu=yes"));
  EXPECT_THAT(words("on: all"), ElementsAre("@all"));
  EXPECT_THAT(words("on: here"), ElementsAre("@here"));
  EXPECT_THAT(words("map: true, ordered: true"), ElementsAre("@map", "@ordered"));
  EXPECT_THAT(words("map: false, each: true"), ElementsAre("@each"));
  EXPECT_THAT(words("each: 100"), ElementsAre("@each=100"));
  EXPECT_THAT(words("workers: 2, map: true, by: /user"), ElementsAre("@x2", "@map", "@by=/user"));
  EXPECT_THAT(words("sandbox: true"), ElementsAre("@sandbox"));
  EXPECT_THAT(words("image: 'debian:12'"), ElementsAre("@image=debian:12"));
}

TEST(FlowFile, ReadsTheOtherKeys) {
  FileStage read_stage =
      stage("{ run: cat, env: { A: '', PORT: 80, B: yes }, retries: 3, rate: 0.5, restart: on-failure }");
  EXPECT_EQ(read_stage.environment,
            (std::vector<std::pair<std::string, std::string>>{{"A", ""}, {"PORT", "80"}, {"B", "yes"}}));
  EXPECT_EQ(read_stage.retries, 3u);
  EXPECT_EQ(read_stage.records_per_second, 0.5);
  EXPECT_EQ(read_stage.restart, Restart::on_failure);
}

TEST(FlowFile, ACommandIsOneStage) {
  EXPECT_FALSE(stage("{ run: 'sort | uniq -c' }").stage.plain_words);
  EXPECT_EQ(stage("{ run: 'sort | uniq -c' }").stage.shell_text, "sort | uniq -c");
  EXPECT_EQ(stage("{ run: 'cd /; ls' }").stage.shell_text, "cd /; ls");
  Stage words = stage("{ run: [printf, '%s|', 'a b'] }").stage;
  EXPECT_THAT(*words.plain_words, ElementsAre("printf", "%s|", "a b"));
  EXPECT_TRUE(words.without_shell);
  FlowFile file = read("stages:\n  s:\n    run: |\n      for x in 1 2; do\n        echo $x\n      done\n");
  EXPECT_EQ(file.stages[0].stage.command, "for x in 1 2; do\n  echo $x\ndone");
}

TEST(FlowFile, ReadsLinksWithPolicies) {
  FlowFile file = read(
      "name: f\nstages:\n  a: { run: ls, stderr: c }\n  b: { run: ls, stderr: { to: c, slow: drop } }\n"
      "  c: { run: cat }\n  d: { run: cat }\n"
      "links:\n  - { link: a -> b, slow: drop }\n  - { link: a -> d -> c, slow: { spill: 100M } }\n");
  EXPECT_EQ(file.name, "f");
  EXPECT_EQ(links_of(file), "a b, a d, d c, a! c, b! c");
  EXPECT_EQ(file.links[0].slow.kind, SlowPolicy::Kind::drop);
  EXPECT_EQ(file.links[1].slow.spill_max.value, std::uint64_t{100} << 20);
  EXPECT_EQ(file.links[2].slow.kind, SlowPolicy::Kind::spill);
  EXPECT_EQ(file.links[4].slow.kind, SlowPolicy::Kind::drop);
}

TEST(FlowFile, SharesAndReadsStdin) {
  FlowFile file = read(
      "stages:\n  a: { run: cat, share: true, stdin: true }\n  b: { run: ls }\n  c: { run: cat }\n  d: { run: cat }\n"
      "links: [ a -> c, a -> d, b -> d ]\n");
  EXPECT_TRUE(file.stages[0].share);
  EXPECT_TRUE(file.stages[0].reads_stdin);
  std::string stages =
      "stages: { a: { run: ls, share: true, stdin: true }, b: { run: cat, stdin: true }, c: { run: wc } }\n";
  EXPECT_EQ(
      mistakes(stages + "links: [ a -> b, { link: a -> c, slow: drop } ]\n"),
      "f:1:68: stage 'b' reads what its links bring; 'stdin' is for a stage that no link leads to\n"
      "f:2:31: 'slow' means nothing where stage 'a' shares its records: a slow reader is given fewer; leave it out\n");
  EXPECT_EQ(mistakes("stages: { a: { run: ls, stdin: true }, b: { run: ls, stdin: true }, c: { run: cat } }\n"
                     "links: [ a -> c, b -> c ]\n"),
            "f:1:54: stage 'a' reads stdin already; one stage does\n");
}

TEST(FlowFile, TellsEveryMistakeAtOnce) {
  EXPECT_EQ(mistakes("stages:\n"
                     "  parse: { rnu: ls, workers: 0 }\n"
                     "  sort:  { run: sort, workers: many, map: yes, wrokers: 3 }\n"
                     "  2nd:   { run: 'echo \"x' }\n"
                     "linsk: []\n"
                     "links:\n"
                     "  - parse -> srot -> 2nd\n"),
            "f:2:3: stage 'parse' has neither a 'run' nor a 'worker'; it takes one of them\n"
            "f:2:12: unknown key 'rnu'; did you mean 'run'?\n"
            "f:2:30: workers: it takes a number from 1 to 10000, and this is '0'\n"
            "f:3:32: workers: it takes a number from 1 to 10000, and this is 'many'\n"
            "f:3:43: map: it takes true or false, and this is 'yes'\n"
            "f:3:48: unknown key 'wrokers'; did you mean 'workers'?\n"
            "f:4:3: '2nd' can't name a stage: it begins with a letter and has letters, digits, '_' and '-'\n"
            "f:4:23: syntax error in the command: the quote \" is never closed\n"
            "f:5:1: unknown key 'linsk'; did you mean 'links'?\n"
            "f:7:14: there is no stage 'srot'; did you mean 'sort'?\n");
}

TEST(FlowFile, RefusesWrongTypes) {
  EXPECT_THAT(mistakes(""), HasSubstr("f:1:1: a flow file is a map with 'stages' and 'links', and this is empty"));
  EXPECT_THAT(mistakes("- a\n"), HasSubstr("and this is a list"));
  EXPECT_THAT(mistakes("name: x\n"), HasSubstr("'stages' is missing"));
  EXPECT_THAT(mistakes("stages: [a]\n"), HasSubstr("f:1:9: stages: it takes a map"));
  EXPECT_THAT(mistakes("stages: {}\n"), HasSubstr("stages: there is none"));
  EXPECT_THAT(mistakes("stages: { s: ls }\n"), HasSubstr("f:1:14: s: it takes a map of keys, such as { run: sort }"));
  EXPECT_THAT(mistakes("stages: { s: }\n"), HasSubstr("f:1:11: s: it takes a map"));
  EXPECT_THAT(mistakes("name: a/b\nstages: { s: { run: ls } }\n"), HasSubstr("no '/'"));
  EXPECT_THAT(mistakes("stages: { s: { run: ls } }\nlinks: a -> b\n"), HasSubstr("f:2:8: links: it takes a list"));
  EXPECT_THAT(stage_mistakes("{ run: ls, <<: { workers: 1 } }"), HasSubstr("no merge keys"));
  EXPECT_THAT(stage_mistakes("{ run: }"),
              HasSubstr("run: it takes a command, or a list of its words, and this is nothing"));
  EXPECT_THAT(stage_mistakes("{ run: '' }"), HasSubstr("run: it takes"));
  EXPECT_THAT(stage_mistakes("{ run: ' ' }"), HasSubstr("the command is empty"));
  EXPECT_THAT(stage_mistakes("{ run: [] }"), HasSubstr("the first word of the list is the program"));
  EXPECT_THAT(stage_mistakes("{ run: [a, [b]] }"), HasSubstr("words in its list, and this is a list"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: '10' }"), HasSubstr("leave the quotes out"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: 10001 }"), HasSubstr("from 1 to 10000"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: -1 }"), HasSubstr("from 1 to 10000"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: 99999999999999999999 }"), HasSubstr("from 1 to 10000"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: '3' }"), HasSubstr("leave the quotes out"));
  EXPECT_THAT(stage_mistakes("{ run: a, workers: 'two' }"), Not(HasSubstr("quotes")));
  EXPECT_THAT(stage_mistakes("{ run: a, framing: line }"), HasSubstr("did you mean 'lines'"));
  EXPECT_THAT(stage_mistakes("{ run: a, restart: no }"), HasSubstr("never on-failure always"));
  EXPECT_THAT(stage_mistakes("{ run: a, rate: 10/s }"), HasSubstr("records a second"));
  EXPECT_THAT(stage_mistakes("{ run: a, rate: nan }"), HasSubstr("records a second"));
  EXPECT_THAT(stage_mistakes("{ run: a, env: [A=1] }"), HasSubstr("env: it takes a map"));
  EXPECT_THAT(stage_mistakes("{ run: a, env: { A-B: 1, C: } }"),
              testing::AllOf(HasSubstr("'A-B' can't name a variable"), HasSubstr("C: it takes a text")));
  EXPECT_THAT(stage_mistakes("{ run: a, on: '@db1' }"), HasSubstr("without its '@'"));
  EXPECT_THAT(stage_mistakes("{ run: a, on: map }"), HasSubstr("no node can have that name"));
  EXPECT_THAT(stage_mistakes("{ run: a, stderr: { slow: drop } }"), HasSubstr("does not say where to"));
}

TEST(FlowFile, RefusesKeysThatExcludeEachOther) {
  EXPECT_THAT(stage_mistakes("{ run: a, worker: b }"), HasSubstr("has both a 'run' and a 'worker'"));
  EXPECT_THAT(stage_mistakes("{ worker: b, map: true }"), HasSubstr("'map' is for programs that know nothing"));
  EXPECT_THAT(stage_mistakes("{ run: b, concurrency: 3 }"), HasSubstr("'concurrency' is for a 'worker'"));
  EXPECT_THAT(stage_mistakes("{ run: b, map: true, each: 3 }"),
              HasSubstr("f:1:35: 'map' and 'each' exclude each other"));
  EXPECT_THAT(stage_mistakes("{ run: b, share: true }"), HasSubstr("'share' has nothing to share between"));
}

TEST(FlowFile, KeysOfRecordsThatLackAnotherAreNamedAndNotTheWordsOfPipelineText) {
  EXPECT_THAT(stage_mistakes("{ run: b, ordered: true }"),
              testing::AllOf(HasSubstr("f:1:24: 'ordered' needs"), HasSubstr("add 'map: true'"), Not(HasSubstr("@"))));
  EXPECT_THAT(stage_mistakes("{ run: b, map: true, by: 1 }"),
              testing::AllOf(HasSubstr("f:1:35: 'by' chooses"), HasSubstr("'workers: 4'"), Not(HasSubstr("@"))));
  EXPECT_THAT(stage_mistakes("{ run: b, workers: 2, each: 2, by: 1 }"), HasSubstr("one record for each process"));
  EXPECT_THAT(stage_mistakes("{ run: b, workers: 2, map: true, by: '~(' }"),
              AllOf(HasSubstr("f:1:51: by: '~(': the regular expression is malformed"), Not(HasSubstr("@"))));
  EXPECT_THAT(stage_mistakes("{ run: b, ordered: true, by: 1 }"), AllOf(HasSubstr("'ordered'"), HasSubstr("'by'")));
  EXPECT_THAT(stage_mistakes("{ worker: b, ordered: true }"), IsEmpty());
}

TEST(FlowFile, WordsOfPipelineTextAreKeys) {
  EXPECT_THAT(stage_mistakes("{ run: '@x8 sort' }"),
              HasSubstr("f:1:22: '@x8' is an @ word, which a flow file has as a key "
                        "of the stage; write 'workers: 8'"));
  EXPECT_THAT(stage_mistakes("{ run: '@db1 sort' }"), HasSubstr("write 'on: db1'"));
  EXPECT_THAT(stage_mistakes("{ run: '@gpu=yes sort' }"), HasSubstr("write 'on: { gpu: yes }'"));
  EXPECT_THAT(stage_mistakes("{ run: '@each=7 sort' }"), HasSubstr("write 'each: 7'"));
  EXPECT_THAT(stage_mistakes("{ run: '@lines sort' }"), HasSubstr("write 'framing: lines'"));
  EXPECT_THAT(stage_mistakes("{ run: 'sort | @x2 uniq' }"), HasSubstr("make it a stage of its own"));
  EXPECT_THAT(stage_mistakes("{ run: 'sort; @x2 uniq' }"), HasSubstr("make it a stage of its own"));
  EXPECT_THAT(stage_mistakes("{ run: '\\@x2 uniq' }"), IsEmpty());
}

std::string link_mistakes(const std::string& links) {
  return mistakes("stages: { a: { run: ls }, b: { run: ls }, c: { run: ls } }\nlinks:\n" + links);
}

TEST(FlowFile, JudgesLinks) {
  EXPECT_THAT(mistakes("stages: { a: { run: ls }, b: { run: ls } }\n"), HasSubstr("'links' is missing"));
  EXPECT_EQ(link_mistakes("  - a -> b\n"),
            "f:1:43: no link leads to or from stage 'c'; link it, c -> STAGE, or leave it out\n");
  EXPECT_THAT(link_mistakes("  - a\n"), HasSubstr("f:3:5: 'a' links nothing; a link is written a -> b"));
  EXPECT_THAT(link_mistakes("  - a ->\n"), HasSubstr("a stage is missing beside this arrow"));
  EXPECT_THAT(link_mistakes("  - a -> b -> a -> b\n"), HasSubstr("f:3:20: 'a -> b' is linked already, on line 3"));
  EXPECT_EQ(link_mistakes("  - a -> b -> b -> c\n"), "f:3:15: 'b' is linked to itself; name another stage\n");
  EXPECT_THAT(link_mistakes("  - [a, b]\n"), HasSubstr("and this is a list"));
  EXPECT_THAT(link_mistakes("  - { slow: drop }\n"), HasSubstr("does not say what it links"));
  EXPECT_THAT(link_mistakes("  - { link: a -> b, slow: drpo }\n"), HasSubstr("did you mean 'drop'"));
  EXPECT_THAT(link_mistakes("  - { link: a -> b, slow: { spill: 0 } }\n"), HasSubstr("0 bytes hold no record"));
  EXPECT_THAT(link_mistakes("  - { link: a -> b, slow: { spill: lots } }\n"), HasSubstr("spill: "));
  EXPECT_THAT(link_mistakes("  - { link: a -> b, slow: { spil: 1M } }\n"), HasSubstr("slow: it takes block, drop"));
  EXPECT_THAT(mistakes("stages: { a: { run: ls, stderr: a } }\n"), HasSubstr("'a' is linked to itself"));
  EXPECT_THAT(mistakes("stages: { a: { run: ls, stderr: x } }\n"), HasSubstr("f:1:33: there is no stage 'x'"));
}

TEST(FlowFile, ACycleNeedsASpill) {
  EXPECT_THAT(
      link_mistakes("  - a -> b -> c\n  - c -> a\n"),
      HasSubstr("f:4:10: the links go round in a cycle: a -> b -> c -> a; its stages could all wait for each other, "
                "so one of its links must spill: { link: c -> a, slow: { spill: 100M } }"));
  EXPECT_THAT(link_mistakes("  - a -> b -> c\n  - { link: c -> a, slow: { spill: 1M } }\n"), IsEmpty());
  EXPECT_THAT(mistakes("stages: { a: { run: ls, stderr: b }, b: { run: ls } }\nlinks: [ b -> a ]\n"),
              HasSubstr("cycle: a -> b -> a"));
}

TEST(FlowFile, SaysNothingOfTheGraphWhileALinkIsWrong) {
  EXPECT_THAT(link_mistakes("  - a -> b\n  - x -> c\n"), Not(HasSubstr("no link leads")));
}

TEST(FlowFile, LimitsStagesAndLinksAndMistakes) {
  std::string many = "stages:\n";
  for (int i = 0; i < 5000; ++i) many += "  s" + std::to_string(i) + ": { run: ls }\n";
  EXPECT_THAT(mistakes(many), HasSubstr("there are more than 4096"));
  std::string wrong = "stages:\n";
  for (int i = 0; i < 500; ++i) wrong += "  s" + std::to_string(i) + ": { rnu: ls }\n";
  EXPECT_THAT(mistakes(wrong), HasSubstr("there may be more mistakes"));
}

TEST(GraphCycles, FindsWhatMustBeCut) {
  EXPECT_THAT(find_cycles(3, {{0, 1}, {1, 2}, {0, 2}}), IsEmpty());
  auto cycles = find_cycles(4, {{0, 1}, {1, 2}, {2, 1}, {2, 3}, {3, 0}});
  ASSERT_EQ(cycles.size(), 2u);
  EXPECT_THAT(cycles[0].stages, ElementsAre(1, 2));
  EXPECT_EQ(cycles[0].closing_link, 2u);
  EXPECT_THAT(cycles[1].stages, ElementsAre(0, 1, 2, 3));
}

// --- roles --------------------------------------------------------------------------------------------------------

TEST(FlowFile, AStageWithARoleAndNoCommandHasWorkersThatAreStartedByHand) {
  FileStage by_hand = stage("{ role: twitter, concurrency: 10 }");
  EXPECT_TRUE(by_hand.worker);
  EXPECT_TRUE(by_hand.stage.words.by_hand_alone);
  EXPECT_EQ(by_hand.stage.words.role, "twitter");
  EXPECT_FALSE(stage("{ role: resize, map: true }").worker) << "any program that answers each record";
  FileStage both = stage("{ worker: ./x, workers: 2, role: twitter }");
  EXPECT_FALSE(both.stage.words.by_hand_alone);
  EXPECT_EQ(both.stage.words.role, "twitter");
}

TEST(FlowFile, WhatDoesNotGoWithARoleIsAMistake) {
  EXPECT_THAT(stage_mistakes("{ role: twitter, workers: 2 }"),
              HasSubstr("'workers' is for workers that the flow starts"));
  EXPECT_THAT(stage_mistakes("{ role: twitter, run: cat }"), HasSubstr("'map: true' or 'each: true'"));
  EXPECT_THAT(stage_mistakes("{ role: twitter, worker: ./x, workers: 2, by: id }"), HasSubstr("'by' chooses"));
  EXPECT_THAT(stage_mistakes("{ role: r, run: 'resize {}', each: true }"), HasSubstr("from stdin"));
  EXPECT_THAT(stage_mistakes("{ role: '2 x', worker: ./x }"), HasSubstr("can't name a role"));
  EXPECT_THAT(stage_mistakes("{ workers: 2 }"), HasSubstr("neither a 'run' nor a 'worker'"));
}

}  // namespace
}  // namespace sluice::flow
