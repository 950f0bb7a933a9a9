#include "flow/graph.h"

#include <fmt/format.h>

namespace sluice::flow {

std::string title_of_stage(std::string_view name, std::size_t index) {
  return name.empty() ? fmt::format("stage {}", index + 1) : fmt::format("stage '{}'", name);
}

std::string slow_text(const SlowPolicy& slow) {
  switch (slow.kind) {
    case SlowPolicy::Kind::block:
      return {};
    case SlowPolicy::Kind::drop:
      return "drop";
    case SlowPolicy::Kind::spill:
      return "spill " + format_bytes(slow.spill_max);
  }
  return {};
}

}  // namespace sluice::flow
