#include "sim/stage_processes.h"

#include <fmt/format.h>

#include <csignal>
#include <tuple>

namespace sluice::sim {
namespace {

using flow::AttemptEnd;
using link::RecordBatch;
using link::RecordId;

constexpr std::size_t kBatchRecords = 3;  // that are taken from the pipe at once

exec::ProcessStatus status_of(AttemptEnd::Kind kind) {
  if (kind == AttemptEnd::Kind::lost) return exec::ProcessStatus::ended_by(SIGKILL);
  return exec::ProcessStatus::exited(kind == AttemptEnd::Kind::succeeded ? 0 : 1);
}

}  // namespace

// --- records ------------------------------------------------------------------------------------------------------

RecordBatch StageProcesses::take_batch() {
  RecordId first = next_id_;
  std::string block;
  for (std::size_t i = 0; i < kBatchRecords && !stage_.in.empty(); ++i) {
    std::string record = *stage_.take();
    block += record + "\n";
    unsettled_[next_id_++] = std::move(record);
  }
  return RecordBatch::of_delimited(first, '\n', std::move(block)).value();
}

void StageProcesses::give(std::size_t worker, const RecordBatch& batch) {
  StageProcess& process = processes_[worker];
  if (!process.runs || process.told_end) course_.violate("records were given to a process that takes none");
  for_each_record(batch, [&](RecordId id, std::string_view record) {
    for (const StageProcess& other : processes_)
      if (other.hand.contains(id)) course_.violate(fmt::format("record {} is in two hands", id));
    if (!unsettled_.contains(id)) course_.violate(fmt::format("record {} was given, and is settled", id));
    process.hand.insert(id);
    process.inbox.emplace_back(id, without_end(record));
  });
}

std::optional<std::string> StageProcesses::settle(StageProcess& process, RecordId id) {
  if (!process.hand.erase(id)) course_.violate("a record is settled by a process that does not have it");
  auto record = unsettled_.extract(id);
  if (record.empty()) return std::nullopt;
  return std::move(record.mapped());
}

// --- the life of a process ----------------------------------------------------------------------------------------

FlowEvent StageProcesses::event(FlowEvent::Kind kind, std::size_t worker) const {
  return {.kind = kind, .stage = stage_.index(), .worker = worker, .life = processes_[worker].life};
}

StageProcess* StageProcesses::living(const FlowEvent& event) {
  StageProcess& process = processes_[event.worker];
  return process.runs && process.life == event.life && !process.end ? &process : nullptr;
}

void StageProcesses::start(std::size_t worker) {
  StageProcess& process = processes_[worker];
  if (process.runs) course_.violate("a process was started beside another of its worker");
  std::uint64_t life = process.life + 1;
  process = StageProcess();
  process.life = life;
  process.runs = true;
}

bool StageProcesses::read_on(std::size_t worker, std::size_t at_a_time) {
  StageProcess& process = processes_[worker];
  if (!process.runs || process.end) return false;
  while (process.busy < at_a_time && !process.inbox.empty()) {
    FlowEvent done = event(FlowEvent::Kind::done_with, worker);
    std::tie(done.number, done.text) = std::move(process.inbox.front());
    process.inbox.pop_front();
    ++process.busy;
    course_.within(stage_.plan().service_time_max, std::move(done));
  }
  return process.told_end && process.busy == 0 && process.inbox.empty();
}

void StageProcesses::end(StageProcess& process, AttemptEnd::Kind kind) {
  process.inbox.clear();
  process.kept.clear();
  process.end = AttemptEnd{.kind = kind, .status = status_of(kind), .why = {}};
}

bool StageProcesses::gone(std::size_t worker) const {
  const StageProcess& process = processes_[worker];
  return process.runs && process.end && process.said.empty();
}

AttemptEnd StageProcesses::remove(std::size_t worker) {
  StageProcess& process = processes_[worker];
  AttemptEnd end = *std::move(process.end);
  std::uint64_t life = process.life;
  process = StageProcess();
  process.life = life;
  stage_.count_ended_process();
  return end;
}

// --- checks -------------------------------------------------------------------------------------------------------

void StageProcesses::check(std::size_t window_bytes) const {
  const std::string& name = stage_.plan().name;
  std::size_t in_hands = 0, bytes = 0;
  for (const StageProcess& process : processes_) in_hands += process.hand.size();
  for (const auto& [id, record] : unsettled_) bytes += record.size();
  if (in_hands > unsettled_.size()) course_.violate(fmt::format("more is in the hands of {} than it has taken", name));
  if (bytes > stage_.in.capacity_bytes() + kBatchRecords * kRecordBytesMax + window_bytes)
    course_.violate(fmt::format("{} holds more than its windows", name));
}

std::string StageProcesses::describe() const {
  std::string text = fmt::format(", has {}", unsettled_.size());
  for (const StageProcess& process : processes_)
    text += fmt::format("; process runs {} inbox {} busy {} hand {} said {} end {}", process.runs, process.inbox.size(),
                        process.busy, process.hand.size(), process.said.size(), process.end.has_value());
  return text;
}

}  // namespace sluice::sim
