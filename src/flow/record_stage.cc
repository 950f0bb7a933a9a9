#include "flow/record_stage.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "flow/quoting.h"
#include "flow/record_command.h"

namespace sluice::flow {
namespace {

using Refusal = std::unexpected<std::string>;

std::expected<void, std::string> one_record(const Stage& stage) {
  if (*stage.words.each == 1) return {};
  return Refusal(
      fmt::format("@each={}: a process of several records reads them from stdin, and '{{}}' stands for one; leave the "
                  "number out",
                  *stage.words.each));
}

std::expected<void, std::string> mark_words(Stage& stage) {
  bool found = false;
  for (std::string& word : *stage.plain_words)
    for (std::size_t at = 0; (at = word.find("{}", at)) != std::string::npos; at += kRecordMark.size(), found = true)
      word.replace(at, 2, kRecordMark);
  if (found) stage.shell_text = quote_words(*stage.plain_words);
  return found ? one_record(stage) : std::expected<void, std::string>();
}

}  // namespace

// The words are read anew: a mark is part of a word, braces may be more to a shell.
std::expected<void, std::string> mark_record(Stage& stage, ShellDialect dialect) {
  if (!stage.words.each) return {};
  if (stage.without_shell) return mark_words(stage);
  auto marked = mark_record_places(stage.shell_text);
  if (!marked) return Refusal(fmt::format("{}: {}", quote_words(stage.words.written), marked.error()));
  if (!marked->has_value()) return {};
  if (auto judged = one_record(stage); !judged) return judged;
  stage.shell_text = **std::move(marked);
  auto parsed = parse_shell_text(stage.shell_text, dialect);
  bool one_command = parsed && parsed->commands.size() == 1;
  stage.plain_words = one_command ? parsed->commands.front().plain_words : std::nullopt;
  // Which program that is would be known with the record only.
  if (stage.plain_words && stage.plain_words->front().find(kRecordMark) != std::string::npos)
    stage.plain_words = std::nullopt;
  return {};
}

}  // namespace sluice::flow
