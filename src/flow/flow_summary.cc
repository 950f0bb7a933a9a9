#include "flow/flow_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "flow/quoting.h"

namespace sluice::flow {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kCommandColumns = 60;

// Commands are bytes of any kind; JSON is UTF-8 (RFC 8259 section 8.1), so what is none becomes U+FFFD.
std::string line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

double milliseconds(Duration duration) {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count()) / 1000;
}

const char* end_name(FlowEnd end) {
  switch (end) {
    case FlowEnd::completed:
      return "completed";
    case FlowEnd::timed_out:
      return "timed_out";
    case FlowEnd::signalled:
      return "signalled";
    case FlowEnd::not_started:
      return "not_started";
    case FlowEnd::broken:
      return "broken";
  }
  return "unknown";
}

Json number_or_null(bool known, std::uint64_t number) { return known ? Json(number) : Json(); }

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

Json status_json(const std::optional<StageEnd>& end) { return end ? Json(end->status.shell_status()) : Json(); }

Json signal_json(const std::optional<StageEnd>& end) {
  return end && end->status.by_signal() ? Json(signal_name(end->status.signal())) : Json();
}

Json workers_json(const std::vector<WorkerSummary>& workers) {
  Json list = Json::array();
  for (const WorkerSummary& worker : workers) {
    Json json;
    json["host"] = worker.host;
    json["pid"] = worker.pid != 0 ? Json(worker.pid) : Json();
    json["status"] = status_json(worker.end);
    json["signal"] = signal_json(worker.end);
    if (worker.number > 0) json["worker"] = worker.number;
    if (worker.records_given) json["records_given"] = *worker.records_given;
    if (worker.records_written) json["records_written"] = *worker.records_written;
    list.push_back(std::move(json));
  }
  return list;
}

Json stage_json(const StageSummary& stage, std::size_t number) {
  Json json;
  json["stage"] = number;
  if (!stage.name.empty()) json["name"] = stage.name;
  json["command"] = stage.command;
  json["host"] = stage.host.empty() ? Json() : Json(stage.host);
  json["pid"] = stage.pid != 0 ? Json(stage.pid) : Json();
  json["status"] = status_json(stage.end);
  json["signal"] = signal_json(stage.end);
  json["io_read_bytes"] = number_or_null(stage.io_known, stage.io_read_bytes);
  json["io_write_bytes"] = number_or_null(stage.io_known, stage.io_write_bytes);
  if (stage.output_bytes) json["output_bytes"] = *stage.output_bytes;
  json["cpu_ms"] = static_cast<double>(stage.cpu_us) / 1000;
  json["peak_memory_bytes"] = stage.peak_memory_bytes;
  json["duration_ms"] = milliseconds(stage.duration);
  if (!stage.workers.empty()) json["workers"] = workers_json(stage.workers);
  if (stage.jobs) {
    json["processes"] = stage.jobs->started;
    json["retries"] = stage.jobs->retried;
    json["dead_letters"] = stage.jobs->dead_letters;
    json["skipped"] = stage.jobs->skipped;
  }
  return json;
}

Json link_json(const LinkSummary& link) {
  Json json;
  json["from"] = link.from;
  json["to"] = link.to.empty() ? Json() : Json(link.to);
  json["stderr"] = link.of_errors;
  json["bytes"] = link.bytes;
  json["records"] = link.records ? Json(*link.records) : Json();
  if (link.slow == SlowPolicy::Kind::drop) json["records_dropped"] = link.dropped;
  if (link.slow == SlowPolicy::Kind::spill) json["spilled_bytes_max"] = link.spilled_most;
  return json;
}

}  // namespace

FlowSummary not_started(const std::string& name, const Plan& plan, int status) {
  FlowSummary summary{.name = name, .status = status, .end = FlowEnd::not_started};
  for (const PlannedStage& stage : plan.stages)
    summary.stages.push_back({.name = stage.name, .command = stage.command});
  return summary;
}

std::string to_json(const FlowSummary& summary) {
  Json json;
  json["flow"] = summary.name.empty() ? Json() : Json(summary.name);
  json["status"] = summary.status;
  json["end"] = end_name(summary.end);
  json["signal"] = summary.signal != 0 ? Json(signal_name(summary.signal)) : Json();
  json["duration_ms"] = milliseconds(summary.duration);
  json["stages"] = Json::array();
  for (std::size_t i = 0; i < summary.stages.size(); ++i)
    json["stages"].push_back(stage_json(summary.stages[i], i + 1));
  if (summary.links.empty()) return line(json);
  json["links"] = Json::array();
  for (const LinkSummary& link : summary.links) json["links"].push_back(link_json(link));
  return line(json);
}

