#include "cli/top_view.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "base/id.h"
#include "base/quantity.h"
#include "base/time.h"
#include "cli/flow_state.h"
#include "cli/text_table.h"
#include "flow/quoting.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;
using flow::Bottleneck;
using flow::FlowReport;

constexpr std::size_t kStageColumns = 28;  // of a command in a table
constexpr std::size_t kTextColumns = 200;  // of a flow's text
constexpr std::size_t kNodesColumns = 16;
constexpr const char* kNothing = "-";

// --- from messages ------------------------------------------------------------------------------------------------

flow::Activity activity_from(const v1::Activity& message) {
  return {.busy = std::chrono::microseconds(message.busy_us()),
          .idle = std::chrono::microseconds(message.idle_us()),
          .held_back = std::chrono::microseconds(message.held_back_us())};
}

flow::WorkerCounters worker_from(const v1::WorkerCounters& message) {
  const v1::WorkerMoved& moved = message.counters();
  flow::WorkerCounters worker{
      .number = moved.worker(), .node = message.node(), .pid = moved.pid(), .running = moved.running()};
  if (moved.has_activity()) worker.activity = activity_from(moved.activity());
  if (moved.has_records_in()) worker.records_in = moved.records_in();
  if (moved.has_records_out()) worker.records_out = moved.records_out();
  if (moved.has_in_flight()) worker.in_flight = moved.in_flight();
  return worker;
}

flow::StageCounters stage_from(const v1::StageCounters& message) {
  flow::StageCounters stage{.index = message.index(),
                            .command = message.command(),
                            .kind = message.kind(),
                            .nodes = {message.nodes().begin(), message.nodes().end()},
                            .workers = message.workers(),
                            .running = message.running(),
                            .estimated = message.estimated(),
                            .read_bytes = message.read_bytes(),
                            .written_bytes = message.written_bytes()};
  if (message.has_activity()) stage.activity = activity_from(message.activity());
  if (message.has_records()) {
    const v1::RecordsMoved& records = message.records();
    stage.records.emplace(flow::StageRecords{.read = records.read(),
                                             .dead = records.dead(),
                                             .in_flight = records.in_flight(),
                                             .waiting = records.waiting(),
                                             .written = records.written()});
    if (records.has_credit()) stage.records->credit = records.credit();
  }
  for (const v1::WorkerCounters& worker : message.each_worker()) stage.each_worker.push_back(worker_from(worker));
  return stage;
}

flow::LinkCounts counts_from(const v1::LinkBalance& message) {
  return {.in = message.in(),
          .out = message.out(),
          .dropped = message.dropped(),
          .dead = message.dead(),
          .in_flight = message.in_flight()};
}

flow::LinkCounters link_from(const v1::LinkCounters& message) {
  flow::LinkCounters link{
      .of_errors = message.of_errors(), .estimated = message.estimated(), .bytes = counts_from(message.bytes())};
  if (message.from() >= 0) link.from = static_cast<std::size_t>(message.from());
  if (message.to() >= 0) link.to = static_cast<std::size_t>(message.to());
  if (message.has_records()) link.records = counts_from(message.records());
  return link;
}

// --- JSON ---------------------------------------------------------------------------------------------------------

double milliseconds(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

std::string utc(std::uint64_t unix_ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)),
                     unix_ms % 1000);
}

void add_shares(const std::optional<flow::Shares>& shares, Json& json) {
  json["busy_percent"] = shares ? Json(shares->busy) : Json();
  json["idle_percent"] = shares ? Json(shares->idle) : Json();
  json["held_back_percent"] = shares ? Json(shares->held_back) : Json();
}

void add_activity(const std::optional<flow::Activity>& activity, Json& json) {
  if (!activity) return;
  json["busy_ms"] = milliseconds(activity->busy);
  json["idle_ms"] = milliseconds(activity->idle);
  json["held_back_ms"] = milliseconds(activity->held_back);
}

template <class Number>
Json or_null(const std::optional<Number>& number) {
  return number ? Json(*number) : Json();
}

