#include "node/flow_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"
#include "flow/distributed_run.h"
#include "flow/graph_wiring.h"
#include "flow/plan.h"
#include "flow/plan_links.h"
#include "node/flow_messages.h"
#include "node/part_launch.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::uint64_t kSlowestShipping = std::uint64_t{256} << 10;  // bytes a second
constexpr int kRefusedStatus = 125;
constexpr std::size_t kLinksMax = 4096;
constexpr int kStagesMax = kLinksMax;
// ... with those of all workers that have ever joined, which stay known.
constexpr std::size_t kLinksOfLifeMax = 65'536;

void add_problem(v1::FlowPlan& plan, std::size_t stage, int status, const std::string& message) {
  v1::PlanProblem& problem = *plan.add_problems();
  problem.set_stage(static_cast<std::uint32_t>(stage));
  problem.set_status(status);
  problem.set_message(message);
}

}  // namespace

std::expected<void, std::string> check_request(const v1::RunStart& start) {
  if (start.stages().empty()) return std::unexpected("a flow without a stage");
  bool writes_files = start.records().files_here() || start.records().has_dead_letters();
  if (start.background() && writes_files)
    return std::unexpected(
        "dead letters and a job log are files of the client's, and a flow in the background has no client; run it in "
        "the foreground");
  if (start.stages_size() > kStagesMax)
    return std::unexpected(fmt::format("a flow of {} stages; at most {} are allowed", start.stages_size(), kStagesMax));
  if (start.links_size() > kStagesMax)
    return std::unexpected(fmt::format("a flow of {} links; at most {} are allowed", start.links_size(), kStagesMax));
  if (auto graph = graph_from(start); !graph) return std::unexpected(graph.error());
  if (!pipefail_from(start.pipefail()))
    return std::unexpected(fmt::format("pipefail '{}' is unknown", start.pipefail()));
  return {};
}

FlowLayout::FlowLayout(const v1::RunStart& start, FlowWorld world) : start_(start), world_(std::move(world)) {
  if (auto graph = graph_from(start)) flow_ = *std::move(graph);
}

FlowLayout::~FlowLayout() = default;

// --- placing ------------------------------------------------------------------------------------------------------

bool FlowLayout::shares_workers() const {
  return std::ranges::any_of(start_.stages(), [this](const v1::StageRequest& stage) {
    auto needs = needs_from(stage, start_.records());
    return needs.spreads || (needs.joins && needs.workers > 0);
  });
}

void FlowLayout::place_stages() {
  std::vector<flow::StageNeeds> wanted;
  for (const v1::StageRequest& stage : start_.stages()) wanted.push_back(needs_from(stage, start_.records()));
  places_ = flow::place_stages(
      flow_, wanted,
      {.nodes = world_.nodes, .gone = world_.gone, .home = world_.self, .client_name = start_.client_name()});
  if (!world_.has_client || here_on_node_) put_here_on_node();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto& problems = start_.stages(static_cast<int>(i)).ship_problems();
    bool elsewhere = std::ranges::any_of(places_[i].hosts, [](const flow::Host& host) { return host.has_value(); });
    elsewhere = elsewhere || !places_[i].seats.empty();
    if (elsewhere && !problems.empty() && places_[i].problem.empty()) places_[i].problem = problems[0];
    bool links_errors =
        std::ranges::any_of(flow_.links, [i](const flow::Link& link) { return link.from == i && link.of_errors; });
    bool spreads = !places_[i].seats.empty() && !wanted[i].runs_again;
    if (spreads && links_errors && places_[i].problem.empty())
      places_[i].problem =
          "its workers go over several nodes, and a link from the stderr of such a stage is not there yet; place it on "
          "one node with 'on', or make it 'map' or 'each'";
  }
}

// Without a client that could run something, "here" is the node that was asked.
void FlowLayout::put_here_on_node() {
  for (flow::StagePlace& place : places_)
    for (flow::Host& host : place.hosts)
      if (!host) {
        host = world_.self;
        if (place.seats.empty()) place.place = name_of(*host);
      }
  for (std::size_t i = 0; i < places_.size(); ++i) {
    flow::StagePlace& place = places_[i];
    bool may_join = !start_.stages(static_cast<int>(i)).text().role().empty();
    if (!may_join && place.seats.size() == 1 && place.seats.front().host == place.hosts.front()) place.seats.clear();
  }
}

