#pragma once
// What the parts of a flow have told of what they moved, as its orchestrator asks them (Report, answered by Moved).
//
// A part that does not answer in time is not waited for again until it does, and is asked a few times at most.
// Threading: belongs to the control loop.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "net/async.h"
#include "node/condition.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

class PartReports final {
 public:
  using OfPart = std::function<bool(std::size_t)>;

  explicit PartReports(net::asio::any_io_executor executor);

  /// Asks those of the parts that `hear` it. The number of the question.
  std::uint64_t ask(std::size_t parts, const OfPart& hears,
                    const std::function<void(std::size_t, const v1::HostCommand&)>& send);
  /// Returns when every part that `runs` has answered this question or a later one, or after a second.
  net::Awaitable<void> wait(std::uint64_t number, OfPart runs);
  void on_answer(std::size_t part, v1::Moved moved);
  /// The flow has ended: nobody answers any more.
  void on_end();

  /// As it has told last.
  const v1::Moved& of(std::size_t part) const;
  /// It did not answer in time.
  bool is_silent(std::size_t part) const { return part < parts_.size() && parts_[part].silent; }

 private:
  struct Part {
    v1::Moved moved;
    std::uint64_t unanswered = 0;  // questions since its last answer
    bool silent = false;
  };
  bool is_awaited(std::uint64_t number, const OfPart& runs) const;

  Condition answered_;
  std::vector<Part> parts_;
  std::uint64_t last_ = 0;
};

}  // namespace sluice::node
