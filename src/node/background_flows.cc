#include "node/background_flows.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "api/json_mapping.h"
#include "base/durable_file.h"
#include "exec/kept_flow.h"
#include "flow/pipeline_status.h"
#include "node/flow_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::string_view kType = "sluice.v1.Flow";
constexpr std::size_t kRecordMax = std::size_t{16} << 20;
constexpr std::size_t kPieceMax = std::size_t{64} << 10;

// A folder's name comes from a caller.
bool is_id(const std::string& id) { return FlowId::parse(id).has_value(); }

// What the files of one part say of its programs.
struct PartLook {
  bool runs = false;
  bool lost = false;
  bool owner_lost = false;
  std::uint64_t ended_at_us = 0;
  std::optional<exec::KeptRecord> record;
};

PartLook look_at(const exec::KeptState& state) {
  PartLook look;
  if (auto* running = std::get_if<exec::KeptRunning>(&state)) {
    look.runs = true;
    look.record = running->record;
  } else if (auto* ended = std::get_if<exec::KeptEnded>(&state)) {
    look.record = ended->record;
    look.owner_lost = ended->record.end == exec::KeptEnd::owner_lost;
    look.ended_at_us = ended->record.ended_at_us;
  } else if (auto* lost = std::get_if<exec::KeptLost>(&state)) {
    look.record = lost->record;
    look.lost = true;
  } else {
    look.lost = true;
  }
  return look;
}

void fill_stage(v1::FlowStage& stage, const PartLook& look) {
  if (!look.record || stage.program() >= look.record->programs.size()) return;
  const exec::KeptProgram& program = look.record->programs[stage.program()];
  stage.set_pid(program.pid);
  stage.set_ended(program.exited.has_value());
  if (program.exited) stage.set_wait_status(program.exited->wait_status);
  for (const exec::KeptOutput& output : look.record->outputs)
    if (output.name.program == stage.program() && output.name.kind == exec::OutputKind::error) {
      stage.set_kept_bytes(output.total_bytes - output.dropped_bytes);
      stage.set_dropped_bytes(output.dropped_bytes);
    }
}

int status_of(const v1::Flow& flow) {
  std::vector<flow::StageEnd> ends;
  for (const v1::FlowStage& stage : flow.stages())
    ends.push_back({.status = exec::ProcessStatus::from_wait(stage.wait_status())});
  if (ends.empty()) return 0;
  return flow::pipeline_status(ends, pipefail_from(flow.pipefail()).value_or(flow::PipefailRule::lenient));
}

}  // namespace

std::vector<std::string> kept_cgroups(const std::string& data_directory) {
  std::vector<std::string> cgroups;
  std::error_code ignored;
  for (const auto& flow : std::filesystem::directory_iterator(data_directory + "/flows", ignored))
    for (const auto& part : std::filesystem::directory_iterator(flow.path(), ignored)) {
      if (!part.is_directory(ignored)) continue;
      auto state = exec::read_kept(part.path());
      auto* running = state ? std::get_if<exec::KeptRunning>(&*state) : nullptr;
      if (running != nullptr && running->record && !running->record->cgroup.empty())
        cgroups.push_back(running->record->cgroup);
    }
  return cgroups;
}

BackgroundFlows::BackgroundFlows(std::string data_directory, NodeId self, Logger& log)
    : flows_(std::move(data_directory) + "/flows"), self_(self), log_(log) {}

std::string BackgroundFlows::folder(const std::string& id) const { return flows_ + "/" + id; }
std::string BackgroundFlows::part_folder(const std::string& id, std::uint32_t part) const {
  return fmt::format("{}/{}/{}", flows_, id, part);
}

std::expected<void, std::string> BackgroundFlows::save(const v1::Flow& flow) {
  std::error_code error;
  std::filesystem::create_directories(folder(flow.id()), error);
  auto json = api::message_to_json(api::api_schema(), kType, flow.SerializeAsString());
  if (error) return std::unexpected(fmt::format("cannot make {}: {}", folder(flow.id()), error.message()));
  if (!json) return std::unexpected(json.error());
  std::string path = folder(flow.id()) + "/flow.json";
  if (auto written = write_file_durably(path, *json + "\n", 0600); !written)
    return std::unexpected(fmt::format("cannot write {}: {}", path, std::strerror(written.error())));
  return {};
}