Json to_json(const flow::WorkerCounters& worker, const flow::WorkerRates& rates) {
  Json json = {{"worker", worker.number},
               {"node", worker.node},
               {"pid", worker.pid > 0 ? Json(worker.pid) : Json()},
               {"running", worker.running}};
  add_shares(rates.shares, json);
  add_activity(worker.activity, json);
  json["records_in"] = or_null(worker.records_in);
  json["records_out"] = or_null(worker.records_out);
  json["records_in_per_second"] = worker.records_in ? Json(rates.records_in) : Json();
  json["records_out_per_second"] = worker.records_out ? Json(rates.records_out) : Json();
  json["in_flight"] = or_null(worker.in_flight);
  return json;
}

Json to_json(const flow::StageCounters& stage, const flow::StageRates& rates) {
  Json json = {{"stage", stage.index + 1}, {"command", stage.command}, {"kind", stage.kind},
               {"nodes", stage.nodes},     {"workers", stage.workers}, {"running", stage.running}};
  add_shares(rates.shares, json);
  add_activity(stage.activity, json);
  json["estimated"] = stage.estimated;
  json["read_bytes"] = stage.read_bytes;
  json["written_bytes"] = stage.written_bytes;
  json["read_bytes_per_second"] = rates.read_bytes;
  json["written_bytes_per_second"] = rates.written_bytes;
  const auto& records = stage.records;
  json["records_read"] = records ? Json(records->read) : Json();
  json["records_written"] = records ? Json(records->written) : Json();
  json["records_read_per_second"] = records ? Json(rates.records_in) : Json();
  json["records_written_per_second"] = records ? Json(rates.records_out) : Json();
  json["dead"] = records ? Json(records->dead) : Json();
  json["in_flight"] = records ? Json(records->in_flight) : Json();
  json["waiting"] = records ? Json(records->waiting) : Json();
  json["credit"] = records ? or_null(records->credit) : Json();
  json["each_worker"] = Json::array();
  for (std::size_t i = 0; i < stage.each_worker.size(); ++i)
    json["each_worker"].push_back(to_json(stage.each_worker[i], rates.workers[i]));
  return json;
}

Json to_json(const flow::LinkCounts& counts) {
  return {{"in", counts.in},
          {"out", counts.out},
          {"dropped", counts.dropped},
          {"dead", counts.dead},
          {"in_flight", counts.in_flight}};
}

Json stage_number(const std::optional<std::size_t>& stage) { return stage ? Json(*stage + 1) : Json(); }

Json to_json(const flow::LinkCounters& link, const flow::LinkRates& rates) {
  Json json = {{"from", stage_number(link.from)},
               {"stderr", link.of_errors},
               {"to", stage_number(link.to)},
               {"estimated", link.estimated}};
  json["bytes"] = to_json(link.bytes);
  json["records"] = link.records ? to_json(*link.records) : Json();
  json["bytes_in_per_second"] = rates.bytes_in;
  json["bytes_out_per_second"] = rates.bytes_out;
  json["records_in_per_second"] = link.records ? Json(rates.records_in) : Json();
  json["records_out_per_second"] = link.records ? Json(rates.records_out) : Json();
  return json;
}

const char* kind_text(Bottleneck::Kind kind) {
  switch (kind) {
    case Bottleneck::Kind::input:
      return "input";
    case Bottleneck::Kind::output:
      return "output";
    case Bottleneck::Kind::stage:
      break;
  }
  return "stage";
}

Json bottleneck_json(const FlowReport& report) {
  if (!report.bottleneck) return {};
  return {{"kind", kind_text(report.bottleneck->kind)},
          {"stage", report.bottleneck->stage + 1},
          {"text", bottleneck_text(report)}};
}

Json to_json(const FlowReport& report) {
  const flow::FlowCounters& flow = report.counters;
  Json json = {{"id", flow.id},
               {"name", flow.name},
               {"text", flow.text},
               {"state", flow.state},
               {"node", flow.node},
               {"background", flow.background},
               {"started", utc(flow.started_unix_ms)},
               {"interval_ms", milliseconds(report.interval)}};
  json["bottleneck"] = bottleneck_json(report);
  json["stages"] = Json::array();
  for (std::size_t i = 0; i < flow.stages.size(); ++i)
    json["stages"].push_back(to_json(flow.stages[i], report.stages[i]));
  json["links"] = Json::array();
  for (std::size_t i = 0; i < flow.links.size(); ++i) json["links"].push_back(to_json(flow.links[i], report.links[i]));
  json["silent_hosts"] = flow.silent_hosts;
  return json;
}

