#include "node/plan_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/quantity.h"
#include "flow/graph.h"
#include "flow/quoting.h"
#include "node/content_hash.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kCommandColumns = 60;

std::string label_of(const v1::FlowPlan& plan, int stage) {
  if (stage < 0 || stage >= plan.stages_size()) return std::to_string(stage + 1);
  return flow::label_of(plan.stages(stage).name(), static_cast<std::size_t>(stage));
}

std::vector<std::string> describe_seats(const v1::FlowPlan& plan) {
  std::vector<std::string> lines;
  for (const v1::PlannedStage& stage : plan.stages())
    if (!stage.seats().empty())
      lines.push_back(fmt::format("{} <=> its workers on {} (two byte links each)",
                                  label_of(plan, static_cast<int>(stage.index())), stage.place()));
  return lines;
}

std::string describe_row(const v1::FlowPlan& plan) {
  std::string text = "links:";
  for (const std::string& line : describe_seats(plan)) text += " " + line + ";";
  for (const v1::PlannedLink& link : plan.links()) {
    std::string from = link.from() < 0 ? "stdin" : label_of(plan, link.from());
    std::string to = link.to() < 0 ? "stdout" : label_of(plan, link.to());
    text += fmt::format(" {} => {} ({});", from, to, link.carrier());
  }
  if (text.ends_with(':')) text += " none between hosts;";
  return text + " kernel pipes between the other stages\n";
}

std::string describe_link(const v1::FlowPlan& plan, const v1::PlannedLink& link) {
  std::string from = link.from() < 0 ? "stdin" : (link.of_errors() ? "stderr of " : "") + label_of(plan, link.from());
  std::string to = link.to() < 0 ? "stdout" : label_of(plan, link.to());
  std::string rules = link.rules().empty() ? "" : fmt::format(", {}", fmt::join(link.rules(), ", "));
  if (!link.on_one_host()) return fmt::format("{} => {}{} ({})", from, to, rules, link.carrier());
  return fmt::format("{} {} {}{}", from, link.carrier() == "records" ? "=records=>" : "->", to, rules);
}

std::string describe_links(const v1::FlowPlan& plan) {
  if (!plan.is_graph()) return describe_row(plan);
  std::vector<std::string> lines = describe_seats(plan);
  for (const v1::PlannedLink& link : plan.links()) lines.push_back(describe_link(plan, link));
  return fmt::format("links: {}\n", fmt::join(lines, "\n       "));
}

std::string describe_files(const v1::FlowPlan& plan) {
  std::string text = "ships:";
  for (const v1::ShippedFile& file : plan.ships())
    text += fmt::format("{} {} ({}{})", text.ends_with(':') ? "" : ";", file.path(), format_bytes({file.size()}),
                        file.executable() ? ", executable" : "");
  if (plan.ships().empty()) text += " nothing";
  return text + "\n";
}

}  // namespace

std::string describe_plan(const v1::FlowPlan& plan) {
  std::size_t name = 5, place = 5, reason = 3, how = 3;
  for (const v1::PlannedStage& stage : plan.stages()) {
    name = std::max(name, stage.name().size());
    place = std::max(place, stage.place().size());
    reason = std::max(reason, stage.place_reason().size());
    how = std::max(how, stage.how().size());
  }
  std::string text = fmt::format("{:>{}}  {:{}}  {:{}}  {:{}}  {}\n", "STAGE", name, "WHERE", place, "WHY", reason,
                                 "HOW", how, "COMMAND");
  for (const v1::PlannedStage& stage : plan.stages())
    text += fmt::format("{:>{}}  {:{}}  {:{}}  {:{}}  {}\n", label_of(plan, static_cast<int>(stage.index())), name,
                        stage.place(), place, stage.place_reason(), reason, stage.how().empty() ? "?" : stage.how(),
                        how, flow::on_one_line(stage.command(), kCommandColumns));
  text += describe_links(plan) + describe_files(plan);
  return text + fmt::format("promise: {}\n", plan.promise());
}

std::string plan_as_json(const v1::FlowPlan& plan) {
  using Json = nlohmann::ordered_json;
  Json json;
  json["stages"] = Json::array();
  for (const v1::PlannedStage& stage : plan.stages()) {
    Json seats = Json::array();
    for (const v1::PlannedSeats& each : stage.seats())
      seats.push_back({{"node", each.node()}, {"workers", each.workers()}});
    Json entry = {{"stage", stage.index() + 1}};
    if (!stage.name().empty()) entry["name"] = stage.name();
    entry.update(Json{{"at_words", std::vector<std::string>(stage.at_words().begin(), stage.at_words().end())},
                      {"command", stage.command()},
                      {"place", stage.place()},
                      {"place_reason", stage.place_reason()},
                      {"how", stage.how()},
                      {"nodes", std::vector<std::string>(stage.node_ids().begin(), stage.node_ids().end())},
                      {"workers", stage.workers() == 0 ? Json(nullptr) : Json(stage.workers())},
                      {"seats", seats}});
    json["stages"].push_back(std::move(entry));
  }
  json["links"] = Json::array();
  for (const v1::PlannedLink& link : plan.links()) {
    Json entry = {{"from", link.from() < 0 ? Json("stdin") : Json(link.from() + 1)},
                  {"to", link.to() < 0 ? Json("stdout") : Json(link.to() + 1)},
                  {"carrier", link.carrier()}};
    if (link.of_errors()) entry["stderr"] = true;
    if (plan.is_graph()) entry["rules"] = std::vector<std::string>(link.rules().begin(), link.rules().end());
    json["links"].push_back(std::move(entry));
  }
  json["ships"] = Json::array();
  for (const v1::ShippedFile& file : plan.ships())
    json["ships"].push_back({{"path", file.path()},
                             {"bytes", file.size()},
                             {"executable", file.executable()},
                             {"sha256", ContentId::from_bytes(file.sha256()).value_or(ContentId()).hex()}});
  json["promise"] = plan.promise();
  json["problems"] = Json::array();
  for (const v1::PlanProblem& problem : plan.problems())
    json["problems"].push_back({{"stage", problem.stage() + 1}, {"message", problem.message()}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::node
