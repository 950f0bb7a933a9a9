#include "node/flow_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"
#include "flow/distributed_run.h"
#include "flow/plan.h"
#include "node/flow_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::uint64_t kSlowestShipping = std::uint64_t{256} << 10;  // bytes a second
constexpr int kRefusedStatus = 125;
constexpr std::size_t kLinksMax = 4096;
constexpr int kStagesMax = kLinksMax;

void add_problem(v1::FlowPlan& plan, std::size_t stage, int status, const std::string& message) {
  v1::PlanProblem& problem = *plan.add_problems();
  problem.set_stage(static_cast<std::uint32_t>(stage));
  problem.set_status(status);
  problem.set_message(message);
}

}  // namespace

std::expected<void, std::string> check_request(const v1::RunStart& start) {
  if (start.stages().empty()) return std::unexpected("a flow without a stage");
  if (start.stages_size() > kStagesMax)
    return std::unexpected(fmt::format("a flow of {} stages; at most {} are allowed", start.stages_size(), kStagesMax));
  for (const v1::StageRequest& stage : start.stages())
    if (!stage_from(stage.text())) return std::unexpected("a stage without a command");
  if (!pipefail_from(start.pipefail()))
    return std::unexpected(fmt::format("pipefail '{}' is unknown", start.pipefail()));
  return {};
}

FlowLayout::FlowLayout(const v1::RunStart& start, FlowWorld world) : start_(start), world_(std::move(world)) {}

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
      wanted, {.nodes = world_.nodes, .gone = world_.gone, .home = world_.self, .client_name = start_.client_name()});
  if (!world_.has_client || here_on_node_) put_here_on_node();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto& problems = start_.stages(static_cast<int>(i)).ship_problems();
    bool elsewhere = std::ranges::any_of(places_[i].hosts, [](const flow::Host& host) { return host.has_value(); });
    elsewhere = elsewhere || !places_[i].seats.empty();
    if (elsewhere && !problems.empty() && places_[i].problem.empty()) places_[i].problem = problems[0];
    if (!world_.has_client && (wanted[i].workers > 0 || wanted[i].joins) && places_[i].problem.empty())
      places_[i].problem =
          "a stage that takes records, in a flow in the background, which this version does not have yet; run it in "
          "the "
          "foreground";
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
    if (!places_[i].problem.empty()) return fmt::format("stage {}: {}", i + 1, places_[i].problem);
  return {};
}

void FlowLayout::make_parts() {
  graph_ = flow::make_parts(places_, {.client_input = world_.has_client && !start_.no_input(),
                                      .client_output = world_.has_client && !start_.no_output()});
  std::string client = start_.client_name().empty() ? "the client" : start_.client_name();
  for (const flow::Part& part : graph_.parts) host_names_.push_back(part.host ? name_of(*part.host) : client);
}

bool FlowLayout::has_room_for_seat() const { return graph_.links.size() + 2 <= kLinksMax; }

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

bool FlowLayout::needs_only_this_host() const {
  return graph_.links.empty() && graph_.parts.size() == 1 && graph_.parts[0].host == flow::Host(world_.self);
}

// --- the plan, for the user ---------------------------------------------------------------------------------------

void FlowLayout::set_how(const v1::StageHow& how) { hows_[how.index()] = how; }

v1::FlowPlan FlowLayout::plan(const FlowId& id) const {
  v1::FlowPlan plan;
  plan.set_flow_id(id.text());
  for (std::size_t i = 0; i < places_.size(); ++i) plan_stage(i, plan);
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
  for (const std::string& word : request.at_words()) stage.add_at_words(word);
  stage.set_place(place.place);
  stage.set_place_reason(place.reason);
  for (const flow::Host& host : place.hosts)
    if (host && place.seats.empty()) stage.add_node_ids(host->text());
  for (const flow::SeatChoice& seat : place.seats)
    if (seat.host) stage.add_node_ids(seat.host->text());
  if (!place.problem.empty())
    add_problem(plan, index, kRefusedStatus, fmt::format("stage {}: {}", index + 1, place.problem));
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
    if (stage) stages.push_back({.mode = flow::mode_of(stage->words), .ordered = stage->words.ordered});
  }
  return flow::promise_of(stages, {.losses_allowed = start_.records().losses_allowed(),
                                   .has_dead_letters = start_.records().has_dead_letters(),
                                   .over_hosts = true});
}

void FlowLayout::plan_links(v1::FlowPlan& plan) const {
  for (const flow::PartLink& link : graph_.links) {
    if (link.of_seat) continue;
    v1::PlannedLink& planned = *plan.add_links();
    const flow::Part& from = graph_.parts[link.from];
    const flow::Part& to = graph_.parts[link.to];
    planned.set_from(from.stages.empty() ? -1 : static_cast<int>(from.stages.back()));
    planned.set_to(to.stages.empty() ? -1 : static_cast<int>(to.stages.front()));
    planned.set_carrier(carrier_of(link));
  }
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
  for (std::size_t stage : part.stages) *prepare.add_stages() = start_.stages(static_cast<int>(stage)).text();
  if (part.seats_of) *prepare.add_stages() = start_.stages(static_cast<int>(*part.seats_of)).text();
  prepare.set_hosts_seats(part.seats_of.has_value());
  *prepare.mutable_records() = start_.records();
  if (!has_first_records(part)) prepare.mutable_records()->clear_rate();
  for (std::size_t link : part.inputs)
    prepare.add_input_marks(marks_input(part) ? host_names_[graph_.links[link].from] + ": " : "");
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
  return prepare;
}

// The tap of the flow, whose rate is limited.
bool FlowLayout::has_first_records(const flow::Part& part) const {
  for (int stage = 0; stage < start_.stages_size(); ++stage)
    if (takes_records(start_.stages(stage).text()))
      return std::ranges::find(part.stages, static_cast<std::size_t>(stage)) != part.stages.end();
  return false;
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

bool FlowLayout::marks_input(const flow::Part& part) const {
  return marks_lines_of_all() && std::ranges::any_of(part.inputs, [&](std::size_t link) {
           const flow::Part& from = graph_.parts[graph_.links[link].from];
           return !from.stages.empty() && from.stages.front() == 0;
         });
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