// --- tables -------------------------------------------------------------------------------------------------------

// docs/top.md has the order in which columns are left out. What the stages do with their time, and what they have in
// flight, says what holds a flow back: it stays.
const std::vector<TableColumn>& stage_columns() {
  static const std::vector<TableColumn> columns = {
      {.heading = "#", .words = true},
      {.heading = "STAGE", .words = true, .shortest = 8},
      {.heading = "NODES", .words = true, .shortest = 5, .left_out = 4},
      {.heading = "WORKERS", .short_heading = "RUN", .least = 5, .left_out = 5},
      {.heading = "REC IN/s", .short_heading = "IN/s", .least = 5, .left_out = 2},
      {.heading = "REC OUT/s", .short_heading = "OUT/s", .least = 5, .left_out = 2},
      {.heading = "READ", .least = 10, .left_out = 1},
      {.heading = "WRITTEN", .least = 10, .left_out = 1},
      {.heading = "CREDIT", .least = 5, .left_out = 3},
      {.heading = "IN FLIGHT", .least = 5},
      {.heading = "BUSY", .least = 4},
      {.heading = "IDLE", .least = 4},
      {.heading = "HELD", .least = 4}};
  return columns;
}

// What went in is the sum of the others, so it goes first.
const std::vector<TableColumn>& link_columns() {
  static const std::vector<TableColumn> columns = {{.heading = "LINK", .words = true},
                                                   {.heading = "OF", .words = true, .shortest = 7},
                                                   {.heading = "IN", .least = 8, .left_out = 1},
                                                   {.heading = "OUT", .least = 8},
                                                   {.heading = "DROPPED", .least = 3, .left_out = 3},
                                                   {.heading = "DEAD", .least = 3, .left_out = 2},
                                                   {.heading = "IN FLIGHT", .least = 8}};
  return columns;
}

