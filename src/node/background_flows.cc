#include "node/background_flows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>

#include "api/json_mapping.h"
#include "base/durable_file.h"
#include "exec/kept_flow.h"
#include "flow/pipeline_status.h"
#include "node/failure_message.h"
#include "node/flow_messages.h"
#include "sluice/v1/flow_memory.pb.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::string_view kType = "sluice.v1.Flow";
constexpr std::string_view kMemoryType = "sluice.v1.FlowMemory";
constexpr std::size_t kRecordMax = std::size_t{16} << 20;
constexpr std::size_t kPieceMax = std::size_t{64} << 10;
constexpr std::size_t kUnwrittenMax = 1000;  // a record is some 1 kB
constexpr std::size_t kLimitsMax = 100;
constexpr int kTimedOutStatus = 124;  // as of a flow in the foreground
constexpr char kWorkLink[] = "/work";
constexpr char kLimitsFile[] = "/limits";
constexpr char kMemoryFile[] = "/parts.json";
constexpr char kTimedOutFile[] = "/timed-out";

std::int64_t milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// A folder's name comes from a caller.
bool is_id(const std::string& id) { return FlowId::parse(id).has_value(); }

// What the files of one part say of its programs.
struct PartLook {
  bool runs = false;
  bool lost = false;
  bool absent = false;
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
    look.absent = true;
  }
  return look;
}

void fill_program(v1::FlowStage& stage, const exec::KeptRecord& record) {
  if (stage.program() >= record.programs.size()) return;
  const exec::KeptProgram& program = record.programs[stage.program()];
  stage.set_pid(program.pid);
  stage.set_ended(program.exited.has_value());
  if (program.exited) stage.set_wait_status(program.exited->wait_status);
}

void fill_stage(v1::FlowStage& stage, const PartLook& look) {
  if (!look.record) return;
  if (!stage.through_daemon()) fill_program(stage, *look.record);  // else it may be several, or none
  for (const exec::KeptOutput& output : look.record->outputs)
    if (output.name.program == stage.program() && output.name.kind == exec::OutputKind::error) {
      stage.set_kept_bytes(output.total_bytes - output.dropped_bytes);
      stage.set_dropped_bytes(output.dropped_bytes);
    }
}

// Requires that every part has ended.
std::vector<flow::StageEnd> ends_of(const v1::Flow& flow, const std::map<std::uint32_t, PartLook>& looks) {
  std::vector<flow::StageEnd> ends;
  for (const v1::FlowStage& stage : flow.stages()) {
    flow::StageEnd& end = ends.emplace_back(exec::ProcessStatus::from_wait(stage.wait_status()));
    const auto& record = looks.at(stage.part()).record;
    if (!record || stage.program() >= record->programs.size()) continue;
    const auto& exited = record->programs[stage.program()].exited;
    end.reader_done = exited && exited->output_reader != exec::Reader::open;
  }
  return ends;
}

// A part that goes on under its spawner.
struct RunningPart {
  std::string folder;
  std::optional<exec::KeptRecord> record;
};

// Calls `look(folder, state)` for each part whose state can be read.
template <typename Look>
void for_each_part(const std::string& data_directory, Look look) {
  std::error_code ignored;
  for (const auto& flow : std::filesystem::directory_iterator(data_directory + "/flows", ignored))
    for (const auto& part : std::filesystem::directory_iterator(flow.path(), ignored)) {
      if (!part.is_directory(ignored)) continue;
      if (auto state = exec::read_kept(part.path())) look(part.path().string(), *state);
    }
}

std::vector<RunningPart> running_parts(const std::string& data_directory) {
  std::vector<RunningPart> parts;
  for_each_part(data_directory, [&](const std::string& folder, exec::KeptState& state) {
    if (auto* running = std::get_if<exec::KeptRunning>(&state))
      parts.push_back({.folder = folder, .record = std::move(running->record)});
  });
  return parts;
}

// What is known of the end of a part whose spawner did not live to note it.
std::string reason_of_loss(const std::map<std::uint32_t, PartLook>& looks) {
  for (const auto& [part, look] : looks)
    if (look.lost && look.record && look.record->boot_id != exec::read_boot_id())
      return "the host was restarted while it ran; how its programs ended is not known";
  return "its spawner was killed, and its programs with it; how they ended is not known";
}

std::optional<std::string> work_folder_of(const std::string& part_folder) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::read_symlink(part_folder + kWorkLink, error);
  if (error || folder.empty()) return std::nullopt;
  return folder;
}

}  // namespace

std::vector<std::string> kept_cgroups(const std::string& data_directory) {
  std::vector<std::string> cgroups;
  for (const RunningPart& part : running_parts(data_directory))
    if (part.record && !part.record->cgroup.empty()) cgroups.push_back(part.record->cgroup);
  return cgroups;
}