bool FlowLayout::placed() const {
  return std::ranges::all_of(places_, [](const flow::StagePlace& place) { return place.problem.empty(); });
}

std::string FlowLayout::first_problem() const {
  for (std::size_t i = 0; i < places_.size(); ++i)
    if (!places_[i].problem.empty()) return fmt::format("{}: {}", title_of(i), places_[i].problem);
  return {};
}

std::string FlowLayout::title_of(std::size_t stage) const {
  return flow::title_of_stage(flow_.stages[stage].name, stage);
}

std::vector<std::string> FlowLayout::stage_names() const {
  std::vector<std::string> names;
  for (const flow::Stage& stage : flow_.stages) names.push_back(stage.name);
  return names;
}

void FlowLayout::make_parts() {
  graph_ = flow::make_parts(flow_, places_,
                            {.client_input = world_.has_client && !start_.no_input(),
                             .client_output = world_.has_client && !start_.no_output()});
  std::string client = start_.client_name().empty() ? "the client" : start_.client_name();
  for (const flow::Part& part : graph_.parts) host_names_.push_back(part.host ? name_of(*part.host) : client);
  for (const flow::Part& part : graph_.parts) moves_records_.push_back(moves_records(part));
}

bool FlowLayout::has_room_for_seat() const { return graph_.links.size() + 2 <= kLinksOfLifeMax; }

FlowLayout::JoinedSeat FlowLayout::add_seat(std::size_t stage, const NodeId& node) {
  auto home = std::ranges::find_if(
      graph_.parts, [&](const flow::Part& part) { return std::ranges::find(part.stages, stage) != part.stages.end(); });
  REQUIRE(home != graph_.parts.end() && has_room_for_seat());
  JoinedSeat joined{.part = graph_.parts.size(), .home = static_cast<std::size_t>(home - graph_.parts.begin())};
  flow::Seat seat{.stage = stage, .requests = graph_.links.size(), .replies = graph_.links.size() + 1};
  graph_.links.push_back({.from = joined.home, .to = joined.part, .of_seat = true});
  graph_.links.push_back({.from = joined.part, .to = joined.home, .of_seat = true});
  graph_.parts.push_back(
      {.host = node, .stages = {}, .seats = {seat}, .seats_of = stage, .runs_again = true, .joined = true});
  host_names_.push_back(name_of(node));
  moves_records_.push_back(false);
  return joined;
}

std::string FlowLayout::name_of(const NodeId& node) const {
  for (const flow::NodeChoice& choice : world_.nodes)
    if (choice.id == node) return choice.name;
  return node.text().substr(0, kShortIdDigits);
}

bool FlowLayout::is_at_home(const flow::PartLink& link) const {
  flow::Host home = world_.self;
  return graph_.parts[link.from].host == home || graph_.parts[link.to].host == home;
}

bool FlowLayout::needs_relay(const flow::PartLink& link) const {
  return on_client(link.from) != on_client(link.to) && !is_at_home(link);
}

const flow::PartStream& FlowLayout::stream_with(std::size_t link) const {
  const flow::Part& from = graph_.parts[graph_.links[link].from];
  auto stream = std::ranges::find_if(from.outputs, [link](const flow::PartStream& output) {
    return std::ranges::find(output.links, link) != output.links.end();
  });
  REQUIRE(stream != from.outputs.end());
  return *stream;
}

bool FlowLayout::carries_all_of(std::size_t link, std::size_t stage) const {
  const flow::PartStream& stream = stream_with(link);
  if (stream.from != stage || (stream.link && flow_.links[*stream.link].of_errors)) return false;
  return std::ranges::count_if(flow_.links,
                               [stage](const flow::Link& each) { return each.from == stage && !each.of_errors; }) <= 1;
}

bool FlowLayout::needs_only_this_host() const {
  auto is_here = [this](const flow::Part& part) { return part.host == flow::Host(world_.self); };
  bool any_moves = std::ranges::find(moves_records_, true) != moves_records_.end();
  return graph_.links.empty() && !any_moves && std::ranges::all_of(graph_.parts, is_here);
}

