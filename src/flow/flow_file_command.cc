#include "flow/flow_file_command.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/stage_words.h"

namespace sluice::flow {
namespace {

using Refusal = std::unexpected<CommandMistake>;

std::string_view trim(std::string_view text) {
  std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

// How a file says what `word` says in pipeline text.
std::string key_for(std::string_view word) {
  std::string_view body = word.substr(1), name = body.substr(0, body.find('='));
  std::string_view value = name.size() < body.size() ? body.substr(name.size() + 1) : std::string_view();
  if (name == "each" && value.empty()) return "each: true";
  if (name == "each" || name == "by" || name == "image" || name == "on") return fmt::format("{}: {}", name, value);
  if (name == "map" || name == "ordered" || name == "sandbox") return fmt::format("{}: true", name);
  if (name == "lines" || name == "null" || name == "json" || name == "len") return fmt::format("framing: {}", name);
  if (name == "all" || name == "here") return fmt::format("on: {}", name);
  if (is_reserved_word(name) && name.starts_with('x')) return fmt::format("workers: {}", name.substr(1));
  if (name.size() < body.size()) return fmt::format("on: {{ {}: {} }}", name, value);
  return fmt::format("on: {}", name);
}

CommandMistake at_word_mistake(const AtWord& word) {
  if (word.value == "@fn") return {word.range.begin, "'@fn' has no key in a flow file"};
  return {word.range.begin,
          fmt::format("'{}' is an @ word, which a flow file has as a key of the stage; write '{}' beside "
                      "the command (for a command of that name, '\\{}')",
                      word.value, key_for(word.value), word.value)};
}

CommandMistake inner_at_word(const AtWord& word) {
  return {word.range.begin,
          fmt::format("'{}' has no stage to stand for in the midst of one; make it a stage of its own (for a command "
                      "of that name, write '\\{}')",
                      word.value, word.value)};
}

// Its syntax is known to be right; what is more than one command goes to one shell as it stands.
Stage whole(std::string_view text, const ParsedText& parsed) {
  Stage stage{.command = std::string(trim(text)), .shell_text = std::string(text)};
  for (const ParsedCommand& command : parsed.commands) {
    stage.path_words.insert(stage.path_words.end(), command.path_words.begin(), command.path_words.end());
    stage.path_patterns.insert(stage.path_patterns.end(), command.path_patterns.begin(), command.path_patterns.end());
  }
  return stage;
}

}  // namespace

std::expected<Stage, CommandMistake> read_file_command(std::string_view text, ShellDialect dialect) {
  auto parsed = parse_shell_text(text, dialect);
  if (!parsed) return Refusal({parsed.error().offset, "syntax error in the command: " + parsed.error().message});
  if (!parsed->other && parsed->commands.empty()) return Refusal({0, "the command is empty: there is nothing to run"});
  if (!parsed->commands.empty() && !parsed->commands.front().at_words.empty())
    return Refusal(at_word_mistake(parsed->commands.front().at_words.front()));
  for (const ParsedCommand& command : parsed->commands)
    if (!command.at_words.empty()) return Refusal(inner_at_word(command.at_words.front()));
  if (!parsed->stray_at_words.empty()) return Refusal(inner_at_word(parsed->stray_at_words.front()));
  if (parsed->other || parsed->commands.size() > 1) return whole(text, *parsed);
  const ParsedCommand& command = parsed->commands.front();
  return Stage{.command = std::string(trim(text)),
               .plain_words = command.plain_words,
               .path_words = command.path_words,
               .path_patterns = command.path_patterns,
               .first_word_quoted = command.first_word_quoted,
               .shell_text = stage_text(text, command)};
}

}  // namespace sluice::flow
