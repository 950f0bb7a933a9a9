#pragma once
// Words as a person would type them for a shell.
#include <span>
#include <string>
#include <string_view>

namespace sluice::flow {

/// The word itself if a shell would leave it alone, else in single quotes.
std::string quote_word(std::string_view word);
/// In single quotes, whatever it holds.
std::string single_quoted(std::string_view word);
std::string quote_words(std::span<const std::string> words);

/// At most `columns` characters on one line: line ends and tabs become spaces, other control characters question marks, and
/// what is cut is marked with "…". A wide character counts as one.
std::string on_one_line(std::string_view text, std::size_t columns);

}  // namespace sluice::flow
