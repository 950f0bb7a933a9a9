#pragma once
// What is said of a flow when it has ended: one JSON object, and sentences for a person.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "exec/process_status.h"
#include "flow/flow_run.h"
#include "flow/pipeline_status.h"
#include "flow/plan.h"
#include "flow/progress.h"

namespace sluice::flow {

/// One of the processes of a stage that has several: on every node (@all), or many on one (@x8).
struct WorkerSummary {
  std::uint32_t number = 0;  // of @x8, from 1; 0: its host tells which it is
  std::string host;
  int pid = 0;
  std::optional<StageEnd> end;
  std::optional<std::uint64_t> records_given = std::nullopt;    // to a worker of @x8
  std::optional<std::uint64_t> records_written = std::nullopt;  // by it, that went on
};

/// Of a stage that has a process for each record, or whose workers are started again.
struct JobSummary {
  std::uint64_t started = 0;       // processes
  std::uint64_t retried = 0;       // attempts that were made again
  std::uint64_t dead_letters = 0;  // records
  std::uint64_t skipped = 0;       // records that an earlier run had done
};

struct StageSummary {
  std::string command;
  std::string host;
  bool elsewhere = false;              // than where `sluice` was called: failures name the host
  std::vector<WorkerSummary> workers;  // if it has several, else none
  int pid = 0;
  std::optional<StageEnd> end;  // nothing: it was not started, or how it ended is not known
  bool io_known = false;
  std::uint64_t io_read_bytes = 0;
  std::uint64_t io_write_bytes = 0;
  std::optional<JobSummary> jobs;             // none: it has no jobs
  std::optional<std::uint64_t> output_bytes;  // counted exactly (--exact), where that can be done
  std::uint64_t cpu_us = 0;
  std::uint64_t peak_memory_bytes = 0;
  Duration duration{};
};

struct FlowSummary {
  std::string name;
  int status = 0;
  FlowEnd end = FlowEnd::completed;
  int signal = 0;
  Duration duration{};
  PipefailRule rule = PipefailRule::lenient;
  std::vector<StageSummary> stages;
};

/// The summary of a flow of which nothing was started.
FlowSummary not_started(const std::string& name, const Plan& plan, int status);

/// One line without its line end. Fields are only ever added; docs/pipelines.md lists them.
std::string to_json(const FlowSummary& summary);

/// A progress report as one line of JSON.
std::string to_json(const ProgressReport& report, const FlowSummary& flow);

/// It was ended by a signal, with records in its hands.
bool was_lost(const StageEnd& end);
/// Of a worker that was lost where that is allowed. `stage`: its place in the flow.
std::string loss_sentence(const WorkerSummary& worker, std::size_t stage);
/// One for each stage of which records went to the dead letters in `file`.
std::vector<std::string> dead_letter_sentences(const FlowSummary& summary, const std::string& file);

/// "stage 2 `grep x` on db1 exited with status 2": one sentence for each stage that made the flow fail, and for each way
/// in which workers of @all did.
std::vector<std::string> failure_sentences(const FlowSummary& summary);

}  // namespace sluice::flow