std::vector<std::string> kept_work_folders(const std::string& data_directory) {
  std::vector<std::string> folders;
  for (const RunningPart& part : running_parts(data_directory))
    if (auto folder = work_folder_of(part.folder)) folders.push_back(std::move(*folder));
  return folders;
}

void end_lost_flows(const std::string& data_directory) {
  for_each_part(data_directory, [](const std::string&, const exec::KeptState& state) {
    if (auto* lost = std::get_if<exec::KeptLost>(&state)) exec::end_lost(lost->record);
  });
}

std::expected<void, std::string> note_work_folder(const std::string& part_folder, const std::string& work_folder) {
  std::string path = part_folder + kWorkLink;
  std::error_code error;
  std::filesystem::create_symlink(work_folder, path, error);
  if (error) return std::unexpected(fmt::format("cannot make the link {}: {}", path, error.message()));
  return {};
}

BackgroundFlows::BackgroundFlows(std::string data_directory, NodeId self, Logger& log)
    : flows_(std::move(data_directory) + "/flows"), self_(self), log_(log) {}

BackgroundFlows::~BackgroundFlows() = default;

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

std::expected<void, std::string> BackgroundFlows::save_limits(const std::string& id, const FlowLimits& limits) {
  std::string path = folder(id) + kLimitsFile;
  std::string text =
      fmt::format("{} {}\n", milliseconds(limits.deadline.time_since_epoch()), milliseconds(limits.grace));
  if (auto written = write_file_durably(path, text, 0600); !written)
    return std::unexpected(fmt::format("cannot write {}: {}", path, std::strerror(written.error())));
  return {};
}

std::optional<FlowLimits> BackgroundFlows::limits(const std::string& id) const {
  if (!is_id(id)) return std::nullopt;
  auto text = read_small_file(folder(id) + kLimitsFile, kLimitsMax);
  if (!text) return std::nullopt;
  std::istringstream fields(*text);
  std::int64_t deadline = 0, grace = 0;
  if (!(fields >> deadline >> grace) || grace < 0) {
    log_.error("limits of a flow damaged", {{"flow", id}});
    return std::nullopt;
  }
  return FlowLimits{.deadline = TimePoint(std::chrono::milliseconds(deadline)),
                    .grace = std::chrono::milliseconds(grace)};
}

std::expected<void, std::string> BackgroundFlows::save_memory(const FlowId& id, const v1::FlowMemory& memory) {
  auto json = api::message_to_json(api::api_schema(), kMemoryType, memory.SerializeAsString());
  if (!json) return std::unexpected(json.error());
  std::string path = folder(id.text()) + kMemoryFile;
  if (auto written = write_file_durably(path, *json + "\n", 0600); !written)
    return std::unexpected(fmt::format("cannot write {}: {}", path, std::strerror(written.error())));
  return {};
}

std::optional<v1::FlowMemory> BackgroundFlows::memory(const FlowId& id) const {
  std::string path = folder(id.text()) + kMemoryFile;
  auto text = read_small_file(path, kRecordMax);
  if (!text) return std::nullopt;
  auto flow = read(id.text());
  if (!flow || flow->state() == v1::FLOW_STATE_ENDED) return std::nullopt;
  auto wire = api::message_from_json(api::api_schema(), kMemoryType, *text, kRecordMax);
  v1::FlowMemory memory;
  if (wire && memory.ParseFromString(*wire)) return memory;
  log_.error("memory of a flow damaged",
             {{"file", path}, {"reason", wire ? "it is no message of its type" : wire.error()}});
  return std::nullopt;
}

std::vector<FlowId> BackgroundFlows::ids() const {
  std::vector<FlowId> ids;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(flows_, ignored))
    if (auto id = FlowId::parse(entry.path().filename().string())) ids.push_back(*id);
  return ids;
}

void BackgroundFlows::mark_timed_out(const std::string& id) {
  auto written = write_file_durably(folder(id) + kTimedOutFile, "", 0600);
  if (!written) log_.error("timeout of a flow not written", {{"flow", id}, {"reason", std::strerror(written.error())}});
}

bool BackgroundFlows::is_timed_out(const std::string& id) const {
  std::error_code ignored;
  return std::filesystem::exists(folder(id) + kTimedOutFile, ignored);
}

bool BackgroundFlows::save_end(const v1::Flow& flow) {
  auto written = write_end(flow);
  if (written) return true;
  log_.error("flow's end not written", {{"flow", flow.id()}, {"reason", written.error()}});
  if (unwritten_.size() < kUnwrittenMax) unwritten_[flow.id()] = flow;
  return false;
}

