#pragma once
// The records of this example: fields NAME=VALUE with tabs between them, as `id=1<TAB>name=Ada Lovelace`.
#include <string>
#include <string_view>

/// The value of a field; empty if there is none.
inline std::string_view field(std::string_view record, std::string_view name) {
  while (!record.empty()) {
    std::string_view one = record.substr(0, record.find('\t'));
    if (one.size() > name.size() && one[name.size()] == '=' && one.substr(0, name.size()) == name)
      return one.substr(name.size() + 1);
    record.remove_prefix(one.size() + (one.size() < record.size() ? 1 : 0));
  }
  return {};
}

inline void append_field(std::string& record, std::string_view name, std::string_view value) {
  if (!record.empty()) record += '\t';
  record.append(name).append("=").append(value);
}
