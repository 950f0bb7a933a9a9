#pragma once
// Runs one part of a flow on this host, as its orchestrator says: on a node for others, on the client for itself.
//
//   Prepare: looks programs up, waits for links that others dial    -> Prepared, or Failed
//   Connect: dials the other links; all of them are up              -> Connected, or Failed
//   Start:   makes the pipes, starts the programs and the pumps     -> Started, or Failed
//   then     Exited for each stage, LinkEnded for each link, Childless, ErrorOutput; in the end: Over
//
// It keeps the order of these; its links (part_links.h) and its programs (part_programs.h) do the work. Whatever cuts a link
// that a stage reads, the stage is killed before its stdin closes: the spawner keeps the write end of that pipe open
// (guarded_input) until the link has been delivered to its end.
// Threading: belongs to the control loop; the pumps run on the data loops.
#include <functional>
#include <memory>

#include "net/async.h"
#include "node/part_surroundings.h"

namespace sluice::v1 {
class HostCommand;
class HostEvent;
}  // namespace sluice::v1

namespace sluice::node {

class PartHost final {
 public:
  /// Gets every event in order. It is called from within on_command too.
  using Emit = std::function<void(v1::HostEvent)>;
  /// Waited for before more error output is read.
  using Room = std::function<net::Awaitable<void>()>;

  PartHost(PartSurroundings& surroundings, Emit emit, Room room);
  ~PartHost();
  PartHost(const PartHost&) = delete;
  PartHost& operator=(const PartHost&) = delete;

  void on_command(const v1::HostCommand& command);
  /// Processes of the part that may run at the same time.
  std::size_t programs() const;
  /// This host is about to leave: what runs is told to end.
  void leave();
  /// The orchestrator is lost, or done: what still runs is killed, and no event is emitted any more.
  void abandon();
  /// As abandon, but a part that is kept goes on under its spawner.
  void let_go();
  /// Returns when nothing of the part is left here.
  net::Awaitable<void> finished();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what is under way
};

}  // namespace sluice::node
