#include "node/flow_messages.h"

#include <algorithm>

#include "flow/stall_watch.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

v1::StageText::Restart restart_message(flow::Restart restart) {
  switch (restart) {
    case flow::Restart::never:
      return v1::StageText::RESTART_NEVER;
    case flow::Restart::on_failure:
      return v1::StageText::RESTART_ON_FAILURE;
    case flow::Restart::always:
      break;
  }
  return v1::StageText::RESTART_ALWAYS;
}

flow::Restart restart_from(v1::StageText::Restart restart) {
  if (restart == v1::StageText::RESTART_ALWAYS) return flow::Restart::always;
  return restart == v1::StageText::RESTART_ON_FAILURE ? flow::Restart::on_failure : flow::Restart::never;
}

}  // namespace

namespace {

constexpr std::pair<std::string_view, flow::RecordFraming> kFramings[] = {{"@lines", flow::RecordFraming::lines},
                                                                          {"@null", flow::RecordFraming::null},
                                                                          {"@json", flow::RecordFraming::json},
                                                                          {"@len", flow::RecordFraming::len}};

std::string framing_word(const std::optional<flow::RecordFraming>& framing) {
  for (const auto& [word, known] : kFramings)
    if (framing == known) return std::string(word);
  return {};
}

// Nothing: lines, or a word that is none.
std::optional<flow::RecordFraming> framing_from(std::string_view word) {
  for (const auto& [known, framing] : kFramings)
    if (word == known) return framing;
  return std::nullopt;
}

v1::Slow slow_message(const flow::SlowPolicy& slow) {
  v1::Slow message;
  if (slow.kind == flow::SlowPolicy::Kind::drop) message.set_policy(v1::Slow::POLICY_DROP);
  if (slow.kind == flow::SlowPolicy::Kind::spill) message.set_policy(v1::Slow::POLICY_SPILL);
  message.set_spill_bytes_max(slow.spill_max.value);
  return message;
}

}  // namespace

flow::SlowPolicy slow_from(const v1::Slow& message) {
  flow::SlowPolicy slow{.spill_max = {message.spill_bytes_max()}};
  if (message.policy() == v1::Slow::POLICY_DROP) slow.kind = flow::SlowPolicy::Kind::drop;
  if (message.policy() == v1::Slow::POLICY_SPILL) slow.kind = flow::SlowPolicy::Kind::spill;
  return slow;
}

bool takes_records(const v1::StageText& text) { return text.worker() || !text.record_words().empty(); }

std::string kind_of(const v1::StageText& text) {
  if (text.worker()) return "worker";
  for (const std::string& word : text.record_words()) {
    if (word == "@map") return "map";
    if (word == "@each" || word.starts_with("@each=")) return "each";
  }
  return text.record_words().empty() ? "filter" : "spread";
}

void to_message(const flow::Stage& stage, std::size_t index, v1::StageText& text) {
  text.set_command(stage.command);
  if (stage.plain_words)
    for (const std::string& word : *stage.plain_words) text.add_plain_words(word);
  text.set_first_word_quoted(stage.first_word_quoted);
  text.set_without_shell(stage.without_shell);
  text.set_shell_text(stage.shell_text);
  text.set_error_joins_output(stage.error_joins_output);
  text.set_index(static_cast<std::uint32_t>(index));
  text.set_name(stage.name);
  text.set_share(stage.share);
  text.set_reads_stdin(stage.reads_stdin);
  if (!flow::takes_records(stage.words)) return text.set_framing(framing_word(stage.words.framing));
  text.set_worker(stage.words.worker);
  text.set_role(stage.words.role);
  text.set_concurrency(stage.concurrency);
  text.set_restart(restart_message(stage.restart));
  for (const std::string& word : stage.words.written)
    if (flow::is_record_word(word)) text.add_record_words(word);
  if (stage.retries) text.set_retries(*stage.retries);
  if (stage.records_per_second) text.set_records_per_second(*stage.records_per_second);
}

std::optional<flow::Stage> stage_from(const v1::StageText& text) {
  bool by_hand_alone = text.plain_words().empty() && text.shell_text().empty();
  if (by_hand_alone && text.role().empty()) return std::nullopt;
  flow::Stage stage{.name = text.name(),
                    .command = text.command(),
                    .first_word_quoted = text.first_word_quoted(),
                    .without_shell = text.without_shell(),
                    .shell_text = text.shell_text(),
                    .error_joins_output = text.error_joins_output(),
                    .share = text.share(),
                    .reads_stdin = text.reads_stdin(),
                    .number = text.index()};
  if (!text.plain_words().empty()) stage.plain_words.emplace(text.plain_words().begin(), text.plain_words().end());
  if (stage.without_shell && !stage.plain_words) return std::nullopt;
  std::vector<std::string> words(text.record_words().begin(), text.record_words().end());
  // Of a worker the order is a key of its file, and no @ word.
  bool ordered = text.worker() && std::erase(words, "@ordered") > 0;
  auto read = flow::read_stage_words(words, {});
  if (!read) return std::nullopt;
  stage.words = *std::move(read);
  stage.words.worker = text.worker();
  stage.words.role = text.role();
  stage.words.by_hand_alone = by_hand_alone;
  stage.words.ordered = stage.words.ordered || ordered;
  stage.concurrency = text.concurrency();
  stage.restart = restart_from(text.restart());
  if (!words.empty() && !flow::takes_records(stage.words)) return std::nullopt;
  if (text.has_retries()) stage.retries = text.retries();
  if (text.has_records_per_second()) stage.records_per_second = text.records_per_second();
  if (!text.framing().empty()) stage.words.framing = framing_from(text.framing());
  return stage;
}

