#include "flow/file_mistake.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/text.h"

namespace sluice::flow {

void FileMistakes::add(TextPlace place, std::string message) {
  if (!full()) found_.push_back({place, std::move(message)});
}

std::vector<FileMistake> FileMistakes::take() {
  bool were_full = full();
  std::ranges::sort(found_);
  auto repeated = std::ranges::unique(found_);
  found_.erase(repeated.begin(), repeated.end());
  if (were_full) found_.push_back({found_.back().place, "there may be more mistakes, which are not shown"});
  return std::move(found_);
}

std::string describe_mistakes(std::string_view file, const std::vector<FileMistake>& mistakes) {
  std::string text;
  for (const FileMistake& mistake : mistakes) {
    std::string line =
        fmt::format("{}:{}:{}: {}", file, mistake.place.line, mistake.place.column, without_controls(mistake.message));
    std::ranges::replace(line, '\n', ' ');
    text += line + "\n";
  }
  return text;
}

}  // namespace sluice::flow
