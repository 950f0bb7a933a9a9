#pragma once
// Passes on the stderr of every stage line by line, each with the mark of its stage (`--mark-stderr`).
// A slow stderr of ours holds the stages back, as without marks: the loop does not pump while the queue has no room.
// Threading: belongs to the loop that owns it.
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "link/line_marker.h"
#include "node/stderr_queue.h"

namespace sluice::node {

class StderrMarks final {
 public:
  struct Source {
    UniqueFd input;  // the read end of a pipe; closed when it has ended
    link::LineMarker marker;
  };

  void add(UniqueFd input, std::string mark);
  std::vector<Source>& sources() { return sources_; }

  /// Passes on what has arrived at `source`, which poll(2) says is readable.
  static void pump(Source& source, StderrQueue& queue);
  /// Passes on what is left without waiting: strays may keep a pipe open.
  void drain(StderrQueue& queue);

 private:
  std::vector<Source> sources_;
};

}  // namespace sluice::node
