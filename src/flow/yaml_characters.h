#pragma once
// The characters of a YAML file, before its grammar.
// Threading: pure functions.
#include <optional>
#include <string>
#include <string_view>

#include "flow/file_mistake.h"

namespace sluice::flow {

/// What is not UTF-8, or no character that YAML may hold. Found here and not by a parser, it has a line and a column.
std::optional<FileMistake> find_foreign_character(std::string_view text);

/// The first byte of what stands there; a line end beyond the text.
char character_at(std::string_view text, TextPlace place);

/// JSON writes characters beyond U+FFFF as two escapes, "\ud83d\ude00" (RFC 8259 section 7), and YAML as one, though it
/// means to read JSON. Of a text that looks like JSON, the text with escapes of YAML.
std::string join_surrogates(std::string_view text);

}  // namespace sluice::flow
