#include "flow/yaml_document.h"

#include <gmock/gmock.h>

#include "flow/yaml_source.h"

namespace sluice::flow {
namespace {

using testing::HasSubstr;
using Kind = YamlNode::Kind;

YamlNode read(std::string_view text) {
  FileMistakes mistakes;
  auto root = read_yaml(text, mistakes);
  EXPECT_TRUE(root) << (root ? "" : root.error().message);
  EXPECT_TRUE(mistakes.empty());
  return root ? *root : YamlNode{};
}

std::string refusal(std::string_view text, const YamlLimits& limits = {}) {
  FileMistakes mistakes;
  auto root = read_yaml(text, mistakes, limits);
  return root ? "" : describe_mistakes("f", {root.error()});
}

TEST(YamlDocument, KeepsTextsAsTheyAreWritten) {
  YamlNode root = read("country: no\nversion: 1.10\nport: 0x50\nquoted: 'a ''b'\nnothing: ~\n");
  ASSERT_EQ(root.kind, Kind::map);
  EXPECT_EQ(root.entries[0].value.text, "no");
  EXPECT_EQ(root.entries[1].value.text, "1.10");
  EXPECT_EQ(root.entries[2].value.text, "0x50");
  EXPECT_EQ(root.entries[3].value.text, "a 'b");
  EXPECT_EQ(root.entries[4].value.kind, Kind::nothing);
}

TEST(YamlDocument, KnowsWhereEverythingStands) {
  YamlNode root = read("# flow\nstages:\n  größe: { run: ls,\n    é: [x, y] }\n");
  const YamlEntry& stage = root.entries[0].value.entries[0];
  EXPECT_EQ(stage.place, (TextPlace{3, 3}));
  EXPECT_EQ(stage.value.entries[0].value.place, (TextPlace{3, 17}));
  EXPECT_EQ(stage.value.entries[1].value.items[1].place, (TextPlace{4, 12}));
}

TEST(YamlDocument, ReadsJson) {
  YamlNode root = read("{\"a\":\"b\\/c\",\n\t\"d\":[1,true,null],\"e\":{\"f\":\"\\u00e9\"}}");
  EXPECT_EQ(root.entries[0].value.text, "b/c");
  EXPECT_EQ(root.entries[1].value.items.size(), 3u);
  EXPECT_EQ(root.entries[1].value.items[2].kind, Kind::nothing);
  EXPECT_EQ(root.entries[2].value.entries[0].value.text, "é");
}

TEST(YamlDocument, JoinsSurrogatesOfJson) {
  EXPECT_EQ(read("{\"a\": \"\\ud83d\\ude00 \\\\ud83d\"}").entries[0].value.text, "\U0001F600 \\ud83d");
}

TEST(YamlDocument, PutsAliasesInTheirPlaces) {
  YamlNode root = read("a: &x { b: 1 }\nc: *x\n");
  EXPECT_EQ(root.entries[1].value.entries[0].value.text, "1");
  EXPECT_THAT(refusal("a: *x\n"), HasSubstr("f:1:4: the alias '*x' stands for nothing"));
  EXPECT_THAT(refusal("a: &x [*x]\n"), HasSubstr("stands for nothing"));
}

TEST(YamlDocument, LimitsWhatAliasesMakeOfAFile) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  EXPECT_THAT(refusal(bomb), HasSubstr("more than 100000 values"));
  std::string deep = "a0: &a0 [x]\n";
  for (int i = 1; i < 30; ++i)
    deep += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  EXPECT_THAT(refusal(deep), HasSubstr("nested deeper than 20"));
  std::string long_text = "a: &a " + std::string(500'000, 'x') + "\nb: [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n";
  EXPECT_THAT(refusal(long_text), HasSubstr("bytes of text"));
}

TEST(YamlDocument, LimitsSizeAndNesting) {
  EXPECT_THAT(refusal(std::string(2'000'000, '#')), HasSubstr("f:1:1: the file is larger than 1024 KiB"));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("nested deeper than 20"));
  EXPECT_THAT(refusal(std::string(100'000, '{')), HasSubstr("nested deeper than 20"));
  std::string blocks;
  for (int i = 0; i < 1000; ++i) blocks += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(refusal(blocks), HasSubstr("nested deeper than 20"));
}

TEST(YamlDocument, RefusesWhatIsNoYamlWithItsPlace) {
  EXPECT_THAT(refusal("a: b: c\n"), HasSubstr("f:1:5: a ':' can't stand here"));
  EXPECT_THAT(refusal("a: 'x\nb: y\n"), HasSubstr("f:1:4: a quote is opened here and never closed"));
  EXPECT_THAT(refusal("a: [1, 2\nb: 3\n"), HasSubstr("a ',' or the ']' for line 1 is missing"));
  EXPECT_THAT(refusal("a: {b: c\n"), HasSubstr("a ',' or the '}' for line 1 is missing"));
  EXPECT_THAT(refusal("a:\n  - x\n b: 1\n"), HasSubstr("f:3:2: this does not continue what begins on line 1"));
  EXPECT_THAT(refusal("a:\n\tb: 1\n"), HasSubstr("f:2:1: YAML takes no tab for indentation"));
  EXPECT_THAT(refusal("a: @x8 sort\n"), HasSubstr("f:1:4: no text begins with '@'"));
  EXPECT_THAT(refusal("a: \"\\q\"\n"), HasSubstr("unknown escape"));
  EXPECT_THAT(refusal("a: 1\n--- \nb: 2\n"), HasSubstr("f:2:1: a second document"));
  EXPECT_THAT(refusal("? [a]\n: b\n"), HasSubstr("f:1:3: a key must be a text"));
  EXPECT_THAT(refusal("abc\ndef: 1\n"), HasSubstr("f:2:4: a ':'"));
}

TEST(YamlDocument, RefusesWhatIsNoText) {
  EXPECT_THAT(refusal("a: b\nc: \xff\n"), HasSubstr("f:2:4: this is not UTF-8"));
  EXPECT_THAT(refusal("a: \xed\xa0\x80\n"), HasSubstr("not UTF-8"));
  EXPECT_THAT(refusal("é: \x01\n"), HasSubstr("f:1:4: the character U+0001"));
  EXPECT_THAT(refusal(std::string_view("a: \0b\n", 6)), HasSubstr("U+0000"));
  EXPECT_THAT(refusal("a: \"\\0\"\n"), HasSubstr("NUL"));
  EXPECT_THAT(refusal("a: \xc2\x9b\n"), HasSubstr("U+009B"));
}

TEST(YamlDocument, TellsKeysThatStandTwiceAndTags) {
  FileMistakes mistakes;
  auto root = read_yaml("a: 1\nb: !foo 2\na: 3\n", mistakes);
  ASSERT_TRUE(root);
  EXPECT_EQ(root->entries.size(), 2u);
  EXPECT_EQ(describe_mistakes("f", mistakes.take()),
            "f:2:4: the tag '!foo' means nothing here; leave it out\n"
            "f:3:1: 'a' stands twice, first on line 1; leave one out\n");
}

TEST(YamlDocument, SkipsAByteOrderMark) {
  EXPECT_EQ(read("\xEF\xBB\xBF"
                 "a: b\n")
                .entries[0]
                .place,
            (TextPlace{1, 1}));
}

TEST(YamlSource, FindsPlacesWithinTexts) {
  auto place = [](std::string_view text, std::size_t offset) {
    YamlNode root = read(text);
    return YamlSource(text).place_in(root.entries[0].value, offset);
  };
  EXPECT_EQ(place("a: one two\n", 4), (TextPlace{1, 8}));
  EXPECT_EQ(place("a: 'one two'\n", 4), (TextPlace{1, 9}));
  EXPECT_EQ(place("a: é two\n", 3), (TextPlace{1, 6}));
  EXPECT_EQ(place("a: |\n  one\n  two\n", 5), (TextPlace{3, 4}));
  EXPECT_EQ(place("a: \"o\\x6ee two\"\n", 4), (TextPlace{1, 4})) << "an escape: the place of the text";
  EXPECT_EQ(place("a: >\n  one\n  two\n", 5), (TextPlace{1, 4}));
  EXPECT_EQ(place("a: one\n  two\n", 5), (TextPlace{1, 4}));
}

}  // namespace
}  // namespace sluice::flow