std::string title_of(const v1::StageText& text) { return flow::title_of_stage(text.name(), text.index()); }

void to_message(const flow::Link& link, v1::StageLink& message) {
  message.set_from(static_cast<std::uint32_t>(link.from));
  message.set_to(static_cast<std::uint32_t>(link.to));
  message.set_of_errors(link.of_errors);
  if (link.slow.kind != flow::SlowPolicy::Kind::block) *message.mutable_slow() = slow_message(link.slow);
}

flow::Link link_from(const v1::StageLink& message) {
  return {
      .from = message.from(), .to = message.to(), .of_errors = message.of_errors(), .slow = slow_from(message.slow())};
}

std::expected<flow::FlowGraph, std::string> graph_from(const v1::RunStart& start) {
  flow::FlowGraph graph;
  for (const v1::StageRequest& request : start.stages()) {
    auto stage = stage_from(request.text());
    if (!stage) return std::unexpected("a stage without a command");
    stage->number.reset();
    graph.stages.push_back(*std::move(stage));
  }
  if (start.links().empty()) graph.links = flow::links_of_row(graph.stages.size());
  for (const v1::StageLink& message : start.links()) {
    flow::Link link = link_from(message);
    bool same = std::ranges::any_of(graph.links, [&](const flow::Link& other) {
      return other.from == link.from && other.to == link.to && other.of_errors == link.of_errors;
    });
    if (link.from >= link.to || link.to >= graph.stages.size() || same)
      return std::unexpected("a link that does not lead on to a later stage, or stands there twice");
    graph.links.push_back(link);
  }
  return graph;
}

void set_framing(const flow::Stage& from, v1::PartStream& stream) {
  stream.set_framing(framing_word(from.words.framing));
}

void to_message(const flow::LinkSummary& link, v1::LinkCount& message) {
  message.set_from(link.from);
  message.set_to(link.to);
  message.set_of_errors(link.of_errors);
  *message.mutable_slow() = slow_message({.kind = link.slow, .spill_max = {}});
  message.set_bytes(link.bytes);
  if (link.records) message.set_records(*link.records);
  message.set_dropped(link.dropped);
  message.set_spilled_bytes_max(link.spilled_most);
}

flow::LinkSummary link_summary_from(const v1::LinkCount& message) {
  flow::LinkSummary link{.from = message.from(),
                         .to = message.to(),
                         .of_errors = message.of_errors(),
                         .slow = slow_from(message.slow()).kind,
                         .bytes = message.bytes(),
                         .dropped = message.dropped(),
                         .spilled_most = message.spilled_bytes_max()};
  if (message.has_records()) link.records = message.records();
  return link;
}

void to_message(const flow::StallParty& party, v1::WaitingParty& message) {
  using Waits = flow::StallParty::Waits;
  if (party.waits == Waits::one) message.set_kind(v1::WaitingParty::KIND_ONE);
  if (party.waits == Waits::all) message.set_kind(v1::WaitingParty::KIND_ALL);
  for (const flow::StallParty::Other& other : party.others) {
    message.add_others()->set_party(static_cast<std::uint32_t>(other.party));
    message.mutable_others()->rbegin()->set_why(other.why);
  }
  message.set_joins(party.joins);
  message.set_moved(party.moved);
  message.set_advice(party.advice);
  message.set_suspicion(party.suspicion);
}

flow::Stage stage_elsewhere(const v1::PartStream& stream, bool is_input) {
  flow::Stage stage{.name = stream.far_name(), .elsewhere = true};
  if (is_input && stream.has_from()) stage.number = stream.from();
  if (!is_input && stream.has_to()) stage.number = stream.to();
  if (is_input) stage.words.framing = framing_from(stream.framing());
  return stage;
}

