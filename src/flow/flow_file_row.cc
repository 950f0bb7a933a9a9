#include "flow/flow_file_row.h"

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::flow {
namespace {

// What a row of stages has none of.
class Branches final {
 public:
  explicit Branches(const FlowFile& file) : file_(file), leaving_(file.stages.size()), arriving_(file.stages.size()) {}

  std::vector<FileMistake> find() {
    for (const FileLink& link : file_.links) look_at(link);
    if (found_.empty()) look_for_rows();
    return found_.take();
  }

 private:
  void add(TextPlace place, std::string_view what) {
    found_.add(place, fmt::format("{} does not run in the background in this version; leave --background out", what));
  }

  void look_at(const FileLink& link) {
    const std::string &from = file_.stages[link.from].name, &to = file_.stages[link.to].name;
    if (link.of_errors)
      add(link.place, fmt::format("the link '{} -> {}' from stderr", from, to));
    else if (++leaving_[link.from] == 2)
      add(link.place, fmt::format("the second link that leaves '{}'", from));
    if (++arriving_[link.to] == 2) add(link.place, fmt::format("the second link into '{}'", to));
    if (link.slow.kind != SlowPolicy::Kind::block)
      add(link.place, fmt::format("'slow' of the link '{} -> {}'", from, to));
  }

  // Without branches, every stage that no link leads to begins a row of its own.
  void look_for_rows() {
    std::size_t rows = 0;
    for (std::size_t i = 0; i < arriving_.size(); ++i)
      if (arriving_[i] == 0 && ++rows == 2)
        add(file_.stages[i].place,
            fmt::format("stage '{}', which begins a second row of stages,", file_.stages[i].name));
  }

  const FlowFile& file_;
  std::vector<std::size_t> leaving_, arriving_;
  FileMistakes found_;
};

}  // namespace

std::vector<FileMistake> beyond_a_row(const FlowFile& file) { return Branches(file).find(); }

}  // namespace sluice::flow
