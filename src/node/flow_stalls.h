#pragma once
// Finds out that a flow over several hosts stands still because its stages wait for each other: asks the hosts of its parts
// what each of these waits for, several times within the patience, and puts their answers together for flow/stall_watch.
//
// A link between two hosts is no party. Who waits for what it brings waits for whoever writes there, if nothing is on its way:
// its end there has taken no more than its end here has delivered. Who waits for room in it waits for whoever reads there.
// What a part does not say, or says of streams that it does not have, counts as one that can go on.
// Order for the shell: when it is due, and on each answer, ask poll_stall; then, when it is due, poll_question.
// Threading: pure; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/graph.h"
#include "flow/placement.h"
#include "flow/stall_watch.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

/// A stage that joins records could have to wait for itself: only then is there anything to watch.
bool can_stall(const flow::FlowGraph& graph);

class FlowStalls final {
 public:
  using OfPart = std::function<bool(std::size_t)>;

  /// `graph` outlives it. Parts that join later have seats alone, and nothing to say.
  FlowStalls(const flow::PartGraph& graph, Duration patience);

  TimePoint poll_deadline() const { return due_; }
  /// The question for each part that is asked: those with stages, or ends of links. Nothing while answers to the last are awaited,
  /// for a second at most: a line that broke may have taken it with it.
  std::optional<v1::HostCommand> poll_question(TimePoint now);
  bool is_asked(std::size_t part) const { return part < parts_.size() && !graph_.parts[part].seats_of; }
  void on_answer(std::size_t part, v1::Waits waits);
  /// Once every part that is asked and `runs` has answered the last question: what flow/stall_watch finds.
  std::optional<flow::StallFinding> poll_stall(const OfPart& runs, TimePoint now);

 private:
  struct Part {
    v1::Waits waits;
    std::optional<std::size_t> size;  // parties, from the first look on
  };
  // Where a link between parts begins or ends.
  struct End {
    std::size_t part = 0;
    std::size_t party = 0;
    std::uint64_t bytes = 0;
  };

  std::vector<flow::StallParty> parties() const;
  flow::StallParty party(std::size_t part, std::size_t index) const;
  bool add_other(std::size_t part, std::size_t index, const std::string& why, flow::StallParty& into) const;
  std::optional<End> far_end(std::size_t part, std::size_t index) const;
  std::optional<End> end_of(std::size_t link, bool of_writer) const;
  bool is_stream(std::size_t part, std::size_t index) const;
  std::optional<std::size_t> place(std::size_t part, std::size_t index) const;

  const flow::PartGraph& graph_;
  Duration interval_;
  flow::StallWatch watch_;
  TimePoint due_{};
  TimePoint asked_at_{};
  std::uint64_t asked_ = 0;
  bool looked_ = true;  // at the answers to the last question
  std::vector<Part> parts_;
};

}  // namespace sluice::node
