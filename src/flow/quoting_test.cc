#include "flow/quoting.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::flow {
namespace {

TEST(Quoting, LeavesHarmlessWordsAlone) {
  EXPECT_EQ(quote_word("a-b_c./x=1"), "a-b_c./x=1");
  EXPECT_EQ(quote_word(""), "''");
  EXPECT_EQ(quote_word("it's $x"), "'it'\\''s $x'");
  EXPECT_EQ(quote_words(std::vector<std::string>{"tr", "a b", "c"}), "tr 'a b' c");
}

TEST(Quoting, ShortensToOneLine) {
  EXPECT_EQ(on_one_line("short", 10), "short");
  EXPECT_EQ(on_one_line("a\nb\tc\033d\xc2\x9b", 10), "a b c?d?");
  EXPECT_EQ(on_one_line("exactly10c", 10), "exactly10c");
  EXPECT_EQ(on_one_line("longer than ten", 10), "longer th…");
  EXPECT_EQ(on_one_line("äöüäöü", 4), "äöü…");
}

}  // namespace
}  // namespace sluice::flow