// As the part's host will see it.
bool FlowLayout::moves_records(const flow::Part& part) const {
  if (part.stages.empty()) return false;
  v1::Prepare prepare;
  add_stages(part, prepare);
  add_streams(part, prepare);
  return !is_plain_row(prepare);
}

bool FlowLayout::writes_output(std::size_t stage) const {
  return std::ranges::none_of(flow_.links,
                              [stage](const flow::Link& link) { return link.from == stage && !link.of_errors; });
}

bool FlowLayout::outlives_orchestrator() const {
  flow::Host home = world_.self;
  return !world_.has_client &&
         std::ranges::none_of(graph_.parts, [&](const flow::Part& part) { return part.host == home || !part.host; });
}

// --- the plan, for the user ---------------------------------------------------------------------------------------

void FlowLayout::set_how(const v1::StageHow& how) { hows_[how.index()] = how; }

v1::FlowPlan FlowLayout::plan(const FlowId& id) const {
  v1::FlowPlan plan;
  plan.set_flow_id(id.text());
  for (std::size_t i = 0; i < places_.size(); ++i) plan_stage(i, plan);
  plan.set_is_graph(!flow::is_row(flow_.links, places_.size()));
  plan_links(plan);
  plan.set_promise(promise());
  for (const v1::ShippedFile& file : start_.files())
    if (std::ranges::any_of(graph_.parts, [&](const flow::Part& part) { return needs_file(part, file.path()); }))
      *plan.add_ships() = file;
  return plan;
}

void FlowLayout::plan_stage(std::size_t index, v1::FlowPlan& plan) const {
  v1::PlannedStage& stage = *plan.add_stages();
  const v1::StageRequest& request = start_.stages(static_cast<int>(index));
  const flow::StagePlace& place = places_[index];
  stage.set_index(static_cast<std::uint32_t>(index));
  stage.set_command(request.text().command());
  stage.set_name(request.text().name());
  for (const std::string& word : request.at_words()) stage.add_at_words(word);
  stage.set_place(place.place);
  stage.set_place_reason(place.reason);
  for (const flow::Host& host : place.hosts)
    if (host && place.seats.empty()) stage.add_node_ids(host->text());
  for (const flow::SeatChoice& seat : place.seats)
    if (seat.host) stage.add_node_ids(seat.host->text());
  if (!place.problem.empty())
    add_problem(plan, index, kRefusedStatus, fmt::format("{}: {}", title_of(index), place.problem));
  auto needs = needs_from(request, start_.records());
  stage.set_workers(needs.workers);
  for (const flow::SeatChoice& seat : place.seats) {
    v1::PlannedSeats& seats = *stage.add_seats();
    seats.set_node(name_of(*seat.host));
    seats.set_workers(seat.workers);
  }
  auto how = hows_.find(index);
  auto text = stage_from(request.text());
  if (text && text->words.by_hand_alone) return stage.set_how(flow::describe_workers(text->words) + flow::kByHand);
  if (how == hows_.end()) return;
  stage.set_how((place.seats.empty() || !text ? "" : flow::describe_workers(text->words)) + how->second.how());
  if (!how->second.problem().empty()) add_problem(plan, index, how->second.problem_status(), how->second.problem());
}

std::string FlowLayout::promise() const {
  std::vector<flow::PromisedStage> stages;
  for (const v1::StageRequest& request : start_.stages()) {
    auto stage = stage_from(request.text());
    if (!stage) continue;
    stages.push_back({.mode = flow::mode_of(stage->words),
                      .ordered = stage->words.ordered,
                      .on_every_node = request.where().kind() == v1::Whereabouts::KIND_EVERY_NODE});
  }
  return flow::promise_of(stages, {.losses_allowed = start_.records().losses_allowed(),
                                   .has_dead_letters = start_.records().has_dead_letters(),
                                   .over_hosts = true}) +
         flow::describe_exceptions(flow_);
}

// Of a row only what goes between hosts is told: the rest is known.
void FlowLayout::plan_links(v1::FlowPlan& plan) const {
  if (plan.is_graph())
    for (std::size_t i = 0; i < flow_.links.size(); ++i) plan_inner_link(i, plan);
  for (std::size_t i = 0; i < graph_.links.size(); ++i)
    if (!graph_.links[i].of_seat) *plan.add_links() = planned_link(i);
  std::stable_sort(plan.mutable_links()->begin(), plan.mutable_links()->end(),
                   [](const v1::PlannedLink& a, const v1::PlannedLink& b) { return a.from() < b.from(); });
}