std::optional<v1::Flow> BackgroundFlows::read(const std::string& id) const {
  std::string path = folder(id) + "/flow.json";
  auto text = read_small_file(path, kRecordMax);
  if (!text) return std::nullopt;  // a part of a flow that another node orchestrates
  auto wire = api::message_from_json(api::api_schema(), kType, *text, kRecordMax);
  v1::Flow flow;
  if (!wire || !flow.ParseFromString(*wire)) {
    log_.error("flow record damaged", {{"file", path}});
    return std::nullopt;
  }
  return flow;
}

std::optional<v1::Flow> BackgroundFlows::find(const std::string& id) const {
  if (!is_id(id)) return std::nullopt;
  auto flow = read(id);
  if (flow && flow->state() != v1::FLOW_STATE_ENDED) look_at_parts(*flow);
  return flow;
}

// Of a flow without an orchestrator: what the spawners of its parts say.
void BackgroundFlows::look_at_parts(v1::Flow& flow) const {
  std::map<std::uint32_t, PartLook> looks;
  bool runs = false, lost = false, elsewhere = false, owner_lost = false;
  std::uint64_t ended_at_us = 0;
  for (v1::FlowStage& stage : *flow.mutable_stages()) {
    if (stage.node_id() != self_.text()) {
      elsewhere = true;
      continue;
    }
    if (!looks.contains(stage.part())) {
      auto state = exec::read_kept(part_folder(flow.id(), stage.part()));
      if (!state) log_.error("kept state damaged", {{"flow", flow.id()}, {"reason", state.error()}});
      looks[stage.part()] = state ? look_at(*state) : PartLook{.lost = true};
    }
    const PartLook& look = looks[stage.part()];
    fill_stage(stage, look);
    runs |= look.runs;
    lost |= look.lost;
    owner_lost |= look.owner_lost;
    ended_at_us = std::max(ended_at_us, look.ended_at_us);
  }
  if (runs && !elsewhere) return flow.set_state(v1::FLOW_STATE_RUNNING);
  if (elsewhere || owner_lost) {
    flow.set_state(v1::FLOW_STATE_ENDED);
    flow.set_status(125);
    flow.set_message("the node was restarted, and a link of the flow went through it");
  } else if (lost) {
    flow.set_state(v1::FLOW_STATE_UNKNOWN);
    flow.set_message("its spawner is gone without a word: it was killed, or the host was restarted");
  } else {
    flow.set_state(v1::FLOW_STATE_ENDED);
    flow.set_status(status_of(flow));
  }
  flow.set_ended_unix_ms(ended_at_us / 1000);
}

std::vector<v1::Flow> BackgroundFlows::list() const {
  std::vector<v1::Flow> flows;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(flows_, ignored))
    if (auto flow = find(entry.path().filename())) flows.push_back(std::move(*flow));
  return flows;
}

std::expected<void, std::string> BackgroundFlows::remove(const std::string& id) {
  if (!is_id(id)) return std::unexpected(fmt::format("'{}' is no id of a flow", id));
  std::error_code error;
  std::filesystem::remove_all(folder(id), error);
  if (error) return std::unexpected(fmt::format("cannot remove {}: {}", folder(id), error.message()));
  return {};
}

std::optional<exec::SpawnerClient> BackgroundFlows::attach(const std::string& id, std::uint32_t part) const {
  auto client = exec::SpawnerClient::attach(part_folder(id, part));
  if (!client) return std::nullopt;
  return std::move(*client);
}

std::expected<exec::OutputChunk, std::string> BackgroundFlows::read_output(const std::string& id, std::uint32_t part,
                                                                           exec::OutputName name,
                                                                           std::uint64_t offset) const {
  if (!is_id(id)) return std::unexpected(fmt::format("'{}' is no id of a flow", id));
  return exec::read_output(part_folder(id, part), name, offset, kPieceMax);
}

bool BackgroundFlows::part_runs(const std::string& id, std::uint32_t part) const {
  auto state = exec::read_kept(part_folder(id, part));
  return state && std::holds_alternative<exec::KeptRunning>(*state);
}

}  // namespace sluice::node
