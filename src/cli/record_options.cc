#include "cli/record_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "base/quantity.h"
#include "base/spelling.h"
#include "flow/graph_wiring.h"
#include "flow/plan.h"

namespace sluice::cli {
namespace {

using Refusal = std::unexpected<std::string>;

// A record is kept whole in memory, by each who has it.
constexpr std::uint64_t kRecordBytesMax = std::uint64_t{1} << 30;
constexpr double kRateMax = 1e9;

const std::vector<std::string> kOnLossNames = {"fail", "continue"};
constexpr const char* kNames[] = {"--max-record",  "--on-loss", "--rate",  "--retries",
                                  "--dead-letter", "--joblog",  "--resume"};

// "100", "2.5/s", "600/m", "36k/h" would be too clever: plain numbers, and the unit of time.
std::expected<double, std::string> read_rate(const std::string& text) {
  auto refuse = [&] {
    return Refusal(fmt::format(
        "run: --rate {}: records a second, a minute or an hour, more than 0: 100, 2.5/s, 600/m, 50/h", text));
  };
  double count = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  double seconds = unit.empty() || unit == "/s" ? 1 : unit == "/m" ? 60 : unit == "/h" ? 3600 : 0;
  if (error != std::errc() || seconds == 0 || !(count > 0) || count / seconds > kRateMax) return refuse();
  return count / seconds;
}

bool has_each(const flow::FlowGraph& graph) {
  return std::ranges::any_of(graph.stages, [](const flow::Stage& stage) { return stage.words.each.has_value(); });
}
bool has_map(const flow::FlowGraph& graph) {
  return std::ranges::any_of(graph.stages, [](const flow::Stage& stage) { return stage.words.map; });
}
bool has_worker(const flow::FlowGraph& graph) {
  return std::ranges::any_of(graph.stages, [](const flow::Stage& stage) { return stage.words.worker; });
}

}  // namespace

void RecordOptionReader::add_to(CLI::App& app) {
  const char* group = "Stages that take records";
  auto add = [&](const char* name, std::string& value, const char* meaning, const char* type) {
    app.add_option(name, value, meaning)->type_name(type)->group(group);
  };
  add("--max-record", record_max_, "the longest record (64M); a longer one ends the flow", "SIZE");
  add("--on-loss", on_loss_, "what a worker that a signal ends means for the flow (fail)", "fail|continue");
  add("--rate", rate_, "records into the first such stage, at most: 100, 2.5/s, 600/m", "N[/s|/m|/h]");
  add("--retries", retries_, "how often a record of @each or @map that failed is tried again (0)", "N");
  add("--dead-letter", dead_letters_, "where records of those go that failed for good, as JSON lines", "FILE");
  add("--joblog", job_log_, "a line for each record of @each that is over", "FILE");
  app.add_flag("--resume", resume_, "skip what the job log has as done")->group(group);
}

std::expected<RecordOptions, std::string> RecordOptionReader::read(const CLI::App& app) const {
  RecordOptions options{.dead_letters = dead_letters_, .job_log = job_log_, .resume = resume_};
  for (const char* name : kNames)
    if (app.count(name) > 0) options.given.emplace_back(name);
  if (!record_max_.empty()) {
    auto size = parse_byte_count(record_max_);
    if (!size) return Refusal("run: --max-record: " + size.error());
    options.record_bytes_max = size->value;
  }
  if (options.record_bytes_max < 1 || options.record_bytes_max > kRecordBytesMax)
    return Refusal(fmt::format("run: --max-record: from 1 byte to 1G, and it is {}", record_max_));
  if (!on_loss_.empty()) {
    if (std::ranges::find(kOnLossNames, on_loss_) == kOnLossNames.end())
      return Refusal(fmt::format("run: --on-loss={} is unknown{}; one of: {}", on_loss_,
                                 did_you_mean(on_loss_, kOnLossNames), fmt::join(kOnLossNames, " ")));
    options.losses_allowed = on_loss_ == kOnLossNames[1];
  }
  if (!rate_.empty()) {
    auto rate = read_rate(rate_);
    if (!rate) return Refusal(rate.error());
    options.rate = *rate;
  }
  if (!retries_.empty()) {
    auto [end, error] = std::from_chars(retries_.data(), retries_.data() + retries_.size(), options.retries);
    if (error != std::errc() || end != retries_.data() + retries_.size() || options.retries > flow::kRetriesMax)
      return Refusal(fmt::format("run: --retries {}: a number from 0 to {}", retries_, flow::kRetriesMax));
  }
  if (resume_ && job_log_.empty())
    return Refusal("run: --resume goes on where a job log says that an earlier run was; name it: --joblog FILE");
  return options;
}

node::RecordSettings record_settings(const RecordOptions& options) {
  return {.record_max = options.record_bytes_max,
          .rate = options.rate,
          .retries = options.retries,
          .dead_letters = options.dead_letters,
          .job_log = options.job_log,
          .resume = options.resume};
}

std::optional<std::string> without_use(const RecordOptions& options, const flow::FlowGraph& graph) {
  if (options.given.empty()) return std::nullopt;
  bool records =
      std::ranges::any_of(graph.stages, [](const flow::Stage& stage) { return flow::takes_records(stage.words); });
  // Where links of a file meet, its stages' records are told apart.
  bool length_alone = options.given.size() == 1 && options.given.front() == "--max-record";
  if (!records && !(length_alone && !flow::wire(graph).junctions.empty()))
    return fmt::format("run: {}: no stage takes records, as those of @x4, @map and @each do; leave it out",
                       options.given.front());
  auto given = [&](const char* name) { return std::ranges::find(options.given, name) != options.given.end(); };
  auto spreads = [](const flow::Stage& stage) { return flow::mode_of(stage.words) == flow::RecordMode::spread; };
  if (given("--on-loss") && std::ranges::none_of(graph.stages, spreads))
    return "run: --on-loss: no stage is one of many workers alone (@x4); what a lost worker of @map, @each or a "
           "library had in hand runs again whatever it says; leave it out";
  for (const char* name : {"--retries", "--dead-letter"})
    if (given(name) && !has_each(graph) && !has_map(graph) && !has_worker(graph))
      return fmt::format(
          "run: {}: no stage tells which record has failed, as those of @each, @map and workers do; leave it out",
          name);
  for (const char* name : {"--joblog", "--resume"})
    if (given(name) && !has_each(graph))
      return fmt::format("run: {}: no stage has a process for each record (@each) that could be logged; leave it out",
                         name);
  auto each_stages = std::ranges::count_if(graph.stages, [](const flow::Stage& s) { return s.words.each.has_value(); });
  if (!options.job_log.empty() && each_stages > 1)
    return "run: --joblog: the flow has several stages of @each, and a job log counts the records of one; give it to a "
           "flow with one of them";
  return std::nullopt;
}

}  // namespace sluice::cli
