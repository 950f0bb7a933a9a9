#include "node/metrics_page.h"

#include <fmt/format.h>

#include <deque>
#include <utility>
#include <vector>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

using Labels = std::vector<std::pair<const char*, std::string>>;

constexpr double kMicroseconds = 1e-6;
constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// All samples of one name stand together, behind its help and its type.
class Page final {
 public:
  void counter(const char* name, const char* help, const Labels& labels, double value) {
    add(name, "counter", help, labels, fmt::format("{}", value));
  }
  void counter(const char* name, const char* help, const Labels& labels, std::uint64_t value) {
    add(name, "counter", help, labels, fmt::format("{}", value));
  }
  void gauge(const char* name, const char* help, const Labels& labels, double value) {
    add(name, "gauge", help, labels, fmt::format("{}", value));
  }
  void gauge(const char* name, const char* help, const Labels& labels, std::uint64_t value) {
    add(name, "gauge", help, labels, fmt::format("{}", value));
  }

  std::string text() const {
    std::string text;
    for (const Family& family : families_)
      text += fmt::format("# HELP {} {}\n# TYPE {} {}\n{}", family.name, family.help, family.name, family.type,
                          family.samples);
    return text;
  }

 private:
  struct Family {
    std::string_view name, type, help;
    std::string samples;
  };

  void add(const char* name, const char* type, const char* help, const Labels& labels, const std::string& value) {
    auto [place, fresh] = by_name_.try_emplace(name, families_.size());
    if (fresh) families_.push_back({.name = name, .type = type, .help = help, .samples = {}});
    std::string& samples = families_[place->second].samples;
    samples += name;
    if (!labels.empty()) samples += '{';
    for (std::size_t i = 0; i < labels.size(); ++i)
      samples += fmt::format("{}{}=\"{}\"", i == 0 ? "" : ",", labels[i].first, escaped_label(labels[i].second));
    if (!labels.empty()) samples += '}';
    samples += ' ' + value + '\n';
  }

  std::deque<Family> families_;  // in the order in which they came
  std::map<std::string_view, std::size_t> by_name_;
};

void add_node(const NodeFacts& node, const v1::ReadCountersResponse& counters, Page& page) {
  page.gauge("sluice_node_info", "Which node this is, and its version.",
             {{"node", node.name}, {"id", node.id}, {"version", node.version}}, std::uint64_t{1});
  page.gauge("sluice_start_time_seconds", "When this node was started, in seconds since 1970.", {}, node.start_unix_s);
  page.gauge("sluice_uptime_seconds", "How long this node has been running.", {}, node.uptime_s);
  for (const auto& [state, count] : node.members)
    page.gauge("sluice_members", "Nodes of the cluster by state, as this node knows them.", {{"state", state}},
               std::uint64_t{count});
  page.gauge("sluice_flows_running", "Flows that this node orchestrates now.", {},
             static_cast<std::uint64_t>(counters.flows_size()) + counters.omitted());
}

void add_flow(const v1::FlowCounters& flow, Page& page) {
  page.gauge("sluice_flow_info", "A flow that runs.",
             {{"flow", flow.id()},
              {"name", flow.name()},
              {"text", flow.text()},
              {"background", flow.background() ? "true" : "false"}},
             std::uint64_t{1});
  page.gauge("sluice_flow_start_time_seconds", "When the flow was started, in seconds since 1970.",
             {{"flow", flow.id()}}, static_cast<double>(flow.started_unix_ms()) / 1000);
}

// As `sluice top` and everybody who reads numbers them: from 1.
std::string number_of(std::int64_t stage) { return std::to_string(stage + 1); }

void add_activity(const v1::Activity& activity, const Labels& labels, Page& page) {
  page.counter("sluice_stage_busy_seconds_total", "Time in which workers of the stage worked.", labels,
               static_cast<double>(activity.busy_us()) * kMicroseconds);
  page.counter("sluice_stage_idle_seconds_total", "Time in which nothing came to workers of the stage.", labels,
               static_cast<double>(activity.idle_us()) * kMicroseconds);
  page.counter("sluice_stage_held_back_seconds_total",
               "Time in which what workers of the stage had written was not taken.", labels,
               static_cast<double>(activity.held_back_us()) * kMicroseconds);
}