std::string to_json(const ProgressReport& report, const FlowSummary& flow) {
  Json json;
  json["flow"] = flow.name.empty() ? Json() : Json(flow.name);
  json["elapsed_ms"] = milliseconds(report.elapsed);
  json["holds_back"] = report.holds_back ? Json(*report.holds_back + 1) : Json();
  json["stages"] = Json::array();
  for (std::size_t i = 0; i < report.stages.size(); ++i) {
    const StageProgress& stage = report.stages[i];
    Json entry;
    entry["stage"] = i + 1;
    if (!flow.stages[i].name.empty()) entry["name"] = flow.stages[i].name;
    entry["command"] = flow.stages[i].command;
    entry["running"] = stage.running;
    entry["io_read_bytes"] = stage.read.value;
    entry["io_write_bytes"] = stage.written.value;
    entry["read_bytes_per_second"] = static_cast<std::uint64_t>(stage.read_rate);
    entry["write_bytes_per_second"] = static_cast<std::uint64_t>(stage.written_rate);
    entry["host"] = flow.stages[i].host;
    entry["link_bytes"] = stage.linked ? Json(stage.linked->value) : Json();
    json["stages"].push_back(std::move(entry));
  }
  return line(json);
}

namespace {

std::string how_it_ended(exec::ProcessStatus status) {
  if (status.by_signal())
    return fmt::format("was ended by signal {} ({})", status.signal(), signal_name(status.signal()));
  return fmt::format("exited with status {}", status.exit_code());
}

// Which workers ended alike: "on n1, n2" of @all, "(workers 2, 3)" of @x8.
struct Alike {
  std::string how;
  std::vector<std::string> hosts;
  std::vector<std::uint32_t> numbers;

  std::string where() const {
    if (!numbers.empty()) return fmt::format(" (worker{} {})", numbers.size() > 1 ? "s" : "", fmt::join(numbers, ", "));
    return hosts.empty() ? "" : fmt::format(" on {}", fmt::join(hosts, ", "));
  }
};

// How it failed: workers that ended alike are one sentence.
std::vector<Alike> failures(const StageSummary& stage, PipefailRule rule) {
  std::vector<Alike> found;
  bool workers_say = std::ranges::any_of(
      stage.workers, [rule](const WorkerSummary& worker) { return worker.end && failed(*worker.end, rule); });
  if (!workers_say && stage.end && failed(*stage.end, rule)) {
    found.push_back({.how = how_it_ended(stage.end->status), .hosts = {}, .numbers = {}});
    if (stage.elsewhere) found.back().hosts.push_back(stage.host);
  }
  for (const WorkerSummary& worker : stage.workers) {
    if (!worker.end || !failed(*worker.end, rule)) continue;
    std::string how = how_it_ended(worker.end->status);
    auto same = std::ranges::find(found, how, &Alike::how);
    if (same == found.end()) same = found.insert(found.end(), {.how = how, .hosts = {}, .numbers = {}});
    if (worker.number > 0) {
      same->numbers.push_back(worker.number);
    } else {
      same->hosts.push_back(worker.host);
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> failure_sentences(const FlowSummary& summary) {
  std::vector<std::string> sentences;
  for (std::size_t i = 0; i < summary.stages.size(); ++i) {
    const StageSummary& stage = summary.stages[i];
    bool counts = summary.rule != PipefailRule::last || i + 1 == summary.stages.size();
    if (!counts) continue;
    for (const Alike& alike : failures(stage, summary.rule))
      sentences.push_back(fmt::format("{} `{}`{} {}", title_of_stage(stage.name, i),
                                      on_one_line(stage.command, kCommandColumns), alike.where(), alike.how));
  }
  return sentences;
}

bool was_lost(const StageEnd& end) { return end.status.by_signal() && failed(end, PipefailRule::lenient); }

std::string loss_sentence(const WorkerSummary& worker, std::string_view title) {
  return fmt::format(
      "worker {} of {} was lost by signal {}{}: it had been given {} record{} and had written {}; at most what it "
      "had not answered is lost",
      worker.number, title, worker.end->status.signal(), worker.host.empty() ? ", or with its host" : "",
      worker.records_given.value_or(0), worker.records_given == 1u ? "" : "s", worker.records_written.value_or(0));
}

std::vector<std::string> dead_letter_sentences(const FlowSummary& summary, const std::string& file) {
  std::vector<std::string> sentences;
  for (std::size_t i = 0; i < summary.stages.size(); ++i)
    if (const auto& jobs = summary.stages[i].jobs; jobs && jobs->dead_letters > 0)
      sentences.push_back(fmt::format("{}: {} record{} failed for good and went to the dead letters in {}",
                                      title_of_stage(summary.stages[i].name, i), jobs->dead_letters,
                                      jobs->dead_letters == 1 ? "" : "s", file));
  return sentences;
}

std::vector<std::string> drop_sentences(const FlowSummary& summary) {
  std::vector<std::string> sentences;
  for (const LinkSummary& link : summary.links)
    if (link.dropped > 0)
      sentences.push_back(
          fmt::format("the link '{}{} -> {}' dropped {} record{}, which '{}' was too slow for; {} went on",
                      link.of_errors ? "stderr of " : "", link.from, link.to, link.dropped,
                      link.dropped == 1 ? "" : "s", link.to, link.records.value_or(0)));
  return sentences;
}

}  // namespace sluice::flow
