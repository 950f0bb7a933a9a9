#pragma once
// The tokens of a shell text, one at a time, and the bodies of here-documents.
//
// What a word means in the shell depends on the tokens in front of it: `if` is a keyword behind `;` but not behind
// `echo`, `a[x|y]=1` is one word where an assignment may stand and three tokens elsewhere. So the lexer remembers the
// last two tokens and a few facts that the parser tells it. bash decides all of this the same way, from the last
// tokens; deciding it from the position in the grammar instead would differ in corners such as `{ (a) }`.
//
// Invariants: a token is read when it is first asked for, so everything that it depends on is told before.
// Threading: none of its own.
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "flow/shell_scanner.h"
#include "flow/shell_token.h"

namespace sluice::flow {

class ShellLexer {
 public:
  explicit ShellLexer(ShellScanner& scanner) : scanner_(scanner) {}

  const Token& peek();
  TokenKind peek_kind() { return peek().kind; }
  Token take();
  /// Takes an @ word, which leaves no trace: what follows stands where the @ word stood.
  Token take_at_word();

  /// Remembers that the body of a here-document is due at the next newline.
  void expect_here_document(std::size_t command, const Token& delimiter, bool strips_tabs);
  /// While a simple command has nothing but redirections, a word may still assign.
  void set_only_redirections(bool value) { context_.only_redirections = value; }
  /// Extended patterns outside of [[ ]], which `shopt -s extglob` on an earlier line turns on.
  void set_extended_patterns(bool value) { extended_patterns_ = value; }

  // Inside [[ ]]: no keywords, and the right-hand side of == and =~ is read by rules of its own.
  enum class ConditionalWord { plain, pattern, regular_expression };
  void enter_conditional() { context_.in_conditional = true; }
  void leave_conditional();
  /// Reads the next token as the right-hand side of a conditional operator.
  const Token& peek_conditional_word(ConditionalWord word);

  struct HereDocumentDue {
    std::size_t command = 0;
    std::string delimiter;
    bool quoted = false;
    bool strips_tabs = false;
  };

  // What is known of the tokens so far. A substitution starts with a fresh one.
  struct Context {
    TokenKind last = TokenKind::newline;
    TokenKind before_last = TokenKind::newline;
    std::optional<Token> ahead;
    bool in_substitution = false;
    bool substitution_ended = false;  // but bodies are still to be read
    bool in_conditional = false;
    bool in_compound_assignment = false;
    bool in_case_pattern = false;
    bool in_case_statement = false;
    bool only_redirections = false;
    bool assignments_are_arguments = false;  // behind `declare` and its like, NAME=(...) is one word
    bool function_body_may_start = false;
    TokenKind awaits_in = TokenKind::end;  // the `for`, `select` or `case` whose `in` has not come yet
    ConditionalWord conditional_word = ConditionalWord::plain;
    std::vector<HereDocumentDue> here_documents_due;
  };
  Context enter_substitution();
  void leave_substitution(Context outer);
  /// Reads the bodies that are still due where the text, or a substitution, ends.
  void finish_here_documents();

 private:
  struct Word;

  Token read();
  Token read_operator(std::size_t begin);
  TokenKind read_operator_kind();
  TokenKind read_less();
  TokenKind read_greater();
  TokenKind read_ampersand();
  TokenKind read_semicolon();
  TokenKind read_pipe();
  TokenKind read_left_paren(std::size_t begin);
  TokenKind read_right_paren();
  Token read_word(std::size_t begin);
  bool read_word_part(Word& word);
  bool read_escaped(Word& word);
  bool read_quoted(Word& word, int quote);
  bool read_dollar(Word& word);
  bool read_bracketed(Word& word, std::size_t begin, bool closed);
  bool read_compound_assignment(std::size_t opened_at);
  bool read_compound_elements(std::size_t opened_at);
  bool starts_subscript(const Word& word) const;
  bool starts_compound_assignment(const Word& word);
  bool starts_extended_pattern(int character);
  TokenKind classify(const Word& word);
  std::optional<TokenKind> special_word(const Word& word);
  std::optional<TokenKind> keyword(const Word& word);
  bool is_number(const Word& word);
  bool is_redirect_variable(const Word& word);
  bool keyword_acceptable() const;
  bool time_acceptable() const;
  bool command_position() const;
  bool assignment_acceptable() const;
  bool double_paren_is_arithmetic(std::size_t content);
  void skip_comment();
  void read_here_documents();
  void read_here_document(const HereDocumentDue& due);

  ShellScanner& scanner_;
  Context context_;
  bool extended_patterns_ = false;
  std::size_t braces_open_ = 0;
  // Whether the (( with its content at this offset is arithmetic. Without this memory nested ones would be tried twice
  // on every level.
  std::map<std::size_t, bool> arithmetic_decisions_;
  std::size_t reread_until_ = 0;  // up to where bash would read a (( again from a copy
};

}  // namespace sluice::flow
