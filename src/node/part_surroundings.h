#pragma once
// What the host of a part needs of where it runs, a node or a client: spawners, folders, an environment, a user, and links.
// Threading: belongs to the control loop.
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/unique_fd.h"
#include "exec/environment.h"
#include "exec/spawner_client.h"
#include "link/data_loops.h"
#include "net/async.h"
#include "node/link_dialer.h"
#include "node/link_registry.h"
#include "node/record_settings.h"

namespace sluice::v1 {
class Prepare;
class RoleTask;
}  // namespace sluice::v1

namespace sluice::node {

/// A spawner for one part. On a node it goes back to the pool when this is destroyed.
class SpawnerUse {
 public:
  virtual ~SpawnerUse() = default;
  virtual exec::SpawnerClient& client() = 0;
};

/// A worker that was started by hand and waited on this node, taken by a part that has one seat.
class JoinedSeat {
 public:
  /// Why it serves no more, if it is not that nobody needs it.
  enum class End { not_needed, left, lost };

  virtual ~JoinedSeat() = default;
  /// `requests`: to read, `replies`: to write. Once.
  virtual void serve(const v1::RoleTask& task, UniqueFd requests, UniqueFd replies) = 0;
  /// To its program.
  virtual void signal(int number) = 0;
  /// What was asked of it is not whole, or not wanted any more: it is to end what it runs.
  virtual void cut(const std::string& why) = 0;
  /// Once its replies have ended.
  virtual End end() const = 0;
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
  /// The files that are written beside the output of stages that take records: a client's alone.
  virtual RecordSettings record_files() { return {}; }
  /// Where links that others dial wait; null on a client.
  virtual LinkRegistry* registry() = 0;
  /// How to reach the other end; an empty address is the node that the client speaks to.
  virtual net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress to,
                                                                                    link::LinkClaim claim,
                                                                                    TimePoint deadline) = 0;
  /// Errors: why not, for the user.
  virtual std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() = 0;
  /// The worker that waits here under that id (RoleOffer). Nothing: it does not, or not any more.
  virtual std::unique_ptr<JoinedSeat> take_offer(const std::string&) { return nullptr; }
  /// What the stages get; `prepare` may add to it.
  virtual exec::Environment environment() = 0;
  /// The standard streams are the client's own, and stages share its terminal and stderr.
  virtual bool is_client() const = 0;
  /// The stderr of the stages is read by us, and not theirs to write to.
  virtual bool reads_errors() const { return !is_client(); }
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

}  // namespace sluice::node
