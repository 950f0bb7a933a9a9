#pragma once
// What is wrong in a file that a person has written, each with its place, so that all of it is told at once.
// Threading: none of its own.
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::flow {

/// Both from 1; a column is a character, as editors count.
struct TextPlace {
  std::size_t line = 1;
  std::size_t column = 1;
  auto operator<=>(const TextPlace&) const = default;
};

struct FileMistake {
  TextPlace place;
  std::string message;  // with what to try: "unknown key 'rnu'; did you mean 'run'?"
  auto operator<=>(const FileMistake&) const = default;
};

class FileMistakes final {
 public:
  void add(TextPlace place, std::string message);
  bool empty() const { return found_.empty(); }
  std::size_t size() const { return found_.size(); }
  /// There are as many as anybody would read; looking for more is in vain.
  bool full() const { return found_.size() >= kMost; }
  /// In the order of their places. An alias is read wherever it stands; what is wrong in it is told once.
  std::vector<FileMistake> take();

 private:
  static constexpr std::size_t kMost = 100;
  std::vector<FileMistake> found_;
};

/// "FILE:LINE:COLUMN: MESSAGE" and a line end for each, as compilers do and editors understand.
std::string describe_mistakes(std::string_view file, const std::vector<FileMistake>& mistakes);

}  // namespace sluice::flow