void add_records(const v1::RecordsMoved& records, const Labels& labels, Page& page) {
  page.counter("sluice_stage_records_read_total", "Records that the stage has read.", labels, records.read());
  page.counter("sluice_stage_records_written_total", "Records that the stage has written.", labels, records.written());
  page.counter("sluice_stage_records_dead_total", "Records that went to the dead letters.", labels, records.dead());
  page.gauge("sluice_stage_records_in_flight", "Records that the stage has read and not settled.", labels,
             records.in_flight());
  page.gauge("sluice_stage_records_waiting", "Of those in flight, the records that no worker has yet.", labels,
             records.waiting());
  if (records.has_credit())
    page.gauge("sluice_stage_credit", "How many more records the workers of the stage would take now.", labels,
               records.credit());
}

void add_stage(const v1::FlowCounters& flow, const v1::StageCounters& stage, Page& page) {
  Labels labels = {{"flow", flow.id()}, {"stage", number_of(stage.index())}};
  Labels info = labels;
  info.emplace_back("command", stage.command());
  info.emplace_back("kind", stage.kind());
  info.emplace_back("estimated", stage.estimated() ? "true" : "false");
  page.gauge("sluice_stage_info", "A stage of a flow that runs.", info, std::uint64_t{1});
  page.gauge("sluice_stage_workers", "Workers of the stage that run.", labels, std::uint64_t{stage.workers()});
  if (stage.has_activity()) add_activity(stage.activity(), labels, page);
  page.counter("sluice_stage_read_bytes_total", "Bytes that the stage has read.", labels, stage.read_bytes());
  page.counter("sluice_stage_written_bytes_total", "Bytes that the stage has written.", labels, stage.written_bytes());
  if (stage.has_records()) add_records(stage.records(), labels, page);
}

void add_link(const v1::FlowCounters& flow, const v1::LinkCounters& link, Page& page) {
  Labels labels = {{"flow", flow.id()},
                   {"from", link.from() < 0 ? "stdin" : number_of(link.from())},
                   {"to", link.to() < 0 ? "stdout" : number_of(link.to())}};
  if (link.of_errors()) labels.emplace_back("stderr", "true");
  page.counter("sluice_link_bytes_in_total", "Bytes that went into the link.", labels, link.bytes().in());
  page.counter("sluice_link_bytes_out_total", "Bytes that came out of the link.", labels, link.bytes().out());
  page.counter("sluice_link_bytes_dropped_total", "Bytes that the link has dropped.", labels, link.bytes().dropped());
  page.counter("sluice_link_bytes_dead_total", "Bytes that went to the dead letters.", labels, link.bytes().dead());
  page.gauge("sluice_link_bytes_in_flight", "Bytes that are under way in the link.", labels, link.bytes().in_flight());
  if (!link.has_records()) return;
  const v1::LinkBalance& records = link.records();
  page.counter("sluice_link_records_in_total", "Records that went into the link.", labels, records.in());
  page.counter("sluice_link_records_out_total", "Records that came out of the link and are done.", labels,
               records.out());
  page.counter("sluice_link_records_dropped_total", "Records that the link has dropped, or that were left out.", labels,
               records.dropped());
  page.counter("sluice_link_records_dead_total", "Records of the link that went to the dead letters.", labels,
               records.dead());
  page.gauge("sluice_link_records_in_flight", "Records that are under way, or with a worker that has not settled them.",
             labels, records.in_flight());
}

// How many bytes the character at the front has, if it is one (RFC 3629, section 4); 0: it is none.
std::size_t character_size(std::string_view text) {
  auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  std::size_t size = first >= 0xC2 && first <= 0xDF   ? 2
                     : (first & 0xF0) == 0xE0         ? 3
                     : first >= 0xF0 && first <= 0xF4 ? 4
                                                      : 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  bool surrogate = first == 0xED && second > 0x9F;
  bool too_large = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_large ? 0 : size;
}

}  // namespace

std::string escaped_label(std::string_view value) {
  std::string text;
  while (!value.empty()) {
    std::size_t size = character_size(value);
    if (size == 0)
      text += kReplacement;
    else if (value.front() == '\n')
      text += "\\n";
    else if (value.front() == '\\' || value.front() == '"')
      (text += '\\') += value.front();
    else
      text += value.substr(0, size);
    value.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return text;
}

std::string metrics_page(const NodeFacts& node, const v1::ReadCountersResponse& counters) {
  Page page;
  add_node(node, counters, page);
  for (const v1::FlowCounters& flow : counters.flows()) {
    add_flow(flow, page);
    for (const v1::StageCounters& stage : flow.stages()) add_stage(flow, stage, page);
    for (const v1::LinkCounters& link : flow.links()) add_link(flow, link, page);
  }
  return page.text();
}

}  // namespace sluice::node
