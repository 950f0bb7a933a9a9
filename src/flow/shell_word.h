#pragma once
// Questions about the raw text of one word: what it is once its quotes are removed, and whether it assigns.
// Threading: pure functions.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::flow {

/// The word without its quotes; nothing is expanded. Quoted line continuations are gone.
std::string remove_shell_quotes(std::string_view raw);

/// The word without its quotes, if no shell would expand or match anything in it. In doubt there is no value: then a
/// shell runs the command, which is only slower.
std::optional<std::string> literal_shell_word(std::string_view raw);

bool is_shell_name(std::string_view text);

/// Whether `text` is NAME or NAME[SUBSCRIPT].
bool is_shell_variable(std::string_view text);

struct Brackets {
  char open;
  char close;
};

/// Behind the bracket that closes the first one at or behind `begin`, quoted ones passed over; `begin` if none does.
std::size_t end_of_brackets(std::string_view text, std::size_t begin, Brackets brackets);

/// Whether `text` is NAME, NAME+, NAME[...] or NAME[...]+, so that a `=` behind it assigns. `subscript_end` is where
/// the subscript that the lexer read ends in `text`, or 0 where it read none; then a plain look at the brackets
/// decides.
bool is_assignment_target(std::string_view text, std::size_t subscript_end);

/// Whether the whole word is an assignment.
bool is_assignment(std::string_view raw, std::size_t subscript_end);

}  // namespace sluice::flow