void to_message(const flow::Stage& stage, std::size_t index, v1::StageRequest& request) {
  using Kind = flow::Whereabouts::Kind;
  to_message(stage, index, *request.mutable_text());
  v1::Whereabouts& where = *request.mutable_where();
  switch (stage.words.where.kind) {
    case Kind::beside_neighbour:
      where.set_kind(v1::Whereabouts::KIND_BESIDE_NEIGHBOUR);
      break;
    case Kind::here:
      where.set_kind(v1::Whereabouts::KIND_HERE);
      break;
    case Kind::every_node:
      where.set_kind(v1::Whereabouts::KIND_EVERY_NODE);
      break;
    case Kind::node:
      where.set_kind(v1::Whereabouts::KIND_NODE);
      break;
    case Kind::label:
      where.set_kind(v1::Whereabouts::KIND_LABEL);
      break;
  }
  where.set_node(stage.words.where.node);
  for (const auto& [key, value] : stage.words.where.labels) (*where.mutable_labels())[key] = value;
  for (const std::string& word : stage.words.written) request.add_at_words(word);
}

flow::Whereabouts whereabouts_from(const v1::StageRequest& request) {
  using Kind = flow::Whereabouts::Kind;
  flow::Whereabouts where{.node = request.where().node()};
  switch (request.where().kind()) {
    case v1::Whereabouts::KIND_HERE:
      where.kind = Kind::here;
      break;
    case v1::Whereabouts::KIND_EVERY_NODE:
      where.kind = Kind::every_node;
      break;
    case v1::Whereabouts::KIND_NODE:
      where.kind = Kind::node;
      break;
    case v1::Whereabouts::KIND_LABEL:
      where.kind = Kind::label;
      break;
    default:
      where.kind = Kind::beside_neighbour;
      break;
  }
  for (const auto& [key, value] : request.where().labels()) where.labels.emplace_back(key, value);
  return where;
}

flow::StageNeeds needs_from(const v1::StageRequest& request, const v1::RecordRules& rules) {
  flow::StageNeeds needs{.where = whereabouts_from(request)};
  auto stage = stage_from(request.text());
  if (!stage || !flow::takes_records(stage->words)) return needs;
  needs.workers = stage->words.by_hand_alone ? 0 : stage->words.workers.value_or(1);
  needs.spreads = stage->words.workers.has_value();
  needs.joins = !stage->words.role.empty();
  needs.runs_again = stage->words.map || stage->words.each || stage->words.worker;
  needs.home_here = rules.files_here() && needs.runs_again;
  return needs;
}

void to_message(const exec::Exited& exited, std::uint32_t stage, v1::Exited& message) {
  message.set_stage(stage);
  message.set_wait_status(exited.wait_status);
  message.set_reader_done(exited.output_reader != exec::Reader::open);
  message.set_cpu_us(exited.user_us + exited.system_us);
  message.set_peak_memory_bytes(exited.peak_memory_bytes);
  message.set_io_known(exited.io_known);
  message.set_io_read_bytes(exited.io_read_bytes);
  message.set_io_write_bytes(exited.io_write_bytes);
}

flow::StageEnd stage_end_from(const v1::Exited& exited) {
  return {.status = exec::ProcessStatus::from_wait(exited.wait_status()), .reader_done = exited.reader_done()};
}

std::vector<flow::Straggler> stragglers_from(const v1::SurveyResult& survey) {
  std::vector<flow::Straggler> stragglers;
  for (const v1::Stray& stray : survey.strays())
    stragglers.push_back({.pid = stray.pid(), .name = stray.name(), .drains_pipe = stray.drains_pipe()});
  return stragglers;
}

namespace {
constexpr std::pair<std::string_view, flow::PipefailRule> kRules[] = {{"lenient", flow::PipefailRule::lenient},
                                                                      {"strict", flow::PipefailRule::strict},
                                                                      {"last", flow::PipefailRule::last}};
}  // namespace

std::string_view pipefail_name(flow::PipefailRule rule) {
  for (const auto& [name, known] : kRules)
    if (known == rule) return name;
  return "lenient";
}

std::optional<flow::PipefailRule> pipefail_from(std::string_view name) {
  if (name.empty()) return flow::PipefailRule::lenient;
  for (const auto& [known, rule] : kRules)
    if (name == known) return rule;
  return std::nullopt;
}

void fill_end(const flow::DistributedRun& run, v1::FlowEnded& ended) {
  switch (run.end()) {
    case flow::DistributedEnd::completed:
      ended.set_end(v1::FlowEnded::END_COMPLETED);
      break;
    case flow::DistributedEnd::timed_out:
      ended.set_end(v1::FlowEnded::END_TIMED_OUT);
      break;
    case flow::DistributedEnd::signalled:
      ended.set_end(v1::FlowEnded::END_SIGNALLED);
      break;
    case flow::DistributedEnd::not_started:
      ended.set_end(v1::FlowEnded::END_NOT_STARTED);
      break;
    case flow::DistributedEnd::link_lost:
      ended.set_end(v1::FlowEnded::END_LINK_LOST);
      break;
  }
  ended.set_status(run.status());
  ended.set_signal(run.signal());
  ended.set_message(run.message());
}

}  // namespace sluice::node
