#pragma once
// The environment that programs are given: NAME=VALUE entries in the order in which they were found.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::exec {

class Environment final {
 public:
  Environment() = default;
  explicit Environment(std::vector<std::string> entries) : entries_(std::move(entries)) {}

  /// This process's own, entries without a `=` included: they are passed on as they are.
  static Environment of_this_process();

  std::optional<std::string_view> get(std::string_view name) const;
  bool has(std::string_view name) const { return get(name).has_value(); }
  void set(std::string_view name, std::string_view value);
  void erase(std::string_view name);

  const std::vector<std::string>& entries() const { return entries_; }

 private:
  std::vector<std::string> entries_;
};

}  // namespace sluice::exec
