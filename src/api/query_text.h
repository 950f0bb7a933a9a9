#pragma once
// The part of an address behind its question mark: NAME=VALUE pairs, as forms and curl's --data-urlencode write them.
// Threading: pure functions.
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::api {

struct QueryParameter {
  std::string name;
  std::string value;  // empty without an equals sign
};

/// In their order; a plus sign is a blank. Errors: a percent sign that begins no byte; a sentence.
std::expected<std::vector<QueryParameter>, std::string> parse_query(std::string_view query);

}  // namespace sluice::api
