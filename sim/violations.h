#pragma once
// What was found wrong in a run, in sentences: the first ones, because one mistake is seen again after every step.
// Threading: a value.
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace sluice::sim {

class Violations final {
 public:
  void add(std::string what) {
    if (found_.size() < kKept) found_.push_back(std::move(what));
  }
  const std::vector<std::string>& list() const { return found_; }

 private:
  static constexpr std::size_t kKept = 20;
  std::vector<std::string> found_;
};

}  // namespace sluice::sim