std::expected<void, std::string> BackgroundFlows::write_end(const v1::Flow& flow) {
  auto saved = save(flow);
  std::error_code ignored;
  if (saved) std::filesystem::remove(folder(flow.id()) + kMemoryFile, ignored);  // it holds an environment
  return saved;
}

// One that fails ends the round: the others would find the disk as full. The next round begins behind it, so that one
// that can never be written stands in nobody's way.
bool BackgroundFlows::write_ends() {
  for (std::size_t left = unwritten_.size(); left > 0; --left) {
    auto next = unwritten_.upper_bound(tried_last_);
    if (next == unwritten_.end()) next = unwritten_.begin();
    tried_last_ = next->first;
    if (!write_end(next->second)) return false;
    log_.info("flow's end written after all", {{"flow", next->first}});
    unwritten_.erase(next);
  }
  return true;
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
  if (auto ended = unwritten_.find(id); ended != unwritten_.end()) return ended->second;
  auto flow = read(id);
  if (flow && flow->state() != v1::FLOW_STATE_ENDED) look_at_parts(*flow);
  return flow;
}

// Of a flow without an orchestrator: what the spawners of its parts say.
void BackgroundFlows::look_at_parts(v1::Flow& flow) const {
  std::map<std::uint32_t, PartLook> looks;
  bool runs = false, lost = false, absent = flow.stages().empty(), elsewhere = false, owner_lost = false;
  bool through_daemon = false;
  std::uint64_t ended_at_us = 0;
  for (v1::FlowStage& stage : *flow.mutable_stages()) {
    through_daemon |= stage.through_daemon() && stage.node_id() == self_.text();
    elsewhere |= !stage.seats().empty();
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
    absent |= look.absent;
    owner_lost |= look.owner_lost;
    ended_at_us = std::max(ended_at_us, look.ended_at_us);
  }
  if (runs && !elsewhere) return flow.set_state(v1::FLOW_STATE_RUNNING);
  if (elsewhere || owner_lost || (through_daemon && !absent)) {
    flow.set_state(v1::FLOW_STATE_ENDED);
    flow.set_status(125);
    flow.set_message(through_daemon ? "the node was restarted, and records of the flow went through it"
                                    : "the node was restarted, and a link of the flow went through it");
  } else if (absent) {
    flow.set_state(v1::FLOW_STATE_ENDED);
    flow.set_status(125);
    flow.set_message("the node ended before the flow had started");
  } else if (lost) {
    flow.set_state(v1::FLOW_STATE_UNKNOWN);
    flow.set_message(reason_of_loss(looks));
  } else if (is_timed_out(flow.id())) {
    flow.set_state(v1::FLOW_STATE_ENDED);
    flow.set_status(kTimedOutStatus);
    flow.set_message("timed out (--timeout); every stage was ended");
  } else {
    flow.set_state(v1::FLOW_STATE_ENDED);
    std::vector<flow::StageEnd> ends = ends_of(flow, looks);
    auto rule = pipefail_from(flow.pipefail()).value_or(flow::PipefailRule::lenient);
    flow.set_status(flow::pipeline_status(ends, rule));
    if (flow.status() != 0) flow.set_message(failure_message(flow, {ends.begin(), ends.end()}));
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
  unwritten_.erase(id);
  return {};
}

std::vector<std::string> BackgroundFlows::work_folders(const std::string& id) const {
  std::vector<std::string> folders;
  if (!is_id(id)) return folders;
  std::error_code ignored;
  for (const auto& part : std::filesystem::directory_iterator(folder(id), ignored))
    if (auto work = work_folder_of(part.path())) folders.push_back(std::move(*work));
  return folders;
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

std::optional<std::uint64_t> BackgroundFlows::written_bytes(const std::string& id, std::uint32_t part,
                                                            exec::OutputName name) const {
  auto state = exec::read_kept(part_folder(id, part));
  auto* ended = state ? std::get_if<exec::KeptEnded>(&*state) : nullptr;
  if (ended == nullptr) return std::nullopt;
  auto output = std::ranges::find(ended->record.outputs, name, &exec::KeptOutput::name);
  if (output == ended->record.outputs.end()) return std::nullopt;
  return output->total_bytes;
}

bool BackgroundFlows::any_part_runs(const std::string& id) const {
  if (!is_id(id)) return false;
  std::error_code ignored;
  for (const auto& part : std::filesystem::directory_iterator(folder(id), ignored)) {
    if (!part.is_directory(ignored)) continue;
    auto state = exec::read_kept(part.path());
    if (state && std::holds_alternative<exec::KeptRunning>(*state)) return true;
  }
  return false;
}

bool BackgroundFlows::part_runs(const std::string& id, std::uint32_t part) const {
  auto state = exec::read_kept(part_folder(id, part));
  return state && std::holds_alternative<exec::KeptRunning>(*state);
}

}  // namespace sluice::node
