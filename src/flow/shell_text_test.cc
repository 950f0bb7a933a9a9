#include "flow/shell_text.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace sluice::flow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;

using Strings = std::vector<std::string>;

ParsedText parse(std::string_view text) {
  auto parsed = parse_shell_text(text);
  if (parsed) return std::move(*parsed);
  ADD_FAILURE() << "refused: " << text << "\nat " << parsed.error().offset << ": " << parsed.error().message;
  return {};
}

Strings stages(std::string_view text) {
  Strings result;
  for (const ParsedCommand& command : parse(text).commands) result.push_back(stage_text(text, command));
  return result;
}

Strings ranges(std::string_view text) {
  Strings result;
  for (const ParsedCommand& command : parse(text).commands) {
    result.emplace_back(text.substr(command.range.begin, command.range.end - command.range.begin));
  }
  return result;
}

Strings values(const std::vector<AtWord>& words) {
  Strings result;
  for (const AtWord& word : words) result.push_back(word.value);
  return result;
}

Strings stray(std::string_view text) { return values(parse(text).stray_at_words); }

std::optional<Strings> plain(std::string_view text) {
  const ParsedText parsed = parse(text);
  if (parsed.commands.size() != 1) ADD_FAILURE() << "not one command: " << text;
  return parsed.commands.empty() ? std::nullopt : parsed.commands.front().plain_words;
}