v1::PlannedLink FlowLayout::planned_link(std::size_t link) const {
  const flow::PartStream& stream = stream_with(link);
  v1::PlannedLink planned;
  planned.set_from(stream.from ? static_cast<int>(*stream.from) : -1);
  planned.set_to(stream.to ? static_cast<int>(*stream.to) : -1);
  planned.set_carrier(carrier_of(graph_.links[link]));
  if (stream.link) planned.set_of_errors(flow_.links[*stream.link].of_errors);
  if (stream.link) add_rules(*stream.link, planned);
  return planned;
}

void FlowLayout::plan_inner_link(std::size_t index, v1::FlowPlan& plan) const {
  bool is_inner = std::ranges::any_of(graph_.parts, [index](const flow::Part& part) {
    return std::ranges::find(part.inner_links, index) != part.inner_links.end();
  });
  if (!is_inner) return;
  const flow::Link& link = flow_.links[index];
  bool bytes = flow::wire(flow_).plain[index] && !flow::takes_records(flow_.stages[link.from].words) &&
               !flow::takes_records(flow_.stages[link.to].words);
  v1::PlannedLink& planned = *plan.add_links();
  planned.set_from(static_cast<int>(link.from));
  planned.set_to(static_cast<int>(link.to));
  planned.set_carrier(bytes ? "kernel pipe" : "records");
  planned.set_on_one_host(true);
  planned.set_of_errors(link.of_errors);
  add_rules(index, planned);
}

void FlowLayout::add_rules(std::size_t link, v1::PlannedLink& planned) const {
  auto rules = flow::rules_of_links(flow_);
  for (const std::string& rule : rules[link]) planned.add_rules(rule);
}

// Whether two nodes reach each other is known when they have tried, and each flow tries anew: a plan can say in which order.
std::string FlowLayout::carrier_of(const flow::PartLink& link) const {
  if (needs_relay(link)) return "byte link, relayed by " + name_of(world_.self);
  if (!between_nodes(link)) return "byte link";
  std::string last = is_at_home(link) ? "the flow fails" : name_of(world_.self) + " relays";
  return fmt::format("byte link: {}, else {}, else {}", dials(link.to, link.from), dials(link.from, link.to), last);
}

std::string FlowLayout::dials(std::size_t from, std::size_t to) const {
  return fmt::format("{} dials {} ({})", host_names_[from], host_names_[to], world_.address_of(*graph_.parts[to].host));
}

// --- what the hosts are told --------------------------------------------------------------------------------------

v1::Prepare FlowLayout::prepare(const FlowId& id, std::size_t index) const {
  const flow::Part& part = graph_.parts[index];
  v1::Prepare prepare;
  prepare.set_flow_id(id.text());
  prepare.set_flow_name(start_.name());
  prepare.set_part(static_cast<std::uint32_t>(index));
  add_stages(part, prepare);
  if (part.seats_of) {
    *prepare.add_stages() = start_.stages(static_cast<int>(*part.seats_of)).text();
    prepare.mutable_stages(0)->set_index(static_cast<std::uint32_t>(*part.seats_of));
  }
  prepare.set_hosts_seats(part.seats_of.has_value());
  *prepare.mutable_records() = start_.records();
  prepare.mutable_records()->clear_rate();
  add_streams(part, prepare);
  for (const v1::ShippedFile& file : start_.files())
    if (needs_file(part, file.path())) *prepare.add_files() = file;
  prepare.set_files_node_id(start_.files_node_id().empty() ? world_.self.text() : start_.files_node_id());
  *prepare.mutable_environment() = start_.environment();
  prepare.set_shell(start_.shell());
  prepare.set_inner_pipefail(start_.inner_pipefail());
  prepare.set_account_io(start_.account_io());
  prepare.set_look_only(start_.dry_run());
  if (world_.has_client) prepare.set_progress_ms(start_.progress_ms());
  if (world_.has_client) return prepare;
  prepare.mutable_keep()->set_output_bytes_max(start_.keep_bytes_max());
  prepare.mutable_keep()->set_outlives_daemon(needs_only_this_host());
  prepare.mutable_keep()->set_outlives_orchestrator(outlives_orchestrator());
  return prepare;
}

