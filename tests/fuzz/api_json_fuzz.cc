// Any text as a message of the API, and any bytes as one that is to be written: what was read once is read again as the
// same. The first byte says which of the two (`t`, `b`), the rest of the first line of what type.
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "api/json_mapping.h"
#include "require.h"

namespace {

using namespace sluice::api;
using sluice::fuzz::require;

constexpr std::size_t kMessageMax = 64 << 10;

/// By its name within sluice.v1; a name that there is not stands for some other type.
const std::string& find_type(std::string_view name) {
  const auto& messages = api_schema().messages();
  auto found = messages.find("sluice.v1." + std::string(name));
  if (found != messages.end()) return found->first;
  std::size_t number = 0;
  for (char c : name) number = number * 31 + static_cast<unsigned char>(c);
  return std::next(messages.begin(), static_cast<std::ptrdiff_t>(number % messages.size()))->first;
}

void check_text(const std::string& type, std::string_view text) {
  auto bytes = message_from_json(api_schema(), type, text, kMessageMax);
  if (!bytes) {
    require(!bytes.error().empty(), "an error says what is wrong");
    return;
  }
  require(bytes->size() <= kMessageMax, "the size is limited");
  auto json = message_to_json(api_schema(), type, *bytes);
  require(json.has_value(), "what was read can be written");
  auto again = message_from_json(api_schema(), type, *json, kMessageMax);
  require(again.has_value(), "what was written can be read");
  require(message_to_json(api_schema(), type, *again) == json, "and is the same");
}

void check_bytes(const std::string& type, std::string_view bytes) {
  auto json = message_to_json(api_schema(), type, bytes, {.print_defaults = true});
  if (!json) return;
  auto read = message_from_json(api_schema(), type, *json, std::size_t{1} << 20);
  require(read.has_value(), "what was written can be read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t name_end = input.find('\n');
  if (name_end == input.npos || name_end == 0) return 0;
  const std::string& type = find_type(input.substr(1, name_end - 1));
  const std::string_view rest = input.substr(name_end + 1);
  input.front() == 't' ? check_text(type, rest) : check_bytes(type, rest);
  return 0;
}
