#include "flow/record_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// Linux's MAX_ARG_STRLEN, with the zero byte behind the argument.
constexpr std::size_t kArgumentMax = std::size_t{128} << 10;

// A walk over a command that the grammar has taken: only what decides whether braces are quoted is looked at.
class PlaceFinder final {
 public:
  explicit PlaceFinder(std::string_view text) : text_(text) {}

  std::expected<std::vector<std::size_t>, std::string> find() {
    nested_.push_back(Kind::plain);
    while (at_ < text_.size() && trouble_.empty()) step();
    if (!trouble_.empty()) return std::unexpected(std::move(trouble_));
    return std::move(places_);
  }

 private:
  enum class Kind { plain, parenthesis, double_quotes, parameter, arithmetic, backquotes };

  bool sees(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool quoting() const {
    for (Kind kind : nested_)
      if (kind != Kind::plain && kind != Kind::parenthesis) return true;
    return behind_here_document_ || unsure_;
  }

  const char* where() const {
    if (behind_here_document_) return "behind a here-document";
    if (unsure_)
      return "behind what only the shell itself can tell apart (a `case` or quotes within another construct)";
    for (auto kind = nested_.rbegin(); kind != nested_.rend(); ++kind) {
      if (*kind == Kind::double_quotes) return "within quotes";
      if (*kind == Kind::backquotes) return "within backquotes";
      if (*kind == Kind::parameter) return "within ${...}";
      if (*kind == Kind::arithmetic) return "within arithmetic";
    }
    return "within quotes";
  }

  void refuse(const char* place) {
    trouble_ = fmt::format(
        "'{{}}' stands {}, where the record would be text that something interprets; pass it as an argument: sh -c "
        "'... \"$1\"' sh {{}}",
        place);
  }

  void step() {
    if (sees("{}")) return on_braces();
    char c = text_[at_];
    Kind inside = nested_.back();
    if (c == '\\') return skip(2);
    if (c == '\n' && here_document_) behind_here_document_ = true;
    if (inside == Kind::double_quotes) {
      if (c == '"') return close();
    } else if (sees("$$")) {
      return skip(2);
    } else if (sees("$'") && inside != Kind::backquotes) {
      skip(1);
      return skip_single_quoted(true);
    } else if (c == '\'' && inside != Kind::backquotes) {
      // Within "${...}" it is an apostrophe to some shells, and a quote to others.
      if (inside == Kind::parameter || inside == Kind::arithmetic) unsure_ = true;
      return skip_single_quoted(false);
    } else if (c == '"') {
      return open(Kind::double_quotes, 1);
    } else if (c == '#' && (inside == Kind::plain || inside == Kind::parenthesis) && begins_word()) {
      return skip_comment();
    }
    // The parenthesis behind its pattern closes nothing.
    if (inside != Kind::plain && begins_word() && sees("case")) unsure_ = true;
    if (c == '`') return inside == Kind::backquotes ? close() : open(Kind::backquotes, 1);
    if (sees("$((")) return open(Kind::arithmetic, 3);
    if (sees("$(") || sees("<(") || sees(">(")) return open(Kind::parenthesis, 2);
    if (sees("${")) return open(Kind::parameter, 2);
    if (inside == Kind::double_quotes) return skip(1);
    if (sees("((") && inside != Kind::arithmetic) return open(Kind::arithmetic, 2);
    if (sees("<<<")) return skip(3);
    if (sees("<<") && inside != Kind::arithmetic) here_document_ = true;
    if (c == '(') return open(inside == Kind::arithmetic ? Kind::arithmetic : Kind::parenthesis, 1);
    if (c == ')' && inside == Kind::arithmetic && sees("))") && !within_inner_parenthesis()) return close(2);
    if (c == ')' && (inside == Kind::parenthesis || inside == Kind::arithmetic)) return close();
    if (c == '}' && inside == Kind::parameter) return close();
    skip(1);
  }

  // Parentheses within arithmetic are counted as arithmetic of their own.
  bool within_inner_parenthesis() const {
    return nested_.size() >= 2 && nested_[nested_.size() - 2] == Kind::arithmetic;
  }

  void on_braces() {
    if (quoting()) return refuse(where());
    places_.push_back(at_);
    skip(2);
  }

  void skip_single_quoted(bool has_escapes) {
    for (++at_; at_ < text_.size() && text_[at_] != '\''; ++at_) {
      if (sees("{}")) return refuse("within quotes");
      if (has_escapes && text_[at_] == '\\') {
        // A shell without $'...' takes the quote behind it for the end.
        if (text_.substr(at_ + 1).starts_with('\'')) unsure_ = true;
        ++at_;
      }
    }
    skip(1);
  }

  void skip_comment() {
    while (at_ < text_.size() && text_[at_] != '\n') ++at_;
  }

  bool begins_word() const { return at_ == 0 || std::string_view(" \t\n;&|()").find(text_[at_ - 1]) != text_.npos; }
  void skip(std::size_t count) { at_ += count; }
  void open(Kind kind, std::size_t size) {
    nested_.push_back(kind);
    at_ += size;
  }
  void close(std::size_t size = 1) {
    if (nested_.size() > 1) nested_.pop_back();
    at_ += size;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Kind> nested_;
  std::vector<std::size_t> places_;
  std::string trouble_;
  bool here_document_ = false;
  bool behind_here_document_ = false;
  bool unsure_ = false;  // where quotes begin and end
};

std::vector<std::string> split_at_marks(std::string_view text) {
  std::vector<std::string> pieces;
  while (true) {
    std::size_t mark = text.find(kRecordMark);
    pieces.emplace_back(text.substr(0, mark));
    if (mark == text.npos) return pieces;
    text.remove_prefix(mark + kRecordMark.size());
  }
}

}  // namespace

std::expected<std::optional<std::string>, std::string> mark_record_places(std::string_view command) {
  if (command.find(kRecordMark) != command.npos)
    return std::unexpected("the command holds the bytes that stand for a record inside sluice; leave them out");
  auto places = PlaceFinder(command).find();
  if (!places) return std::unexpected(std::move(places.error()));
  if (places->empty()) return std::optional<std::string>();
  std::string marked;
  std::size_t from = 0;
  for (std::size_t place : *places) {
    marked.append(command.substr(from, place - from)).append(kRecordMark);
    from = place + 2;
  }
  return marked.append(command.substr(from));
}

RecordCommand::RecordCommand(std::vector<std::string> arguments, std::optional<std::size_t> shell_text) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    arguments_.push_back({.pieces = split_at_marks(arguments[i]), .quoted = shell_text == i});
    takes_argument_ = takes_argument_ || arguments_.back().pieces.size() > 1;
  }
}

std::string RecordCommand::text_of(const std::vector<std::string>& arguments) const {
  for (std::size_t i = 0; i < std::min(arguments.size(), arguments_.size()); ++i)
    if (arguments_[i].quoted) return arguments[i];
  return quote_words(arguments);
}

std::expected<std::vector<std::string>, std::string> RecordCommand::arguments_for(std::string_view record) const {
  if (record.find('\0') != record.npos)
    return std::unexpected("it holds a zero byte, which no argument can; leave '{}' out and read it from stdin");
  std::vector<std::string> arguments;
  for (const Argument& argument : arguments_) {
    std::string& whole = arguments.emplace_back(argument.pieces.front());
    for (std::size_t i = 1; i < argument.pieces.size(); ++i) {
      whole += argument.quoted ? single_quoted(record) : record;
      whole += argument.pieces[i];
    }
    if (whole.size() >= kArgumentMax)
      return std::unexpected(fmt::format(
          "with its {} bytes it makes an argument longer than the {} that Linux takes; leave '{{}}' out and "
          "read it from stdin",
          record.size(), kArgumentMax));
  }
  return arguments;
}

}  // namespace sluice::flow
