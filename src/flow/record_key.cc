#include "flow/record_key.h"

#include <fmt/format.h>
#include <regex.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

namespace sluice::flow {
namespace {

constexpr std::size_t kColumnMax = 1'000'000;
constexpr int kJsonDepthMax = 500;

std::string_view column_between_tabs(std::string_view record, std::size_t column) {
  for (std::size_t i = 1;; ++i) {
    std::size_t tab = record.find('\t');
    if (i == column) return record.substr(0, tab);
    if (tab == record.npos) return {};
    record.remove_prefix(tab + 1);
  }
}

// RFC 4180: a field that begins with a quote ends with one, and holds commas, and quotes written twice.
std::string take_csv_field(std::string_view& record) {
  std::string field;
  if (record.starts_with('"')) {
    record.remove_prefix(1);
    while (!record.empty()) {
      std::size_t quote = std::min(record.find('"'), record.size());
      field += record.substr(0, quote);
      record.remove_prefix(std::min(quote + 1, record.size()));
      if (!record.starts_with('"')) break;
      field += '"';
      record.remove_prefix(1);
    }
  }
  std::size_t comma = std::min(record.find(','), record.size());
  field += record.substr(0, comma);
  record.remove_prefix(comma);
  return field;
}

std::string column_of_csv(std::string_view record, std::size_t column) {
  if (record.ends_with('\r')) record.remove_suffix(1);
  for (std::size_t i = 1;; ++i) {
    std::string field = take_csv_field(record);
    if (i == column) return field;
    if (record.empty()) return {};
    record.remove_prefix(1);
  }
}

struct Column {
  std::size_t number = 1;
};

std::string key_of(const Column& column, std::string_view record) {
  if (record.find('\t') != record.npos) return std::string(column_between_tabs(record, column.number));
  return column_of_csv(record, column.number);
}

std::string key_of(const nlohmann::json::json_pointer& pointer, std::string_view record) {
  // What lies deeper is left out: the library's values are written and freed by recursion.
  auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth < kJsonDepthMax; };
  nlohmann::json value = nlohmann::json::parse(record, shallow, false);
  if (value.is_discarded()) return {};
  try {
    const nlohmann::json& found = value.at(pointer);
    return found.is_string() ? found.get<std::string>()
                             : found.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } catch (const nlohmann::json::exception&) {  // the library's way to say that there is no such value
    return {};
  }
}

// A compiled one of POSIX (regcomp(3)), which takes records of any length: the standard library's overflows the stack.
struct Pattern {
  regex_t compiled{};
  bool usable = false;
  Pattern() = default;
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() {
    if (usable) ::regfree(&compiled);
  }
};

std::string key_of(const std::shared_ptr<Pattern>& pattern, std::string_view record) {
  regmatch_t match[2] = {{.rm_so = 0, .rm_eo = static_cast<regoff_t>(record.size())}, {.rm_so = -1, .rm_eo = -1}};
  if (::regexec(&pattern->compiled, record.data(), 2, match, REG_STARTEND) != 0) return {};
  const regmatch_t& found = match[1].rm_so >= 0 ? match[1] : match[0];
  return std::string(
      record.substr(static_cast<std::size_t>(found.rm_so), static_cast<std::size_t>(found.rm_eo - found.rm_so)));
}

}  // namespace

struct RecordKey::Field {
  std::variant<Column, nlohmann::json::json_pointer, std::shared_ptr<Pattern>> what;
};

std::expected<RecordKey, std::string> RecordKey::read(std::string_view field) {
  auto refuse = [&](std::string_view why) {
    return std::unexpected(fmt::format(
        "'@by={}': {}; write the number of a column (@by=2), a JSON pointer (@by=/user/id) or a regular expression "
        "(@by=~'id=([0-9]+)')",
        field, why));
  };
  auto make = [](auto what) { return RecordKey(std::make_shared<const Field>(Field{std::move(what)})); };
  try {
    if (field.starts_with('/')) return make(nlohmann::json::json_pointer(std::string(field)));
  } catch (const nlohmann::json::exception&) {
    return refuse("that is no JSON pointer (RFC 6901)");
  }
  if (field == "~") return refuse("the regular expression is empty");
  if (field.starts_with('~')) {
    for (std::string_view perl : {"\\d", "\\D"})  // regcomp takes them for the letters
      if (field.find(perl) != std::string_view::npos)
        return refuse(fmt::format("{} is none of POSIX's; a digit is [0-9]", perl));
    auto pattern = std::make_shared<Pattern>();
    int error = ::regcomp(&pattern->compiled, std::string(field.substr(1)).c_str(), REG_EXTENDED);
    pattern->usable = error == 0;
    if (pattern->usable) return make(std::move(pattern));
    char why[128];
    ::regerror(error, &pattern->compiled, why, sizeof why);
    return refuse(fmt::format("the regular expression is malformed ({})", why));
  }
  Column column;
  auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), column.number);
  bool whole = error == std::errc() && end == field.data() + field.size();
  if (!whole || column.number == 0 || column.number > kColumnMax) return refuse("that names no field");
  return make(column);
}

std::string RecordKey::of(std::string_view record) const {
  return std::visit([&](const auto& what) { return key_of(what, record); }, field_->what);
}

std::uint32_t RecordKey::worker_for(std::string_view record, std::uint32_t workers) const {
  std::string key = of(record);
  return static_cast<std::uint32_t>(XXH3_64bits(key.data(), key.size()) % workers);
}

}  // namespace sluice::flow
