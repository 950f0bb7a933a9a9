#pragma once
// What the client of a flow hears of it: the plan, commands for the parts that it runs itself, what becomes of the
// stages, what they write to their stderr, and the end.
//
// A flow in the background has no client: what would be a note for its user is written to the log of this node, and the last
// are kept for whoever asks. A client that was lost hears nothing more. Whoever tells need not ask.
// Threading: belongs to the control loop.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "base/id.h"
#include "base/log.h"
#include "link/line_marker.h"
#include "net/async.h"
#include "node/flow_layout.h"
#include "node/flow_surroundings.h"

namespace sluice::v1 {
class ErrorOutput;
class Exited;
class FlowEnded;
class HostCommand;
class LinkCounts;
class Moved;
}  // namespace sluice::v1

namespace sluice::node {

class FlowNews final {
 public:
  static constexpr std::size_t kNotesKept = 16;

  /// `client`: null for a flow in the background. It, `layout` and `log` outlive this.
  FlowNews(FlowClient* client, const FlowLayout& layout, const FlowId& flow, Logger& log)
      : client_(client), layout_(layout), flow_(flow), log_(log) {}

  bool has_client() const { return client_ != nullptr; }
  void on_client_lost() { lost_ = true; }
  bool has_lost_client() const { return lost_; }
  /// See FlowClient.
  bool crowded() const { return has_client() && client_->crowded(); }
  net::Awaitable<void> room();

  /// For the user.
  void note(const std::string& text);
  /// Of a flow in the background: the last `kNotesKept`, the oldest first.
  const std::deque<std::string>& last_notes() const { return last_notes_; }
  /// Once, however often it is asked.
  void tell_plan(const FlowId& id);
  /// Requires: the part is the client's.
  void tell_command(std::size_t part, const v1::HostCommand& command);
  void tell_started(std::size_t part, std::size_t stage, int pid);
  void tell_exited(std::size_t part, int pid, const v1::Exited& exited);
  /// What one worker of the stage has written.
  void tell_output(std::size_t stage, std::uint64_t bytes);
  void tell_link_counts(v1::LinkCounts counts);
  /// Nothing, while much else waits to be sent.
  void tell_moved(std::size_t part, v1::Moved moved);
  /// Several nodes share the client's stderr in @all: a line of one of them is not divided by the others.
  void tell_errors(std::size_t part, const v1::ErrorOutput& errors);
  /// Nothing more comes from there: the last line, if it was kept for its end.
  void tell_last_line(std::size_t part);
  void tell_end(const v1::FlowEnded& ended);

 private:
  void tell(v1::RunOutput output);
  void tell_errors_of(std::uint32_t stage, const std::string& bytes);

  FlowClient* client_;
  const FlowLayout& layout_;
  FlowId flow_;
  Logger& log_;
  bool lost_ = false;
  bool plan_told_ = false;
  std::deque<std::string> last_notes_;
  std::map<std::size_t, link::LineMarker> error_lines_;  // of the parts of @all
};

}  // namespace sluice::node
