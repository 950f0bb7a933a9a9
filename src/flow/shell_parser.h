#pragma once
// The grammar of a shell text: a recursive descent over the tokens of `ShellLexer`, one function for each rule of the
// grammar in POSIX.1-2017 XCU 2.10 and of bash's additions to it. The rules decide only what stands where; no tree is
// kept but for the commands of the one pipeline, because nothing else is asked for.
//
// It accepts and refuses what `bash -n` of version 5.2 does; that was compared over several hundred thousand generated
// and mutated texts. Known differences:
// - We refuse nesting beyond kNestingMax.
// - What an earlier line of the text sets when it runs is not known here. Only extended patterns are allowed behind a
//   line that names `extglob`, and otherwise refused outside of [[ ]], as by a fresh shell. Aliases are not expanded.
// - A here-document inside a `((` that turns out to be two subshells is refused: bash accepts it, but takes the body
//   from behind the construct and runs the lines of the body as commands.
// - `EOF)`, which ends a here-document and the substitution around it: refused where bash puts the rest of that line
//   back into the middle of another one, and read differently where a backslash continues that line.
// - A line break directly behind the inner parenthesis of `((...)` is refused as in bash, but also in the few cases
//   where bash happens to be done by then, because it counted a parenthesis in ${...} or in a comment.
// - Behind `declare` and its like, bash accepts NAME=(...) even inside a substitution in their arguments, and refuses
//   it when it expands that; we refuse it at once.
// - A here-document's delimiter that holds $(...) is taken as it is written; bash rewrites it.
// - A word that begins with an unquoted @ where a command may begin is an @ word. For bash it is a command's name.
//
// Invariants: a function that returns false has made the scanner fail, and everything above it returns false too.
// Threading: none of its own.
#include <expected>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flow/shell_lexer.h"
#include "flow/shell_scanner.h"
#include "flow/shell_text.h"

namespace sluice::flow {

class ShellParser final : private SubstitutionReader {
 public:
  ShellParser(std::string_view text, ShellDialect dialect);
  ShellParser(const ShellParser&) = delete;
  ShellParser& operator=(const ShellParser&) = delete;

  bool parse();
  /// For text that is expanded as if in double quotes, such as a here-document's body.
  bool parse_expandable_text() { return scanner_.skip_expandable_text(); }

  const SyntaxError& failure() const { return scanner_.failure(); }
  /// All that was found; its @ words that lie in unparsed parts are missing.
  ParsedText take_result();
  std::vector<UnparsedPart> take_unparsed_parts() { return std::move(scanner_.unparsed_parts); }

 private:
  /// What one simple command turned out to be.
  struct CommandFacts {
    std::vector<Token> words;
    bool only_words = true;
    bool first_is_word = false;
  };
  enum class Level { top, nested };

  // Lists.
  bool parse_line();
  bool end_line();
  bool parse_compound_list();
  bool parse_pipeline(Level level);
  bool parse_pipeline_prefix(Level level, std::vector<AtWord>& at_words, bool& empty);
  bool parse_pipeline_command(Level level, std::vector<AtWord> at_words);
  bool read_substitution(std::size_t opened_at) override;

  // Commands.
  bool parse_command(Level level, CommandFacts& facts);
  bool parse_simple_command(Level level, CommandFacts& facts);
  enum class PathUse { read, written };
  void note_path_word(const Token& word, PathUse use);
  bool parse_redirection();
  bool parse_redirections();
  bool parse_function_body();
  bool parse_function(Level level);
  bool parse_coprocess(Level level, CommandFacts& facts);
  bool parse_compound_command();
  bool parse_if();
  bool parse_while();
  bool parse_for();
  bool parse_arithmetic_for();
  bool parse_loop_words();
  bool parse_loop_body();
  bool parse_case();
  bool parse_case_pattern();
  bool parse_group(TokenKind close, std::string_view opened, std::string_view closes);
  bool parse_conditional();
  bool parse_conditional_or();
  bool parse_conditional_and();
  bool parse_conditional_term();
  bool parse_conditional_operand();
  bool skip_conditional_newlines();

  // Tokens.
  TokenKind peek() { return lexer_.peek_kind(); }
  bool peek_is(std::initializer_list<TokenKind> kinds);
  void skip_newlines();
  Token take();
  bool take_at_words(std::vector<AtWord>& at_words);
  bool expect(TokenKind kind, std::string_view wanted, std::string_view opened, std::size_t opened_at);
  bool expect_word(std::string_view wanted);
  bool unexpected();
  std::string describe_next();
  void set_other(Level level, OtherThanOnePipeline other);
  void record_command(std::size_t begin, std::vector<AtWord> at_words, const CommandFacts& facts);

  ShellScanner scanner_;
  ShellLexer lexer_;
  ParsedText result_;
  std::size_t command_index_ = 0;                            // of the top-level pipeline's command that is being read
  std::vector<std::pair<std::string, PathUse>> path_words_;  // of that command
  std::vector<std::string> path_patterns_;                   // the same
  std::size_t last_end_ = 0;                                 // behind the last token that was taken
};

}  // namespace sluice::flow
