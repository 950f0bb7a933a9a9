#include "flow/graph.h"

namespace sluice::flow {

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