SyntaxError refusal(std::string_view text) {
  auto parsed = parse_shell_text(text);
  if (!parsed) return parsed.error();
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

void expect_one_stage(const Strings& texts) {
  for (const std::string& text : texts) EXPECT_EQ(stages(text), Strings{text});
}

void expect_accepted(const Strings& texts) {
  for (const std::string& text : texts) EXPECT_TRUE(parse_shell_text(text).has_value()) << text;
}

void expect_refused(const Strings& texts) {
  for (const std::string& text : texts) EXPECT_FALSE(parse_shell_text(text).has_value()) << text;
}

// Where the stages end.

TEST(ShellText, SplitsAtPipes) {
  EXPECT_EQ(stages("a"), (Strings{"a"}));
  EXPECT_EQ(stages("a|b"), (Strings{"a", "b"}));
  EXPECT_EQ(stages("  a -x  |  b >c  |\tc 2>&1 "), (Strings{"a -x", "b >c", "c 2>&1"}));
  EXPECT_EQ(stages("a |\n\n  b |# why\n c"), (Strings{"a", "b", "c"}));
  EXPECT_EQ(stages("a \\\n| b"), (Strings{"a", "b"}));
  EXPECT_EQ(stages("a|\\\nb"), (Strings{"a", "b"}));
}

TEST(ShellText, HasNoCommandsWithoutText) {
  for (const char* text : {"", " \t", "\n\n", "# a | b", "\\\n"}) {
    const ParsedText parsed = parse(text);
    EXPECT_THAT(parsed.commands, IsEmpty()) << text;
    EXPECT_EQ(parsed.other, std::nullopt) << text;
  }
}

TEST(ShellText, IgnoresWhatEndsThePipeline) {
  for (const char* text : {"a | b;", "a | b ;\n", "a | b\n\n# c\n", "\n\na | b # c | d", "a | b;# c"}) {
    EXPECT_EQ(stages(text), (Strings{"a", "b"})) << text;
    EXPECT_EQ(parse(text).other, std::nullopt) << text;
  }
}

TEST(ShellText, KeepsPipesThatAreQuoted) {
  expect_one_stage({"a '|'", "a \"|\"", "a \\|", "a $'\\'|'", "a $\"|\"", "a \"\\\"|\"", "a '\\'\\|", "a ''\"'|'\"",
                    "a \"$(b | c)\"", "a \"`b | c`\"", "a \"${b:-|}\"", "a \"$(b \")|(\")\""});
}

TEST(ShellText, KeepsPipesInExpansions) {
  expect_one_stage({"a $(b | c)", "a `b | c`", "a `b \\`c | d\\``", "a ${b:-|}", "a ${b:-'}|'}", "a ${b%\"}|\"}",
                    "a ${b/\\}/|}", "a ${b:-${c}|}", "a ${b:-{|}", "a $((1|2))", "a $[1|2]", "a $((1|(2)))",
                    "a $((b|c) | d)", "a $(b $(c | d) | e)", "a <(b | c)", "a x>(b|c)d"});
}

TEST(ShellText, KeepsPipesInCompoundCommands) {
  expect_one_stage({"(a | b)",
                    "{ a | b; }",
                    "{ a | b\n}",
                    "if a | b; then c | d; elif e | f; then g; else h | i; fi",
                    "while a | b; do c | d; done",
                    "until a | b\ndo c | d\ndone",
                    "for x in a b; do c | d; done",
                    "for x; do c | d; done",
                    "for x\ndo a | b; done",
                    "for x in a; { b | c; }",
                    "for ((i = 1 | 2; i < 3; i++)); do a | b; done",
                    "for ((;;)) { a | b; }",
                    "select x in a; do b | c; done",
                    "case a in b | c) d | e ;; (f | g) h | i ;& *) j | k ;;& esac",
                    "case a in esac",
                    "case a in b | esac) c | d ;; (esac) e | f ;; esac",
                    "(( a | b ))",
                    "((a | b) | c)",
                    "[[ a == @(b|c) && ( d || e ) ]]",
                    "[[ a =~ ^(b|c)|d$ ]]",
                    "[[ a =~ [[:alpha:]]|b ]]",
                    "{ (a | b) }",
                    "if (a) then { b; } fi >c"});
}

TEST(ShellText, SplitsBehindCompoundCommands) {
  EXPECT_EQ(stages("(a) | { b; } 2>x | ((1)) | [[ a ]] | while b; do c; done"),
            (Strings{"(a)", "{ b; } 2>x", "((1))", "[[ a ]]", "while b; do c; done"}));
  EXPECT_EQ(stages("case x in x) a ;; esac|if a; then b; fi|b"),
            (Strings{"case x in x) a ;; esac", "if a; then b; fi", "b"}));
}

TEST(ShellText, KeepsPipesInAssignments) {
  expect_one_stage(
      {"a[b|c]=1 d", "a=(b '|' c)", "a+=([b|c]=d $(e | f)\n# g | h\n) i", "declare -a a=(b c)", "a=1 b=(c)"});
  EXPECT_EQ(stages("echo a[b|c]=1"), (Strings{"echo a[b", "c]=1"}));  // no assignment there
}

TEST(ShellText, KnowsKeywordsOnlyWhereACommandBegins) {
  EXPECT_EQ(stages("echo if | cat fi"), (Strings{"echo if", "cat fi"}));
  EXPECT_EQ(stages("'if' | \\while | \"{\""), (Strings{"'if'", "\\while", "\"{\""}));
  EXPECT_EQ(stages("if=1 | >x if"), (Strings{"if=1", ">x if"}));
  EXPECT_EQ(stages("i\\\nf a; then b | c; fi | d"), (Strings{"i\\\nf a; then b | c; fi", "d"}));
  EXPECT_EQ(stages("for in in in; do a; done | b"), (Strings{"for in in in; do a; done", "b"}));
}

TEST(ShellText, StartsCommentsOnlyBetweenWords) {
  EXPECT_EQ(stages("a#b | c"), (Strings{"a#b", "c"}));
  EXPECT_EQ(stages("a # | b"), (Strings{"a"}));
  EXPECT_EQ(stages("a $(b # )\n) | c"), (Strings{"a $(b # )\n)", "c"}));
  EXPECT_EQ(stages("{ a # }\n} | b"), (Strings{"{ a # }\n}", "b"}));
  EXPECT_EQ(stages("a ${#b} | c"), (Strings{"a ${#b}", "c"}));
}

// Redirections and |&.

TEST(ShellText, ReadsRedirections) {
  expect_one_stage({"a >|b", "a <>b", "a >&2", "a 2>&-", "a &>b", "a &>>b", "a {fd}>b <&\"$fd\"", "a {b[1]}>c",
                    "a <<<b", ">a", "2>a b", "a 2>&1-", "a >& b", "a > >(b | c)"});
  EXPECT_EQ(stages("a 2>&1|b"), (Strings{"a 2>&1", "b"}));
  EXPECT_EQ(stages("a <<<'|'|b"), (Strings{"a <<<'|'", "b"}));
}

TEST(ShellText, JoinsStderrToThePipe) {
  const ParsedText parsed = parse("a |& b | c");
  ASSERT_EQ(parsed.commands.size(), 3u);
  EXPECT_TRUE(parsed.commands[0].stderr_joins_pipe);
  EXPECT_FALSE(parsed.commands[1].stderr_joins_pipe);
  EXPECT_EQ(stages("a >x |& { b; } |&\nc"), (Strings{"a >x 2>&1", "{ b; } 2>&1", "c"}));
  EXPECT_EQ(stages("cat <<E |& b\nx\nE\n"), (Strings{"cat <<E 2>&1\nx\nE\n", "b"}));
}

// Here-documents.

TEST(ShellText, GivesHereDocumentsToTheirCommand) {
  EXPECT_EQ(stages("cat <<E | b\nx | y\nE\n"), (Strings{"cat <<E\nx | y\nE\n", "b"}));
  EXPECT_EQ(stages("cat <<E |\nx\nE\nb"), (Strings{"cat <<E\nx\nE\n", "b"}));
  EXPECT_EQ(stages("a <<E | b <<F | c\n1\nE\n2\nF"), (Strings{"a <<E\n1\nE\n", "b <<F\n2\nF", "c"}));
  EXPECT_EQ(stages("a <<E <<F | b\n1\nE\n2\nF\n"), (Strings{"a <<E <<F\n1\nE\n2\nF\n", "b"}));
  EXPECT_EQ(stages("a | b <<E |# c\n1\nE\nd"), (Strings{"a", "b <<E\n1\nE\n", "d"}));
}

TEST(ShellText, FindsTheEndOfHereDocuments) {
  EXPECT_EQ(stages("a <<-E | b\n\tx\n\tE\n"), (Strings{"a <<-E\n\tx\n\tE\n", "b"}));
  EXPECT_EQ(stages("a <<'E F' | b\nE\nE F\n"), (Strings{"a <<'E F'\nE\nE F\n", "b"}));
  EXPECT_EQ(stages("a <<E | b\nx\\\nE\nE\n"),
            (Strings{"a <<E\nx\\\nE\nE\n", "b"}));  // the first E goes on the line before
  EXPECT_EQ(stages("a <<\\E |\nx\\\nE\nb"), (Strings{"a <<\\E\nx\\\nE\n", "b"}));
  EXPECT_EQ(stages("a <<E\\\nF |\nE\nEF\nb"), (Strings{"a <<E\\\nF\nE\nEF\n", "b"}));
  EXPECT_EQ(stages("a <<E | b\nE \n E\n"), (Strings{"a <<E\nE \n E\n", "b"}));  // the text's end ends it, as in bash
  EXPECT_EQ(stages("a <<E | b"), (Strings{"a <<E\n", "b"}));
}

TEST(ShellText, KeepsHereDocumentsThatLieInsideACommand) {
  expect_one_stage({"{ a <<E\n(\nE\n}", "a $(b <<E\n(\nE\n) c", "(a <<E;\n)\nE\nb)", "if a <<E\nfi\nE\nthen b; fi",
                    "a \"$(b <<E\nx\nE)\" c"});
  EXPECT_EQ(ranges("{ a <<E; b; } <<F | c\n(\nE\n)\nF"), (Strings{"{ a <<E; b; } <<F", "c"}));
  EXPECT_EQ(stages("{ a <<E; b; } <<F | c\n(\nE\n)\nF"), (Strings{"{ a <<E; b; } <<F\n(\nE\n)\nF", "c"}));
}

TEST(ShellText, TakesForeignHereDocumentsOutOfACommand) {
  const char* text = "cat <<E | while read l\nx\nE\ndo cat <<F\n$l\nF\ndone | b";
  EXPECT_EQ(stages(text), (Strings{"cat <<E\nx\nE\n", "while read l\ndo cat <<F\n$l\nF\ndone", "b"}));
  const ParsedText parsed = parse(text);
  ASSERT_EQ(parsed.commands.size(), 3u);
  EXPECT_EQ(parsed.commands[1].foreign_here_documents, parsed.commands[0].here_documents);
}

TEST(ShellText, FindsBodiesThatASubstitutionLeftOpen) {
  EXPECT_EQ(stages("a $(b <<E) | c\n(\nE\n"), (Strings{"a $(b <<E)\n(\nE\n", "c"}));
}

// More than one pipeline.

TEST(ShellText, SaysWhatMakesItMoreThanOnePipeline) {
  struct Case {
    const char* text;
    OtherThanOnePipeline other;
  };
  using enum OtherThanOnePipeline;
  for (const Case& c : std::vector<Case>{{"a; b", semicolon},
                                         {"a; b && c", semicolon},
                                         {"a &", background},
                                         {"a & b", background},
                                         {"a | b &\n", background},
                                         {"a && b; c", and_if},
                                         {"a ||\n b", or_if},
                                         {"a\nb", newline},
                                         {"a;\nb", newline},
                                         {"a <<E\nx\nE\nb", newline},
                                         {"! a | b", negation},
                                         {"! time a", negation},
                                         {"!", negation},
                                         {"time a | b", OtherThanOnePipeline::time},
                                         {"time -p -- a", OtherThanOnePipeline::time},
                                         {"coproc a", coprocess},
                                         {"coproc x { a; }", coprocess},
                                         {"a | coproc b", coprocess},
                                         {"f() { a; }", function},
                                         {"function f { a; }", function},
                                         {"function f() (a) >b", function},
                                         {"a | f() { b; }", function}}) {
    const ParsedText parsed = parse(c.text);
    EXPECT_THAT(parsed.other, Optional(c.other)) << c.text;
    EXPECT_THAT(parsed.commands, IsEmpty()) << c.text;
  }
}

TEST(ShellText, AllowsListsInsideOneCommand) {
  for (const char* text : {"{ a; b & c && ! d; time e; f() { g; }; coproc h; }", "(a; b) | c", "a $(b; c)"}) {
    EXPECT_EQ(parse(text).other, std::nullopt) << text;
  }
}

TEST(ShellText, RunsTheProgramNamedTimeBehindAPipe) {
  EXPECT_EQ(stages("a | time b"), (Strings{"a", "\\time b"}));
  EXPECT_EQ(stages("a |\n@x2 time b"), (Strings{"a", "\\time b"}));
  const ParsedText parsed = parse("a | time b | 'time' c | timed");
  ASSERT_EQ(parsed.commands.size(), 4u);
  EXPECT_EQ(parsed.other, std::nullopt);
  EXPECT_TRUE(parsed.commands[1].first_word_is_time);
  EXPECT_FALSE(parsed.commands[2].first_word_is_time);
  EXPECT_FALSE(parsed.commands[3].first_word_is_time);
}

TEST(ShellText, KnowsAQuotedFirstWord) {
  for (const char* text : {"'if' a", "\\time a", "a'b'", "\"x\" y", "A=1 'b'"}) {
    EXPECT_TRUE(parse(text).commands.at(0).first_word_quoted) << text;
  }
  for (const char* text : {"a 'b'", "a", "{ 'a'; }"}) {
    EXPECT_FALSE(parse(text).commands.at(0).first_word_quoted) << text;
  }
}

TEST(ShellText, NamesTheUnquotedWordsThatAreRelativePaths) {
  auto paths = [](const char* text, std::size_t command = 0) {
    Strings found;
    const ParsedText parsed = parse(text);
    for (const PathWord& word : parsed.commands.at(command).path_words)
      found.push_back(word.path + (word.made_by_command ? " made" : ""));
    return found;
  };
  EXPECT_EQ(paths("./a -f ./b ../c/d e/f /g"), (Strings{"./a", "./b", "../c/d"}));
  EXPECT_EQ(paths("sort < ./in > ./out 2>> ./log"), (Strings{"./in"}));
  EXPECT_EQ(paths("{ ./a > ./b; cat ./b ./c; }"), (Strings{"./a", "./b made", "./c"}));
  EXPECT_EQ(paths("{ cat ./a; (./b \"$(./c)\"); }"), (Strings{"./a", "./b", "./c"}));
  for (const char* text : {"a './b' \"./c\" .\\/d", "a ./* ./$b ./`c`x", "a=./b c", "a .b ..c ."})
    EXPECT_EQ(paths(text), Strings{}) << text;
  EXPECT_EQ(paths("cat ./a | @n2 grep -f ./b", 0), (Strings{"./a"}));
  EXPECT_EQ(paths("cat ./a | @n2 grep -f ./b", 1), (Strings{"./b"}));
}

TEST(ShellText, NamesThePatternsOfRelativePaths) {
  auto patterns = [](const char* text, std::size_t command = 0) {
    return parse(text).commands.at(command).path_patterns;
  };
  EXPECT_EQ(patterns("a ./*.txt ../b? ./[ab] c* /d*"), (Strings{"./*.txt", "../b?", "./[ab]"}));
  EXPECT_EQ(patterns("a './*' ./$b* ./\"c\"* ./d"), Strings{});
  EXPECT_EQ(patterns("a ./* | { cat ./b*; }", 1), (Strings{"./b*"}));
}

// @ words.

TEST(AtWords, LeadTheirStage) {
  const ParsedText parsed = parse("@x8 @on=db1 a @b | c | @by='/a b' @\\x\"y\" d");
  ASSERT_EQ(parsed.commands.size(), 3u);
  EXPECT_EQ(values(parsed.commands[0].at_words), (Strings{"@x8", "@on=db1"}));
  EXPECT_EQ(parsed.commands[0].at_words[1].range, (TextRange{4, 11}));
  EXPECT_THAT(parsed.commands[1].at_words, IsEmpty());
  EXPECT_EQ(values(parsed.commands[2].at_words), (Strings{"@by=/a b", "@xy"}));
  EXPECT_THAT(parsed.stray_at_words, IsEmpty());
  EXPECT_EQ(stages("@x8 @on=db1 a @b | c | @by='/a b' d"), (Strings{"a @b", "c", "d"}));
}

TEST(AtWords, StandBeforeAnyCommand) {
  EXPECT_EQ(stages("@x4 while read l; do a; done | @y { b; } | @z (c)|@a>x"),
            (Strings{"while read l; do a; done", "{ b; }", "(c)", ">x"}));
  EXPECT_EQ(stages("@x2 FOO=1 a | @y a=(1)"), (Strings{"FOO=1 a", "a=(1)"}));
  EXPECT_EQ(stages("@x\\\n2 a | @*z? b"), (Strings{"a", "b"}));
  EXPECT_EQ(plain("@x2 a b"), (Strings{"a", "b"}));
}

TEST(AtWords, AreWordsWhenQuotedOrElsewhere) {
  EXPECT_EQ(stages("\\@x | '@x' a | \"@x\""), (Strings{"\\@x", "'@x' a", "\"@x\""}));
  EXPECT_THAT(stray("a @x; for x in @y; do b @z; done; case @a in @b) c ;; esac; [[ @d ]]; e=(@f)"), IsEmpty());
}

TEST(AtWords, AreStrayBehindAssignmentsAndRedirections) {
  for (const char* text : {"A=1 @s", "A=1 B=2 @s a", "a | >b @s", "<c A=1 @s b", "{ A=1 @s; }"})
    EXPECT_EQ(stray(text), (Strings{"@s"})) << text;
  for (const char* text : {"A=1 \\@x", ">b '@x'", "A=1 a @x", "A=1 >b a @x", "A=@x a"})
    EXPECT_THAT(stray(text), IsEmpty()) << text;
}

TEST(AtWords, AreStrayInsideACommand) {
  for (const char* text : {"{ @s a; }",
                           "a | (@s b)",
                           "a $(@s b)",
                           "a `@s b`",
                           "a `b \\`@s c\\``",
                           "a \"$(@s b)\"",
                           "a \"`@s b`\"",
                           "a ${b:-$(@s c)}",
                           "a <(@s b)",
                           "if @s a; then b; fi",
                           "if a; then b | @s c; fi",
                           "case a in b) @s c ;; esac",
                           "! @s a",
                           "time @s a",
                           "coproc @s a",
                           "f() { @s a; }",
                           "a=($(@s b))",
                           "a[$(@s b)]=1 c",
                           "a $((1 + $(@s b)))",
                           "a $((@s b); c)",
                           "((@s b); c)",
                           "[[ $(@s a) ]]",
                           "a <<E\n$(@s b)\nE",
                           "a <<E\n`@s b`\nE",
                           "a && @s b",
                           "@s a; b",
                           "@s a &",
                           "@s a\nb",
                           "@s ! a",
                           "$(@s b) <<E\nE"}) {
    EXPECT_EQ(stray(text), (Strings{"@s"})) << text;
  }
}

TEST(AtWords, AreFoundOnceAndInOrder) {
  EXPECT_EQ(stray("@a b; (( (@c d) ) ); `@e f`; $((@g h) ); @i j"), (Strings{"@a", "@c", "@e", "@g", "@i"}));
  const ParsedText parsed = parse("a `b \\`@s c\\``");
  ASSERT_EQ(parsed.stray_at_words.size(), 1u);
  EXPECT_EQ(parsed.stray_at_words[0].range, (TextRange{7, 9}));
  EXPECT_THAT(stray("a <<'E'\n$(@s b)\nE"), IsEmpty());  // not expanded there
  EXPECT_THAT(stray("a $((@s + 1))"), IsEmpty());
}

TEST(AtWords, AreNotExpanded) {
  for (const char* text : {"@$x a", "@on=`b` a", "@\"$x\" a", "a | @x$(b) c", "@on=<(b) a", "@on=$'x' a"}) {
    EXPECT_THAT(refusal(text).message, HasSubstr("@ words are not expanded")) << text;
  }
  EXPECT_EQ(values(parse("@on='$x' a").commands.at(0).at_words), (Strings{"@on=$x"}));
}

TEST(AtWords, NeedACommand) {
  for (const char* text : {"@x2", "@x2 | a", "a | @x2", "@x2;", "(@x2)", "@x2 # a", "@x2\na", "if a; @x2 then b; fi",
                           "! @x2", "a $(@x2)"}) {
    EXPECT_THAT(refusal(text).message, HasSubstr("no command follows `@x2`")) << text;
  }
}

// Plain words.

TEST(PlainWords, AreTheWordsThatNoShellWouldChange) {
  EXPECT_EQ(plain("grep -v x=y ./a,b:c/d@e%f^g+h_1"), (Strings{"grep", "-v", "x=y", "./a,b:c/d@e%f^g+h_1"}));
  EXPECT_EQ(plain("a '' 'b  c' \"d'e\" f\\ g \\$h"), (Strings{"a", "", "b  c", "d'e", "f g", "$h"}));
  EXPECT_EQ(plain("a \"\\\" \\\\ \\$ \\` \\x \\\ny\""), (Strings{"a", "\" \\ $ ` \\x y"}));
  EXPECT_EQ(plain("a '$x `y` *' \"*?[~{a,b}\" \\*"), (Strings{"a", "$x `y` *", "*?[~{a,b}", "*"}));
  EXPECT_EQ(plain("a b\\\nc # d"), (Strings{"a", "bc"}));
  EXPECT_EQ(plain("'if' x"), (Strings{"if", "x"}));
  EXPECT_EQ(plain("echo if then"), (Strings{"echo", "if", "then"}));
  EXPECT_EQ(plain("'%1'"), (Strings{"%1"}));
  EXPECT_EQ(plain("\xc3\xa9 \xe2\x82\xac"), (Strings{"\xc3\xa9", "\xe2\x82\xac"}));
  EXPECT_EQ(parse("a | time b").commands.at(1).plain_words, (Strings{"time", "b"}));
}

TEST(PlainWords, AreEmptyWhenAShellIsNeeded) {
  for (const char* text : {"a $x",     "a \"$x\"",
                           "a `b`",    "a \"`b`\"",
                           "a $(b)",   "a *",
                           "a b?",     "a [c]",
                           "a ~",      "a b:~",
                           "a {b,c}",  "a }",
                           "a >b",     "a 2>&1",
                           "a <<<b",   "a <<E\nE",
                           "A=1 b",    "A=1",
                           "A+=1 b",   "A[1]=2 b",
                           "a $'b'",   "a $\"b\"",
                           "a <(b)",   "(a)",
                           "{ a; }",   "if a; then b; fi",
                           "''",       "\"\" a",
                           "%1",       "[[ a ]]",
                           "((1))",    "a \x01",
                           "a '\x7f'", "a $",
                           ">b"}) {
    EXPECT_EQ(plain(text), std::nullopt) << text;
  }
}

// What is refused.

TEST(ShellTextErrors, RefusesUnclosedConstructs) {
  expect_refused({"a 'b",
                  "a \"b",
                  "a \"b\\\"",
                  "a `b",
                  "a $(b",
                  "a ${b",
                  "a $((b)",
                  "a $[b",
                  "a $'b\\'",
                  "(a",
                  "{ a;",
                  "{ a }",
                  "((a",
                  "((a)",
                  "[[ a",
                  "[[ a ]",
                  "if a; then b;",
                  "if a; then b; else c",
                  "while a; do b",
                  "for x in a; do b",
                  "case a in b) c ;;",
                  "case a in",
                  "case a",
                  "a <(b",
                  "a=(b",
                  "a[b=1",
                  "f() {",
                  "\"$(a\"",
                  "a $(b <<E\n)"});
}

TEST(ShellTextErrors, RefusesEmptyCommands) {
  expect_refused(
      {"|",       "a |",   "| a",  "a | | b", "a || | b", "a &&", "&& a",           "; a",           "a ; ; b",
       "a & & b", "a &;",  "()",   "{ }",     "{ ; }",    "$(;)", "if; then a; fi", "if a; then fi", "while a; do done",
       "a |\n",   "a |& ", "a ;;", "&"});
}

TEST(ShellTextErrors, RefusesMisplacedKeywordsAndOperators) {
  expect_refused({"then",
                  "fi",
                  "do a",
                  "done",
                  "esac",
                  "in a",
                  "}",
                  "]]",
                  "a )",
                  "(a))",
                  "{ a; } }",
                  "if a; then b; fi fi",
                  "else a",
                  "elif a",
                  "a | fi",
                  "a | ! b",
                  "a |\n\n time b",
                  "(a) b",
                  "{ a; } b",
                  "[[ a ]] b",
                  "(a) >b c",
                  "a (b)",
                  "a b()",
                  "f() a",
                  "function f a",
                  "for x { a; }",
                  "for x in a do b; done",
                  "for x in a & do b; done",
                  "for",
                  "for ((a;b)); do c; done",
                  "for ((a;b;c;d)); do e; done",
                  "case a in b c) d ;; esac",
                  "case a in b| ) c ;; esac",
                  "case a b in c) d ;; esac",
                  "if a then b; fi",
                  "coproc",
                  "coproc ! a",
                  "select x { a; }",
                  "A=1 if a; then b; fi"});
}

TEST(ShellTextErrors, RefusesIncompleteRedirections) {
  expect_refused(
      {"a >", "a <", "a > | b", "a <<", "a <<<", "a >& ", "a &>", "a > (b)", "a >\nb", "a ><b", "a << | b", "2>"});
}

TEST(ShellTextErrors, RefusesBadConditions) {
  expect_refused({"[[ ]]", "[[ a b ]]", "[[ -z ]]", "[[ -z a b ]]", "[[ a == ]]", "[[ a == b | c ]]", "[[ a && ]]",
                  "[[ ( a ]]", "[[ a\n]]", "[[ a ==\nb ]]", "[[ a -a b ]]", "[[ @(a) ]]", "[[ ! ]]", "[[ 1<2 ]]",
                  "[[ a =~ b) ]]"});
  expect_accepted({"[[ a ]]", "[[ ! -z a && ( b < c || d -eq e ) ]]", "[[ a == b\n]]", "[[\n a ||\nb ]]",
                   "[[ if == then ]]", "[[ a =~ (b c)|d ]]", "[[ a == !(b)+(c) ]]"});
}

TEST(ShellTextErrors, RefusesArraysWhereBashDoes) {
  expect_refused({"echo a=(b)", "a=(b;c)", "a=(b > c)", "a=((b))", "a=(b=(c))", "declare >x a=(b)"});
  expect_accepted({"declare a=(b)", "export a=(b) c=(d)", ">x a=(b)", "a=()", "a[1]=(b)"});
}

TEST(ShellTextErrors, RefusesExtendedPatternsUntilTheyAreTurnedOn) {
  expect_refused({"ls !(a|b)", "ls *(a)", "case a in +(b)) c ;; esac", "shopt -s extglob; ls !(a)"});
  expect_accepted({"shopt -s extglob\nls !(a|b)", "[[ a == !(b|c) ]]"});
}

TEST(ShellTextErrors, RefusesHereDocumentsThatBashMisreads) {
  EXPECT_THAT(refusal("((cat <<E\nx\nE\n) | cat)").message, HasSubstr("here-document"));
  EXPECT_THAT(refusal("a $(b <<E) c\nE)\n").message, HasSubstr("here-document"));
  std::string text = "a";
  for (int count = 0; count < 16; ++count) text += " <<E";
  expect_accepted({text, "( (cat <<E\nx\nE\n) | cat)", "((cat <<E | cat); b )\nx\nE\n", "$(((1) + 1)) <<E"});
  EXPECT_THAT(refusal(text + " <<E").message, HasSubstr("16"));
}

TEST(ShellTextErrors, RefusesAnInOnItsOwnLineInsideACase) {
  expect_refused({"case a in b) for x\nin c; do d; done ;; esac"});
  expect_accepted({"case a\nin b) for x in c; do d; done ;; esac", "case a in b) c ;; esac\nfor x\nin d; do e; done"});
}

TEST(ShellTextErrors, LeavesToExpansionWhatBashDoes) {
  expect_accepted({"a `if`", "a `'`", "a $((if); then)", "a ${}", "a $((1 +))", "cat <<E\n$(\nE"});
}

TEST(ShellTextErrors, DecidesOnDoubleParenthesesByTheirEnd) {
  expect_accepted({"((1))", "((a); (b))", "(((a) ; b) ; c)", "((a) || (b))", "((a b c))", "$(( (1) ))", "$((a); (b))"});
  expect_refused({"((a) b)", "((1)) a", "echo a (( b ))", "((a)\n)"});
}

TEST(ShellTextErrors, SaysWhatAndWhere) {
  struct Case {
    const char* text;
    std::size_t offset;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{{"a | 'b", 4, "the quote ' is never closed"},
                                         {"a | \"b", 4, "the quote \" is never closed"},
                                         {"a $(b", 2, "`)` is missing"},
                                         {"a ${b", 2, "the ${ is never closed"},
                                         {"a | | b", 4, "`|` may not stand here"},
                                         {"a |", 3, "the text ends where more must follow"},
                                         {"x; if a; then b", 3, "`fi` is missing, which closes the `if`"},
                                         {"a ;; b", 2, "`;;` may not stand here"},
                                         {"a > \nb", 4, "the target of the redirection must stand here"}}) {
    const SyntaxError error = refusal(c.text);
    EXPECT_EQ(error.offset, c.offset) << c.text;
    EXPECT_THAT(error.message, HasSubstr(c.message)) << c.text;
  }
}

TEST(ShellTextErrors, RefusesNullBytes) {
  const SyntaxError error = refusal(std::string_view("a\0b", 3));
  EXPECT_EQ(error.offset, 1u);
  EXPECT_THAT(error.message, HasSubstr("NUL"));
}

// Limits.

std::string repeat(std::string_view text, std::size_t count) {
  std::string result;
  while (count-- > 0) result += text;
  return result;
}

TEST(ShellTextLimits, RefusesDeepNesting) {
  for (const char* open : {"$(", "(", "{ ", "\"$(", "${a:-", "if ", "a=($(", "$((", "a $(("}) {
    const SyntaxError error = refusal(repeat(open, 10'000));
    EXPECT_THAT(error.message, testing::AnyOf(HasSubstr("nested too deeply"), HasSubstr("never closed"))) << open;
  }
  EXPECT_THAT(refusal("[[ " + repeat("( ", 1000)).message, HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(repeat("{ ", 1000) + "a" + repeat("; }", 1000)).message, HasSubstr("nested too deeply"));
  for (const char* open : {"function f ( ", "coproc { ", "a=($("}) {
    EXPECT_THAT(refusal(repeat(open, 10'000)).message, HasSubstr("nested too deeply")) << open;
  }
  expect_accepted({repeat("{ ", 150) + "a" + repeat("; }", 150), repeat("$( ", 60) + "a" + repeat(" )", 60)});
}

// Each level of (( that turns out to be two subshells is read twice; without memory this would take 2^60 steps.
TEST(ShellTextLimits, ReadsNestedDoubleParenthesesInTime) {
  expect_accepted({repeat("((", 60) + "a" + repeat(") )", 60), "a " + repeat("$((a;", 60) + "b" + repeat(") )", 60),
                   repeat("(( $( ", 30) + "a" + repeat(") ) )", 30)});
}

}  // namespace
}  // namespace sluice::flow
