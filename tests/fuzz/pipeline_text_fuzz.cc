// Any bytes as a pipeline text: the parser answers, and what it says of the text holds.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "flow/shell_text.h"
#include "require.h"

namespace {

using sluice::flow::AtWord;
using sluice::flow::ParsedCommand;
using sluice::flow::ParsedText;
using sluice::flow::TextRange;
using sluice::fuzz::require;

/// Ranges that must follow each other.
class RangeOrder {
 public:
  RangeOrder(std::string_view text, const char* what) : text_(text), what_(what) {}

  void next(const TextRange& range) {
    require(range.begin >= end_, what_);
    require(range.end >= range.begin, what_);
    require(range.end <= text_.size(), what_);
    end_ = range.end;
  }

 private:
  std::string_view text_;
  const char* what_;
  std::size_t end_ = 0;
};

void check_command(std::string_view text, const ParsedCommand& command) {
  require(command.range.begin < command.range.end, "a command has text");
  RangeOrder own(text, "here-documents ascend");
  for (const TextRange& body : command.here_documents) own.next(body);
  RangeOrder foreign(text, "foreign here-documents ascend");
  for (const TextRange& body : command.foreign_here_documents) {
    foreign.next(body);
    require(body.begin >= command.range.begin && body.end <= command.range.end, "foreign here-documents lie inside");
  }
  require(!command.plain_words || !command.plain_words->empty(), "plain words are words");

  const auto again = sluice::flow::parse_shell_text(sluice::flow::stage_text(text, command));
  require(again.has_value(), "a stage can be read alone");
  require(again->commands.size() == 1, "a stage alone is one command");
  require(!again->other, "a stage alone is one pipeline");
}

void check(std::string_view text, const ParsedText& parsed) {
  require(!parsed.other || parsed.commands.empty(), "more than one pipeline has no commands");
  RangeOrder order(text, "commands ascend");
  for (const ParsedCommand& command : parsed.commands) {
    for (const AtWord& word : command.at_words) order.next(word.range);
    order.next(command.range);
    check_command(text, command);
  }
  RangeOrder stray(text, "stray @ words ascend");
  for (const AtWord& word : parsed.stray_at_words) stray.next(word.range);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = sluice::flow::parse_shell_text(text);
  if (parsed) {
    check(text, *parsed);
  } else {
    require(parsed.error().offset <= size, "an error lies in the text");
    require(!parsed.error().message.empty(), "an error says what is wrong");
  }
  return 0;
}
