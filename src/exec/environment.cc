#include "exec/environment.h"

#include <unistd.h>

#include <algorithm>

namespace sluice::exec {
namespace {

bool is_named(const std::string& entry, std::string_view name) {
  return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
}

}  // namespace

Environment Environment::of_this_process() {
  std::vector<std::string> entries;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) entries.emplace_back(*entry);
  return Environment(std::move(entries));
}

std::optional<std::string_view> Environment::get(std::string_view name) const {
  for (const std::string& entry : entries_)
    if (is_named(entry, name)) return std::string_view(entry).substr(name.size() + 1);
  return std::nullopt;
}

void Environment::set(std::string_view name, std::string_view value) {
  std::string entry = std::string(name) + "=" + std::string(value);
  auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& old) { return is_named(old, name); });
  if (found == entries_.end())
    entries_.push_back(std::move(entry));
  else
    *found = std::move(entry);
}

void Environment::erase(std::string_view name) {
  std::erase_if(entries_, [&](const std::string& entry) { return is_named(entry, name); });
}

}  // namespace sluice::exec
