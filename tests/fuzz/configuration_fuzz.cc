// Any bytes as a configuration file: an error that names its line, or settings that can be written and read again as the
// same. Each value is also read as what a setting can be: a duration, a size, an address, the URL of a node.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/configuration.h"
#include "base/quantity.h"
#include "base/time.h"
#include "net/address.h"
#include "require.h"

namespace {

using namespace sluice;
using fuzz::require;

std::size_t lines_of(std::string_view text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1; }

// A value with quotes of both kinds was written without any.
std::string as_written(const std::string& value) {
  if (value.find('"') == value.npos) return '"' + value + '"';
  if (value.find('\'') == value.npos) return '\'' + value + '\'';
  return value;
}

std::string as_written(const std::vector<ConfigurationLine>& lines) {
  std::string text;
  for (const ConfigurationLine& line : lines) text += line.key + " = " + as_written(line.value) + '\n';
  return text;
}

template <class Result>
void check_answer(const Result& read) {
  require(read || !read.error().empty(), "an error says what is wrong");
}

void check_value(const std::string& value) {
  require(!value.empty(), "a setting has a value");
  const auto duration = parse_duration(value);
  check_answer(duration);
  require(!duration || *duration >= Duration::zero(), "no time runs backwards");
  check_answer(parse_byte_count(value));
  const auto at = net::parse_host_port(value);
  check_answer(at);
  require(!at || net::parse_host_port(net::to_text(*at)) == at, "an address comes back as it was written");
  const auto url = net::parse_node_url(value);
  check_answer(url);
  if (!url) return;
  const auto again = net::parse_node_url(net::to_url(url->at, url->node));
  require(again && again->at == url->at && again->node == url->node, "and so does a URL");
}

void check(std::string_view text, const std::vector<ConfigurationLine>& lines) {
  std::size_t last = 0;
  for (const ConfigurationLine& line : lines) {
    require(line.number > last && line.number <= lines_of(text), "lines ascend, and lie in the text");
    require(!line.key.empty() && line.key.find('=') == line.key.npos, "a setting has a key");
    check_value(line.value);
    last = line.number;
  }
  const auto again = parse_configuration(as_written(lines));
  require(again.has_value(), "what is written can be read");
  const auto same = [](const ConfigurationLine& one, const ConfigurationLine& other) {
    return one.key == other.key && one.value == other.value;
  };
  require(std::ranges::equal(*again, lines, same), "and is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = parse_configuration(text);
  if (lines) {
    check(text, *lines);
  } else {
    require(!lines.error().message.empty(), "an error says what is wrong");
    require(lines.error().line >= 1 && lines.error().line <= lines_of(text), "an error names a line of the text");
  }
  return 0;
}
