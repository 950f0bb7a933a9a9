#include "flow/pipeline_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/quoting.h"
#include "flow/record_stage.h"

namespace sluice::flow {
namespace {

using Refusal = std::unexpected<std::string>;

// How much of a text an error message shows before the place that it points to.
constexpr std::size_t kExcerptLength = 40;

std::string excerpt(std::string_view text, std::size_t offset) {
  std::size_t line_begin = text.substr(0, offset).rfind('\n') + 1;  // npos + 1 is 0
  std::size_t begin = std::max(line_begin, offset > kExcerptLength ? offset - kExcerptLength : 0);
  std::string_view rest = text.substr(begin, text.find('\n', offset) - begin);
  return std::string(rest.substr(0, offset - begin + kExcerptLength));
}

// Many have the option switched on in their own shell, which a fresh one does not know.
bool looks_like_extended_pattern(std::string_view text, std::size_t offset) {
  return offset > 0 && offset < text.size() && text[offset] == '(' &&
         std::string_view("?*+@!").find(text[offset - 1]) != std::string_view::npos;
}

std::string syntax_message(std::string_view text, const SyntaxError& error) {
  auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(error.offset), '\n');
  std::size_t column = error.offset - (text.substr(0, error.offset).rfind('\n') + 1) + 1;
  const char* hint = looks_like_extended_pattern(text, error.offset)
                         ? "; for an extended pattern, write 'shopt -s extglob' on a line of its own before it"
                         : "";
  return fmt::format("syntax error in the pipeline, line {}, column {}: {}: {}{}", line, column, error.message,
                     excerpt(text, error.offset), hint);
}

std::string_view trim(std::string_view text) {
  std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

std::string_view describe(OtherThanOnePipeline other) {
  switch (other) {
    case OtherThanOnePipeline::semicolon:
      return "a ';'";
    case OtherThanOnePipeline::background:
      return "a '&'";
    case OtherThanOnePipeline::and_if:
      return "an '&&'";
    case OtherThanOnePipeline::or_if:
      return "an '||'";
    case OtherThanOnePipeline::newline:
      return "a second line";
    case OtherThanOnePipeline::negation:
      return "a '!'";
    case OtherThanOnePipeline::time:
      return "a 'time'";
    case OtherThanOnePipeline::coprocess:
      return "a 'coproc'";
    case OtherThanOnePipeline::function:
      return "a function";
  }
  return "more";
}

// The text as one stage with the @ words in front: what the user most likely meant.
std::string grouped(std::string_view text, const std::vector<AtWord>& words) {
  std::string front, rest(text);
  for (auto word = words.rbegin(); word != words.rend(); ++word) {
    std::size_t end = std::min(rest.find_first_not_of(" \t", word->range.end), rest.size());
    rest.erase(word->range.begin, end - word->range.begin);
  }
  for (const AtWord& word : words) front += word.value + " ";
  std::string_view body = trim(rest);
  bool one_line = body.find('\n') == std::string_view::npos && body.find('#') == std::string_view::npos;
  bool terminated = body.ends_with(';') || body.ends_with('&');
  return fmt::format("{}{{ {}{}}}", front, body, !one_line ? "\n" : terminated ? " " : "; ");
}

std::string stray_message(std::string_view text, const ParsedText& parsed) {
  const AtWord& word = parsed.stray_at_words.front();
  if (!parsed.other)
    return fmt::format(
        "'{}' is an @ word, which stands only at the start of a stage, not inside one, and before assignments and "
        "redirections: put it first; for a command of that name write '\\{}'",
        word.value, word.value);
  return fmt::format(
      "the text is more than one pipeline (it has {}), so it runs whole in one shell, and '{}' has no stage to stand "
      "for; group it to make it a stage: {}",
      describe(*parsed.other), word.value, grouped(text, parsed.stray_at_words));
}

FlowGraph one_shell(std::string_view text) {
  FlowGraph graph;
  graph.stages.push_back(Stage{.command = std::string(trim(text)), .shell_text = std::string(text)});
  return graph;
}

std::expected<Stage, std::string> read_stage(std::string_view text, const ParsedCommand& command,
                                             const KnownNodes& nodes, ShellDialect dialect) {
  std::vector<std::string> words;
  for (const AtWord& word : command.at_words) words.push_back(word.value);
  auto read = read_stage_words(words, nodes);
  if (!read) return Refusal(read.error());
  Stage stage{.command = std::string(text.substr(command.range.begin, command.range.end - command.range.begin)),
              .words = std::move(*read),
              .plain_words = command.plain_words,
              .path_words = command.path_words,
              .path_patterns = command.path_patterns,
              .first_word_quoted = command.first_word_quoted || command.first_word_is_time,
              .shell_text = stage_text(text, command),
              .error_joins_output = command.stderr_joins_pipe};
  if (auto marked = mark_record(stage, dialect); !marked) return Refusal(marked.error());
  return stage;
}

}  // namespace

std::expected<FlowGraph, std::string> read_pipeline_text(std::string_view text, const KnownNodes& nodes,
                                                         ShellDialect dialect) {
  auto parsed = parse_shell_text(text, dialect);
  if (!parsed) return Refusal(syntax_message(text, parsed.error()));
  if (!parsed->stray_at_words.empty()) return Refusal(stray_message(text, *parsed));
  if (parsed->other) return one_shell(text);
  if (parsed->commands.empty()) return Refusal("the pipeline text is empty: there is nothing to run");
  FlowGraph graph;
  for (const ParsedCommand& command : parsed->commands) {
    auto stage = read_stage(text, command, nodes, dialect);
    if (!stage) return Refusal(stage.error());
    if (!graph.stages.empty()) graph.links.push_back({graph.stages.size() - 1, graph.stages.size()});
    graph.stages.push_back(std::move(*stage));
  }
  return graph;
}

FlowGraph single_command(std::vector<std::string> words) {
  FlowGraph graph;
  Stage& stage = graph.stages.emplace_back();
  stage.command = quote_words(words);
  stage.shell_text = stage.command;
  for (const std::string& word : words)
    if (word.starts_with("./") || word.starts_with("../")) stage.path_words.push_back({.path = word});
  stage.plain_words = std::move(words);
  stage.without_shell = true;
  return graph;
}

}  // namespace sluice::flow
