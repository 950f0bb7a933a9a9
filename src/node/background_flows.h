#pragma once
// The flows in the background that this node orchestrates, as its data directory remembers them: one folder a flow, with
// its record (flow.json) and, for each of its parts that run here, what the spawner keeps (exec/kept_flow.h).
//
//   DATA/flows/ID/limits, of a flow with a timeout; DATA/flows/ID/timed-out, once that is over and no orchestrator was there
//   DATA/flows/ID/parts.json, of a flow that outlives its orchestrator: what that needs to know its parts again
//   DATA/flows/ID/flow.json    DATA/flows/ID/0/...    DATA/flows/ID/0/work, a link to the folder where its stages work
//
// What a flow is is asked of its spawner each time, so a daemon that was restarted knows as much as the one before.
// Threading: belongs to the control loop; reads small files.
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/log.h"
#include "exec/bounded_output.h"
#include "exec/spawner_client.h"
#include "node/flow_surroundings.h"

namespace sluice::v1 {
class Flow;
class FlowMemory;
}  // namespace sluice::v1

namespace sluice::node {

/// The cgroups of the flows that go on there without a daemon: to be spared when leftovers are ended.
std::vector<std::string> kept_cgroups(const std::string& data_directory);
/// The folders where the stages of such flows work.
std::vector<std::string> kept_work_folders(const std::string& data_directory);
/// Ends the programs of flows whose spawner was killed while no daemon ran, as far as nothing else has ended them: one
/// that runs as another user (sudo) has neither the parent-death signal nor our environment.
void end_lost_flows(const std::string& data_directory);
/// Notes in the folder of a part where its stages work. Errors: a sentence.
std::expected<void, std::string> note_work_folder(const std::string& part_folder, const std::string& work_folder);

class BackgroundFlows final {
 public:
  BackgroundFlows(std::string data_directory, NodeId self, Logger& log);
  ~BackgroundFlows();

  /// Errors: a sentence; the flow would be forgotten with the daemon.
  std::expected<void, std::string> save(const v1::Flow& flow);
  /// For the daemon after this one, which ends the flow in time if it still runs. Errors: a sentence.
  std::expected<void, std::string> save_limits(const std::string& id, const FlowLimits& limits);
  std::optional<FlowLimits> limits(const std::string& id) const;
  /// For the daemon after this one, which knows the parts of the flow again by it. Errors: a sentence.
  std::expected<void, std::string> save_memory(const FlowId& id, const v1::FlowMemory& memory);
  /// Nothing: there is none, it can't be read, or the flow has ended.
  std::optional<v1::FlowMemory> memory(const FlowId& id) const;
  /// The flows that have a record.
  std::vector<FlowId> ids() const;
  /// It is about to be ended because its time is over.
  void mark_timed_out(const std::string& id);
  /// How it ended. False: that can't be written (a full disk), and this daemon remembers it until `write_ends` has done so;
  /// one that is started before then asks the spawners, who know nothing of records that went through this one.
  bool save_end(const v1::Flow& flow);
  /// Tries again to write the ends that could not be written. True: none is left.
  bool write_ends();
  /// Every flow that has a record, as it is now.
  std::vector<v1::Flow> list() const;
  std::optional<v1::Flow> find(const std::string& id) const;
  /// Its output included; also what is kept of a flow that another node orchestrates. Requires that it has ended.
  std::expected<void, std::string> remove(const std::string& id);
  /// The folders where stages of the flow worked, on this node; they may be gone.
  std::vector<std::string> work_folders(const std::string& id) const;

  /// The spawner of a part that goes on without an orchestrator: after a restart of the daemon. Nothing: it has none.
  std::optional<exec::SpawnerClient> attach(const std::string& id, std::uint32_t part) const;
  std::expected<exec::OutputChunk, std::string> read_output(const std::string& id, std::uint32_t part,
                                                            exec::OutputName name, std::uint64_t offset) const;
  /// How much a part that has ended has written to a stream, of which the end may not be kept: on a full disk. Nothing: it
  /// has not ended, or has no such stream.
  std::optional<std::uint64_t> written_bytes(const std::string& id, std::uint32_t part, exec::OutputName name) const;
  /// Of a flow that another node orchestrates: some program of its parts here runs.
  bool any_part_runs(const std::string& id) const;
  /// A program of the part may still write.
  bool part_runs(const std::string& id, std::uint32_t part) const;

 private:
  std::string folder(const std::string& id) const;
  std::string part_folder(const std::string& id, std::uint32_t part) const;
  std::optional<v1::Flow> read(const std::string& id) const;
  std::expected<void, std::string> write_end(const v1::Flow& flow);
  void look_at_parts(v1::Flow& flow) const;
  bool is_timed_out(const std::string& id) const;

  std::string flows_;
  NodeId self_;
  Logger& log_;
  std::map<std::string, v1::Flow> unwritten_;  // ends that could not be written
  std::string tried_last_;                     // of those
};

}  // namespace sluice::node
