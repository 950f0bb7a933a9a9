#include "flow/stage_words.h"

#include <gmock/gmock.h>

namespace sluice::flow {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kNodes = {"db1", "web"};

std::expected<StageWords, std::string> read(std::vector<std::string> words) {
  return read_stage_words(words, {.names = kNodes});
}

TEST(StageWords, ReadsEveryWord) {
  EXPECT_EQ(read({"@x8"})->workers, 8u);
  EXPECT_EQ(read({"@all"})->where.kind, Whereabouts::Kind::every_node);
  EXPECT_EQ(read({"@db1"})->where.node, "db1");
  EXPECT_EQ(read({"@on=other"})->where.node, "other");
  auto labels = read({"@gpu=yes", "@zone=a"})->where.labels;
  EXPECT_EQ(labels, (std::vector<std::pair<std::string, std::string>>{{"gpu", "yes"}, {"zone", "a"}}));
  EXPECT_EQ(read({"@here"})->where.kind, Whereabouts::Kind::here);
  EXPECT_TRUE(read({"@map"})->map);
  EXPECT_EQ(read({"@each"})->each, 1u);
  EXPECT_EQ(read({"@each=100"})->each, 100u);
  EXPECT_EQ(read({"@null"})->framing, RecordFraming::null);
  EXPECT_TRUE(read({"@map", "@ordered"})->ordered);
  EXPECT_EQ(read({"@x2", "@by=/a b"})->by, "/a b");
  EXPECT_TRUE(read({"@sandbox"})->sandbox);
  EXPECT_EQ(read({"@image=debian"})->image, "debian");
  EXPECT_TRUE(read({"@fn"})->function);
}

TEST(StageWords, CombinesWords) {
  auto words = read({"@x4", "@web", "@json", "@by=/id"});
  ASSERT_TRUE(words.has_value());
  EXPECT_EQ(words->workers, 4u);
  EXPECT_EQ(words->where.node, "web");
  EXPECT_EQ(words->framing, RecordFraming::json);
}

TEST(StageWords, AnswersAMistypedWordWithItsNearest) {
  EXPECT_THAT(read({"@eahc"}).error(), HasSubstr("did you mean '@each'?"));
  EXPECT_THAT(read({"@X2"}).error(), HasSubstr("did you mean '@x2'?"));
  EXPECT_THAT(read({"@bd1"}).error(), HasSubstr("did you mean '@db1'?"));
  EXPECT_THAT(read({"@nonsense"}).error(), HasSubstr("nodes: db1, web"));
  EXPECT_THAT(read_stage_words(std::vector<std::string>{"@db1"}, {}).error(), HasSubstr("no node is known here"));
}

TEST(StageWords, SaysHowAWordWithoutAValueIsWritten) {
  EXPECT_EQ(read({"@by="}).error(), "'@by=' needs a value: @by=FIELD");
  EXPECT_EQ(read({"@by"}).error(), "'@by' needs a value: @by=FIELD");
  EXPECT_EQ(read({"@on="}).error(), "'@on=' needs a value: @on=NODE");
  EXPECT_EQ(read({"@gpu="}).error(), "'@gpu=' needs a name and a value: @KEY=VALUE");
}

TEST(StageWords, RefusesWhatMakesNoSense) {
  for (auto words : std::vector<std::vector<std::string>>{{"@x0"},
                                                          {"@x99999999"},
                                                          {"@each=0"},
                                                          {"@each=many"},
                                                          {"@by"},
                                                          {"@by="},
                                                          {"@=x"},
                                                          {"@"},
                                                          {"@map=3"},
                                                          {"@x8=3"},
                                                          {"@on=x8"},
                                                          {"@on=all"},
                                                          {"@map", "@map"},
                                                          {"@x2", "@x3"},
                                                          {"@map", "@each"},
                                                          {"@ordered"},
                                                          {"@x4", "@ordered"},
                                                          {"@by=1"},
                                                          {"@x4", "@by=name"},
                                                          {"@x4", "@each=2", "@by=1"},
                                                          {"@lines", "@json"},
                                                          {"@here", "@db1"},
                                                          {"@db1", "@gpu=yes"}})
    EXPECT_FALSE(read(words).has_value()) << words[0];
}

TEST(StageWords, SaysWhatCannotRunYet) {
  for (const char* word : {"@lines", "@null", "@json", "@len", "@sandbox", "@image=a", "@fn"}) {
    auto reason = not_yet_runnable(*read({word}));
    ASSERT_TRUE(reason.has_value()) << word;
    EXPECT_TRUE(reason->contains(word)) << *reason << ", but the user wrote " << word;
  }
  for (const char* word : {"@here", "@db1", "@all", "@gpu=yes"})
    EXPECT_EQ(not_yet_runnable(*read({word})), std::nullopt) << word;
  EXPECT_EQ(not_yet_runnable(*read({})), std::nullopt);
  EXPECT_EQ(not_yet_runnable(*read({"@x8", "@null"})), std::nullopt);
}

TEST(StageWords, TellsWordsOfRecordsFromOthers) {
  for (const char* word : {"@x8", "@map", "@each", "@each=5", "@null", "@ordered", "@by=2"})
    EXPECT_TRUE(is_record_word(word)) << word;
  for (const char* word : {"@here", "@db1", "@xa", "@all", "@gpu=yes", "@sandbox", "@on=x8"})
    EXPECT_FALSE(is_record_word(word)) << word;
}

TEST(StageWords, SaysWhatNeedsACluster) {
  for (const char* word : {"@all", "@db1", "@on=db1", "@gpu=yes"}) {
    auto reason = needs_cluster(*read({word}));
    ASSERT_TRUE(reason.has_value()) << word;
    EXPECT_TRUE(reason->contains(word)) << *reason << ", but the user wrote " << word;
  }
  EXPECT_EQ(needs_cluster(*read({"@here"})), std::nullopt);
}

TEST(StageWords, AWordThatIsNoOtherIsLeftToTheCluster) {
  std::vector<std::string> words = {"@db9"};
  auto read_words = read_stage_words(words, {.names = {}, .others_too = true});
  ASSERT_TRUE(read_words);
  EXPECT_EQ(read_words->where.kind, Whereabouts::Kind::node);
  EXPECT_EQ(read_words->where.node, "db9");
}

}  // namespace
}  // namespace sluice::flow
