#pragma once
// A part of a flow that this node runs for an orchestrator on another, and the line to that.
//
// A part that outlives its orchestrator (Keep.outlives_orchestrator) notes what becomes of it. When its line breaks after it
// has started, it is alone: it goes on until it ends by itself. Whoever has it must end it when a link of it breaks, as its
// orchestrator would. The next line of the same orchestrator is told first what was noted.
//
//   served --the line breaks--> alone --attach--> served         alone --give_up--> given up: the next line is told why
// Threading: belongs to the control loop.
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "node/condition.h"
#include "node/mailbox.h"
#include "node/part_host.h"
#include "sluice/v1/host.pb.h"

namespace sluice::v1 {
class Flow;
}

namespace sluice::node {

class ServedPart final {
 public:
  /// Which part of which flow.
  using Key = std::pair<std::string, std::uint32_t>;
  struct Orchestrator {
    NodeId id;
    std::string name;
  };
  /// The events to one orchestrator, in order.
  using Line = Mailbox<v1::HostEvent>;

  ServedPart(net::asio::any_io_executor executor, PartSurroundings& surroundings,
             std::optional<Orchestrator> orchestrator);
  ~ServedPart();

  void on_command(const v1::HostCommand& command);

  /// From now on events go there, what was noted first. A line that there was gets no more, and is closed.
  void attach(std::shared_ptr<Line> line);
  bool has_line(const std::shared_ptr<Line>& line) const { return line_ == line; }
  /// The line is broken; events are noted only.
  void detach() { line_.reset(); }
  bool is_alone() const { return !line_; }
  /// Without an orchestrator it is to go on.
  bool may_be_alone() const;
  bool outlives_orchestrator() const { return prepare_.keep().outlives_orchestrator(); }
  /// What still runs is killed.
  void give_up(std::string why);
  /// Why it was given up; empty: it was not.
  const std::string& given_up() const { return given_up_; }
  bool has_started() const { return started_; }
  /// A link of it broke, or it failed.
  bool is_broken() const { return broken_; }
  void mark_over(TimePoint now);
  std::optional<TimePoint> over_at() const { return over_at_; }
  bool over() const { return over_at_.has_value(); }
  /// Notified of each event, and when it has a line again.
  Condition& changed() { return changed_; }
  /// The programs are told to end.
  void tell_to_end();

  Key key() const { return {prepare_.flow_id(), prepare_.part()}; }
  const std::optional<Orchestrator>& orchestrator() const { return orchestrator_; }
  PartHost& host() { return *host_; }
  /// The flow as far as this part knows it.
  void describe(const NodeId& self, const std::string& self_name, v1::Flow& flow) const;

 private:
  void on_event(v1::HostEvent event);
  bool breaks_link(const v1::HostEvent& event) const;

  std::optional<Orchestrator> orchestrator_;
  Condition changed_;
  std::shared_ptr<Line> line_;
  v1::Prepare prepare_;                 // without environment and files
  std::set<std::string> stream_links_;  // those that it can't do without
  std::vector<v1::HostEvent> noted_;
  bool started_ = false, broken_ = false;
  std::optional<TimePoint> over_at_;
  std::string given_up_;
  std::unique_ptr<PartHost> host_;  // last: it emits until it is destroyed
};

}  // namespace sluice::node