// "17", "1.25k", "3.40M": three figures, decimal units.
std::string count_text(double count) {
  constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  while (count >= 999.5 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  if (unit == 0) return count == 0 || count >= 9.95 ? fmt::format("{:.0f}", count) : fmt::format("{:.1f}", count);
  return fmt::format("{:.{}f}{}", count, count < 9.995 ? 2 : count < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string whole_text(std::uint64_t count) {
  return count < 1000 ? fmt::format("{}", count) : count_text(static_cast<double>(count));
}

std::string percent_text(const std::optional<flow::Shares>& shares, int flow::Shares::*share) {
  return shares ? fmt::format("{}%", (*shares).*share) : kNothing;
}

std::string cut(std::string line, std::size_t columns) {
  return columns == 0 ? line : flow::on_one_line(line, columns);
}

std::string in_colour(const char* code, const std::string& text, const TopStyle& style) {
  return style.colour ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
}

std::string end_text(const std::optional<std::size_t>& stage, const char* outside) {
  return stage ? fmt::format("{}", *stage + 1) : outside;
}

TableRow stage_row(const flow::StageCounters& stage, const flow::StageRates& rates) {
  std::string in = stage.records ? count_text(rates.records_in) : kNothing;
  std::string out = stage.records ? count_text(rates.records_out) : kNothing;
  bool credit = stage.records && stage.records->credit;
  return {fmt::format("{}", stage.index + 1),
          flow::on_one_line(stage.command, kStageColumns),
          flow::on_one_line(fmt::format("{}", fmt::join(stage.nodes, ",")), kNodesColumns),
          stage.running ? fmt::format("{}", stage.workers) : "ended",
          in,
          out,
          format_rate(rates.read_bytes),
          format_rate(rates.written_bytes),
          credit ? whole_text(*stage.records->credit) : kNothing,
          stage.records ? whole_text(stage.records->in_flight) : kNothing,
          percent_text(rates.shares, &flow::Shares::busy),
          percent_text(rates.shares, &flow::Shares::idle),
          percent_text(rates.shares, &flow::Shares::held_back)};
}

TableRow worker_row(const flow::WorkerCounters& worker, const flow::WorkerRates& rates) {
  std::string pid = worker.pid > 0 ? fmt::format(" pid {}", worker.pid) : "";
  return {"",
          {fmt::format("  worker {}{}", worker.number, pid), fmt::format(" worker {}", worker.number)},
          flow::on_one_line(worker.node, kNodesColumns),
          worker.running ? "" : "ended",
          worker.records_in ? count_text(rates.records_in) : kNothing,
          worker.records_out ? count_text(rates.records_out) : kNothing,
          "",
          "",
          "",
          worker.in_flight ? whole_text(*worker.in_flight) : kNothing,
          percent_text(rates.shares, &flow::Shares::busy),
          percent_text(rates.shares, &flow::Shares::idle),
          percent_text(rates.shares, &flow::Shares::held_back)};
}

std::vector<std::string> stage_lines(const FlowReport& report, const TopStyle& style) {
  std::vector<TableRow> rows;
  std::optional<std::size_t> marked;  // the line of the bottleneck
  for (std::size_t i = 0; i < report.stages.size(); ++i) {
    const flow::StageCounters& stage = report.counters.stages[i];
    const auto& bottleneck = report.bottleneck;
    if (bottleneck && bottleneck->kind == Bottleneck::Kind::stage && bottleneck->stage == stage.index)
      marked = rows.size() + 1;
    rows.push_back(stage_row(stage, report.stages[i]));
    bool many = stage.each_worker.size() > 1 || (!stage.each_worker.empty() && stage.each_worker[0].number > 0);
    if (!style.workers || !many) continue;
    for (std::size_t j = 0; j < stage.each_worker.size(); ++j)
      rows.push_back(worker_row(stage.each_worker[j], report.stages[i].workers[j]));
  }
  std::vector<std::string> lines = table_lines(stage_columns(), rows, style.columns);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    lines[i] = cut(lines[i], style.columns);
    if (i == 0) lines[i] = in_colour("2", lines[i], style);
    if (i == marked) lines[i] = in_colour("33", lines[i], style);
  }
  return lines;
}

std::vector<std::string> link_lines(const FlowReport& report, const TopStyle& style) {
  if (report.counters.links.empty()) return {};
  std::vector<TableRow> rows;
  for (const flow::LinkCounters& link : report.counters.links) {
    std::string name =
        (link.of_errors ? "stderr of " : "") + end_text(link.from, "stdin") + " -> " + end_text(link.to, "stdout");
    auto bytes = [](std::uint64_t count) { return format_bytes({count}); };
    TableCell of = link.estimated ? TableCell("bytes, estimated", "bytes, est.") : "bytes";
    rows.push_back({name, of, bytes(link.bytes.in), bytes(link.bytes.out), bytes(link.bytes.dropped),
                    bytes(link.bytes.dead), bytes(link.bytes.in_flight)});
    if (!link.records) continue;
    rows.push_back({"", "records", whole_text(link.records->in), whole_text(link.records->out),
                    whole_text(link.records->dropped), whole_text(link.records->dead),
                    whole_text(link.records->in_flight)});
  }
  std::vector<std::string> lines = table_lines(link_columns(), rows, style.columns);
  for (std::string& line : lines) line = cut(line, style.columns);
  lines[0] = in_colour("2", lines[0], style);
  return lines;
}

std::string title_of(const FlowReport& report, std::uint64_t unix_ms, const TopStyle& style) {
  const flow::FlowCounters& flow = report.counters;
  auto age = std::chrono::milliseconds(unix_ms - std::min(unix_ms, flow.started_unix_ms));
  std::string title = flow.id.substr(0, style.short_ids ? kShortIdDigits : flow.id.size());
  if (!flow.name.empty()) title += "  " + flow.name;
  title += fmt::format("  {} {} on {}{}", flow.state, format_duration(age), flow.node,
                       flow.background ? ", in the background" : "");
  return in_colour("1", cut(title + "  " + flow::on_one_line(flow.text, kTextColumns), style.columns), style);
}

// With so much of the command of the stage.
std::string bottleneck_text(const FlowReport& report, std::size_t command_columns) {
  std::size_t index = report.bottleneck->stage;
  auto place = std::ranges::find(report.counters.stages, index, &flow::StageCounters::index);
  auto at = static_cast<std::size_t>(place - report.counters.stages.begin());
  const flow::Shares shares = report.stages[at].shares.value_or(flow::Shares());
  std::string stage = fmt::format("stage {} `{}`", index + 1, flow::on_one_line(place->command, command_columns));
  switch (report.bottleneck->kind) {
    case Bottleneck::Kind::input:
      return fmt::format("the input: {} waits for it {} % of the time", stage, shares.idle);
    case Bottleneck::Kind::output:
      return fmt::format("who reads the output: {} is held back {} % of the time", stage, shares.held_back);
    case Bottleneck::Kind::stage:
      break;
  }
  if (flow::lacks_workers(report.counters, *place)) {
    bool told_apart = place->records->waiting > 0;
    std::uint64_t waiting = told_apart ? place->records->waiting : flow::bytes_on_their_way_to(report.counters, *place);
    return fmt::format("{} has no worker, and {} {}{} wait{} for one", stage, waiting, told_apart ? "record" : "byte",
                       waiting == 1 ? "" : "s", waiting == 1 ? "s" : "");
  }
  return fmt::format("{}, busy {} % of the time", stage, shares.busy);
}

// What a narrow line lacks is the end of the command, not that of the sentence.
std::string bottleneck_line(const FlowReport& report, std::size_t columns) {
  std::string line;
  for (std::size_t of_command = kStageColumns; of_command > 0; --of_command) {
    line = "  bottleneck: " + bottleneck_text(report, of_command);
    if (columns == 0 || width_of(line) <= columns) break;
  }
  return cut(line, columns);
}

}  // namespace

flow::FlowCounters counters_from(const v1::FlowCounters& message) {
  flow::FlowCounters flow{.id = message.id(),
                          .name = message.name(),
                          .text = message.text(),
                          .state = state_text(message.state()),
                          .node = message.node(),
                          .background = message.background(),
                          .started_unix_ms = message.started_unix_ms(),
                          .at = std::chrono::microseconds(message.at_us()),
                          .silent_hosts = {message.silent_hosts().begin(), message.silent_hosts().end()}};
  for (const v1::StageCounters& stage : message.stages()) flow.stages.push_back(stage_from(stage));
  for (const v1::LinkCounters& link : message.links()) flow.links.push_back(link_from(link));
  return flow;
}

std::string bottleneck_text(const FlowReport& report) {
  return report.bottleneck ? bottleneck_text(report, kStageColumns) : std::string();
}

std::vector<std::string> lines_of(const FlowReport& report, std::uint64_t unix_ms, const TopStyle& style) {
  std::vector<std::string> lines = {title_of(report, unix_ms, style)};
  std::ranges::move(stage_lines(report, style), std::back_inserter(lines));
  std::ranges::move(link_lines(report, style), std::back_inserter(lines));
  if (report.bottleneck) lines.push_back(bottleneck_line(report, style.columns));
  if (!report.counters.silent_hosts.empty())
    lines.push_back(cut(
        fmt::format("  no answer from {}: its counters are from before", fmt::join(report.counters.silent_hosts, ", ")),
        style.columns));
  return lines;
}

std::vector<std::string> head_lines(const TopSample& sample, const TopStyle& style) {
  std::set<std::string> nodes;
  for (const FlowReport& report : sample.flows)
    for (const flow::StageCounters& stage : report.counters.stages)
      nodes.insert(stage.nodes.begin(), stage.nodes.end());
  std::string head = sample.flows.empty()
                         ? "no flow runs"
                         : fmt::format("{} flow{} on {} host{}", sample.flows.size(),
                                       sample.flows.size() == 1 ? "" : "s", nodes.size(), nodes.size() == 1 ? "" : "s");
  std::vector<std::string> lines = {cut("sluice top: " + head, style.columns)};
  if (!sample.silent_nodes.empty())
    lines.push_back(
        cut(fmt::format("no answer from {}; their flows are missing here", fmt::join(sample.silent_nodes, " ")),
            style.columns));
  return lines;
}

std::string to_json(const TopSample& sample) {
  Json json = {{"time", utc(sample.unix_ms)}};
  json["flows"] = Json::array();
  for (const FlowReport& report : sample.flows) json["flows"].push_back(to_json(report));
  json["silent_nodes"] = sample.silent_nodes;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::cli
