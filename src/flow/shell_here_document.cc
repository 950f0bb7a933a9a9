// The part of the lexer that reads the bodies of here-documents: POSIX.1-2017 XCU 2.7.4, with what bash adds to it.
#include <algorithm>
#include <utility>

#include "flow/shell_lexer.h"
#include "flow/shell_word.h"

namespace sluice::flow {
namespace {

// As many as bash allows.
constexpr std::size_t kHereDocumentsDueMax = 16;

/// One line of a body, as it is compared with the delimiter: in an unquoted document a backslash joins lines first.
struct BodyLine {
  std::string text;
  std::vector<std::size_t> ends;  // for every byte of `text`, the offset behind it
  bool terminated = false;        // by a newline, not by the end of the text
};

BodyLine read_body_line(ShellScanner& scanner, bool joins_lines) {
  BodyLine line;
  bool escaped = false;
  for (;;) {
    const int character = joins_lines && !escaped ? scanner.take() : scanner.take_raw();
    if (character == ShellScanner::kEnd) return line;
    if (character == '\n') {
      line.terminated = true;
      return line;
    }
    escaped = character == '\\' && !escaped;
    line.text += static_cast<char>(character);
    line.ends.push_back(scanner.position());
  }
}

}  // namespace

void ShellLexer::expect_here_document(std::size_t command, const Token& delimiter, bool strips_tabs) {
  if (context_.here_documents_due.size() == kHereDocumentsDueMax) {
    scanner_.fail(delimiter.range.begin, "more than 16 here-documents wait for one line");
    return;
  }
  context_.here_documents_due.push_back({command, remove_shell_quotes(delimiter.raw), delimiter.quoted, strips_tabs});
}

void ShellLexer::read_here_documents() {
  const auto due = std::exchange(context_.here_documents_due, {});
  // bash would take the body from behind the whole construct there, and run the lines of the body as commands.
  if (!due.empty() && scanner_.position() < reread_until_) {
    scanner_.fail(scanner_.position(), "a here-document may not stand in `((` that is not arithmetic: write `( (`");
  }
  for (const HereDocumentDue& document : due) read_here_document(document);
}

void ShellLexer::read_here_document(const HereDocumentDue& due) {
  const std::size_t begin = scanner_.position();
  std::size_t content_end = begin;
  for (bool done = false; !done && scanner_.peek_raw() != ShellScanner::kEnd;) {
    content_end = scanner_.position();
    const BodyLine line = read_body_line(scanner_, !due.quoted);
    const std::size_t tabs = due.strips_tabs ? std::min(line.text.find_first_not_of('\t'), line.text.size()) : 0;
    const std::string_view compared = std::string_view(line.text).substr(tabs);
    if (compared == due.delimiter) {
      done = true;
    } else if (context_.in_substitution && compared.starts_with(due.delimiter) &&
               compared.find(')', due.delimiter.size()) != std::string_view::npos) {
      // bash takes `EOF)` for the end of the document and of the substitution around it, and warns.
      if (context_.substitution_ended) {
        scanner_.fail(content_end, "the substitution of this here-document was closed before");
        return;
      }
      const std::size_t matched = tabs + due.delimiter.size();
      scanner_.skip_to(matched == 0 ? content_end : line.ends[matched - 1]);
      done = true;
    } else if (scanner_.peek_raw() == ShellScanner::kEnd) {
      content_end = scanner_.position();
    }
  }
  scanner_.here_documents.push_back({due.command, {begin, scanner_.position()}});
  if (!due.quoted) scanner_.unparsed_parts.push_back({UnparsedPart::Kind::here_document, {begin, content_end}});
}

void ShellLexer::finish_here_documents() {
  if (context_.here_documents_due.empty() || scanner_.failed()) return;
  // The rest of this line still belongs to what stands around the substitution: the bodies are on the lines after it.
  context_.substitution_ended = true;
  const std::size_t resume = scanner_.position();
  const std::size_t newline = scanner_.text().find('\n', resume);
  scanner_.skip_to(newline == std::string_view::npos ? scanner_.text().size() : scanner_.line_after(newline));
  read_here_documents();
  if (newline != std::string_view::npos) scanner_.set_line_jump(newline, scanner_.position());
  scanner_.skip_to(resume);
}

}  // namespace sluice::flow