void FlowLayout::add_stages(const flow::Part& part, v1::Prepare& prepare) const {
  for (std::size_t stage : part.stages) {
    v1::StageText& text = *prepare.add_stages();
    text = start_.stages(static_cast<int>(stage)).text();
    text.set_index(static_cast<std::uint32_t>(stage));
    if (start_.records().has_rate() && is_tap(stage) && !text.has_records_per_second())
      text.set_records_per_second(start_.records().rate());
  }
}

void FlowLayout::add_streams(const flow::Part& part, v1::Prepare& prepare) const {
  for (const flow::PartStream& stream : part.inputs) *prepare.add_inputs() = stream_of(stream, true);
  for (const flow::PartStream& stream : part.outputs) *prepare.add_outputs() = stream_of(stream, false);
  for (std::size_t link : part.inner_links) to_message(flow_.links[link], *prepare.add_links());
  if (part.reads_stdin) prepare.set_reads_stdin(static_cast<std::uint32_t>(*part.reads_stdin));
  for (std::size_t stage : part.write_stdout) prepare.add_write_stdout(static_cast<std::uint32_t>(stage));
}

v1::PartStream FlowLayout::stream_of(const flow::PartStream& stream, bool is_input) const {
  v1::PartStream message;
  if (stream.from) message.set_from(static_cast<std::uint32_t>(*stream.from));
  if (stream.to) message.set_to(static_cast<std::uint32_t>(*stream.to));
  if (auto far = is_input ? stream.from : stream.to) message.set_far_name(flow_.stages[*far].name);
  if (stream.link) {
    v1::StageLink link;
    to_message(flow_.links[*stream.link], link);
    message.set_of_errors(link.of_errors());
    if (!is_input) *message.mutable_slow() = link.slow();
  }
  if (!is_input) return message;
  if (stream.from && !message.of_errors()) set_framing(flow_.stages[*stream.from], message);
  for (std::size_t link : stream.links)
    message.add_marks(stream.from == 0 && marks_lines_of_all() ? host_names_[graph_.links[link].from] + ": " : "");
  return message;
}

// A stage that takes records, and follows none that does: its rate is that of the flow.
bool FlowLayout::is_tap(std::size_t stage) const {
  auto takes = [this](std::size_t each) { return flow::takes_records(flow_.stages[each].words); };
  if (!takes(stage)) return false;
  std::vector<bool> leads_here(stage + 1);
  leads_here[stage] = true;
  for (std::size_t before = stage + 1; before-- > 0;) {
    if (!leads_here[before]) continue;
    if (before != stage && takes(before)) return false;
    for (const flow::Link& link : flow_.links)
      if (link.to == before) leads_here[link.from] = true;
  }
  return true;
}

// The client has its own files; a stage needs them where its processes are.
bool FlowLayout::needs_file(const flow::Part& part, const std::string& path) const {
  auto names = [&](std::size_t stage) {
    const auto& ships = start_.stages(static_cast<int>(stage)).ships();
    return std::ranges::find(ships, path) != ships.end();
  };
  if (!part.host) return false;
  if (part.seats_of) return names(*part.seats_of);
  return std::ranges::any_of(part.stages,
                             [&](std::size_t stage) { return places_[stage].seats.empty() && names(stage); });
}

// The lines of @all carry their node's name when nothing else would tell whose they are.
bool FlowLayout::marks_lines_of_all() const {
  if (start_.marks() == v1::RunStart::MARKS_NEVER || !places_.front().everywhere) return false;
  return start_.marks() == v1::RunStart::MARKS_ALWAYS || places_.size() == 1;
}

bool FlowLayout::merges_errors(std::size_t part) const {
  const flow::Part& whose = graph_.parts[part];
  return whose.seats_of || (!whose.stages.empty() && places_[whose.stages.front()].everywhere);
}

std::string FlowLayout::error_mark(std::size_t part) const {
  return marks_lines_of_all() ? host_names_[part] + ": " : "";
}

Duration FlowLayout::start_time() const {
  std::uint64_t bytes = 0;
  for (const v1::ShippedFile& file : start_.files()) bytes += file.size();
  return flow::DistributedRunOptions().start_time + std::chrono::seconds(bytes / kSlowestShipping);
}

}  // namespace sluice::node
