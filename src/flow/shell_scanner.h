#pragma once
// The characters of a shell text: line continuations, quotes, and the expansions that are read as a unit.
//
// The scanner knows how far a quoted or bracketed construct reaches. Where that depends on the grammar, in $(...), it
// asks the parser. It also keeps what the lexer and the parser find on the way, since a construct may have to be read
// twice (`((` may start an arithmetic command or two subshells), and then all of that is taken back together.
//
// Invariants: the position never passes the end. The first failure is kept, and from then on the text reads as ended,
// so that everything above unwinds. Nesting is limited by kNestingMax, which bounds the stack.
// Threading: none of its own.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/shell_text.h"

namespace sluice::flow {

/// Reads the commands of a substitution, from behind its opening parenthesis to behind the closing one.
class SubstitutionReader {
 public:
  virtual ~SubstitutionReader() = default;
  virtual bool read_substitution(std::size_t opened_at) = 0;
};

/// A here-document's body with its delimiter line, and the top-level command whose `<<` introduced it.
struct HereDocument {
  std::size_t command = 0;
  TextRange body;
};

/// A part that bash reads whole at first, and parses only when it runs: so a syntax error in it is no error of the
/// text.
struct UnparsedPart {
  enum class Kind { backquoted, parenthesized, here_document };
  Kind kind = Kind::backquoted;
  TextRange content;
};

class ShellScanner {
 public:
  static constexpr int kEnd = -1;

  explicit ShellScanner(std::string_view text) : text_(text) {}
  void set_substitution_reader(SubstitutionReader* reader) { reader_ = reader; }

  // Characters. `peek` and `take` see no line continuation; the raw ones see every byte.
  int peek();
  int take();
  int peek_next();  // the one behind that which `peek` returns
  int peek_raw() const;
  int take_raw();
  std::size_t position() const { return position_; }
  std::string_view text() const { return text_; }
  std::string_view text_since(std::size_t begin) const { return text_.substr(begin, position_ - begin); }
  /// Goes on at `position`, a place that was passed before or that lies ahead.
  void skip_to(std::size_t position);
  /// The line break at `newline` leads on to `target`: here-document bodies that were read already lie between.
  void set_line_jump(std::size_t newline, std::size_t target) { line_jumps_.push_back({newline, target}); }
  std::size_t line_after(std::size_t newline) const;

  // Constructs: each stands behind the opening characters, which began at `opened_at`, and moves behind the closing
  // one.
  bool skip_single_quoted(std::size_t opened_at);
  bool skip_dollar_single_quoted(std::size_t opened_at);
  bool skip_double_quoted(std::size_t opened_at);
  bool skip_backquoted(std::size_t opened_at);
  bool skip_parameter_expansion(std::size_t opened_at);  // ${
  bool skip_bracket_arithmetic(std::size_t opened_at);   // $[
  bool skip_arithmetic(std::size_t opened_at);           // (( to one ) that matches the second (
  bool skip_pattern_group(std::size_t opened_at);        // ( of an extended pattern or a regular expression
  bool skip_subscript(std::size_t opened_at);            // [ of NAME[
  bool skip_substitution(std::size_t opened_at);         // $( <( >(
  /// Goes through a here-document's body to the end of the text.
  bool skip_expandable_text();
  /// How many semicolons stand in `range` outside of quotes and expansions.
  std::size_t count_semicolons(TextRange range);

  // Failure. `fail` returns false, so that it can stand for the result.
  bool fail(std::size_t offset, std::string message);
  bool failed() const { return failure_.has_value(); }
  const SyntaxError& failure() const { return *failure_; }

  // What is found on the way.
  std::vector<AtWord> stray_at_words;
  std::vector<HereDocument> here_documents;
  std::vector<UnparsedPart> unparsed_parts;

  struct Checkpoint {
    std::size_t position;
    std::size_t stray_at_words;
    std::size_t here_documents;
    std::size_t unparsed_parts;
    std::size_t line_jumps;
  };
  Checkpoint checkpoint() const;
  void rewind(const Checkpoint& checkpoint);

  /// One level of nesting, for as long as it lives. `ok` is false, and the scanner has failed, beyond the limit.
  class Nesting {
   public:
    explicit Nesting(ShellScanner& scanner);
    ~Nesting() { --scanner_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    bool ok() const { return ok_; }

   private:
    ShellScanner& scanner_;
    bool ok_;
  };

 private:
  struct GroupRules;
  bool skip_group(const GroupRules& rules, std::size_t opened_at);
  bool skip_quoted_part(int character, bool after_dollar);
  bool skip_dollar_construct(int bracket, std::size_t opened_at);
  void step();

  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t nesting_ = 0;
  SubstitutionReader* reader_ = nullptr;
  std::optional<SyntaxError> failure_;
  struct LineJump {
    std::size_t newline;
    std::size_t target;
  };
  std::vector<LineJump> line_jumps_;  // ascending; of two for one newline the later counts
};

}  // namespace sluice::flow
