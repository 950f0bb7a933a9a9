#pragma once
// The text of a configuration file: lines of `key = value`, and comments.
//
//     # what follows a # at the start of a line, or behind a blank, is a comment
//     listen = 10.0.0.5:7117
//     label  = rack=3            # of the value only the first = divides
//     label  = "owner=Ann Lee"   # quotes, ' or ", keep blanks and #; there are no escapes
//
// Which keys there are, and what values they take, is for the caller. A key may stand several times.
// Threading: a pure function.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct ConfigurationLine {
  std::size_t number = 0;  // from 1
  std::string key;         // of a-z, 0-9 and -
  std::string value;       // never empty
};

struct ConfigurationError {
  std::size_t line = 0;
  std::string message;
};

/// What is larger is no configuration that a person wrote.
inline constexpr std::size_t kConfigurationBytesMax = std::size_t{64} << 10;

/// Errors: the first line that is none of the above.
std::expected<std::vector<ConfigurationLine>, ConfigurationError> parse_configuration(std::string_view text);

}  // namespace sluice
