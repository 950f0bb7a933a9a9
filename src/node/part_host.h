#pragma once
// Runs one part of a flow on this host, as its orchestrator says: on a node for others, on the client for itself.
//
//   Prepare: looks programs up, waits for links that others dial    -> Prepared, or Failed
//   Connect: dials the other links; all of them are up              -> Connected, or Failed
//   Start:   makes the pipes, starts the programs and the pumps     -> Started, or Failed
//   then     Exited for each stage, LinkEnded for each link, Childless, ErrorOutput; in the end: Over
//
// Whatever cuts a link that a stage reads, the stage is killed before its stdin closes: the spawner keeps the write end of
// that pipe open (guarded_input) until the link has been delivered to its end.
// Threading: belongs to the control loop; the pumps run on the data loops.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "exec/environment.h"
#include "exec/spawner_client.h"
#include "link/data_loops.h"
#include "net/async.h"
#include "node/link_dialer.h"
#include "node/link_registry.h"

namespace sluice::v1 {
class HostCommand;
class HostEvent;
class Prepare;
}  // namespace sluice::v1

namespace sluice::node {

/// A spawner for one part. On a node it goes back to the pool when this is destroyed.
class SpawnerUse {
 public:
  virtual ~SpawnerUse() = default;
  virtual exec::SpawnerClient& client() = 0;
};

struct LaidFolder {
  std::string root;       // to be removed in the end
  std::string directory;  // where the stages work: `root`, or below it
};

/// What differs between a node and a client.
class PartSurroundings {
 public:
  virtual ~PartSurroundings() = default;
  virtual net::asio::any_io_executor executor() = 0;
  virtual Logger& log() = 0;
  virtual link::DataLoops& loops() = 0;
  /// Where links that others dial wait; null on a client.
  virtual LinkRegistry* registry() = 0;
  /// How to reach the other end; an empty address is the node that the client speaks to.
  virtual net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress to,
                                                                                    link::LinkClaim claim,
                                                                                    TimePoint deadline) = 0;
  /// Errors: why not, for the user.
  virtual std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() = 0;
  /// What the stages get; `prepare` may add to it.
  virtual exec::Environment environment() = 0;
  /// The standard streams are the client's own, and stages share its terminal and stderr.
  virtual bool is_client() const = 0;
  /// The stdin and stdout that a part without a stage stands for. Duplicated, never closed.
  virtual int own_input() const { return 0; }
  virtual int own_output() const { return 1; }
  /// Of the stages, for a client on a terminal; 0: each stage leads its own.
  virtual int process_group() const = 0;
  virtual std::optional<exec::RunAs> run_as() const = 0;
  /// Where the stages work. A node makes a fresh folder; a client gives its own (empty: where it is).
  virtual std::expected<std::string, std::string> make_folder() = 0;
  virtual void remove_folder(const std::string& folder) = 0;
  /// The same for a folder in which no process works any more: if it is as it was made, the next may have it.
  virtual void recycle_folder(const std::string& folder) { remove_folder(folder); }
  /// A fresh folder with the files of `prepare` in it. Errors: why not, for the user.
  virtual net::Awaitable<std::expected<LaidFolder, std::string>> lay_files(v1::Prepare prepare);
  /// Where a background flow keeps its output and state, and which folder its stages work in. Errors: why it can't.
  virtual std::expected<std::string, std::string> keep_folder(const std::string& flow_id, std::uint32_t part,
                                                              const std::string& work_folder) = 0;
};

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
