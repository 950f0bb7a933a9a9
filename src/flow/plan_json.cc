#include <nlohmann/json.hpp>

#include "flow/plan.h"

namespace sluice::flow {
namespace {

const char* carrier_name(LinkCarrier carrier) {
  switch (carrier) {
    case LinkCarrier::kernel_pipe:
      return "kernel_pipe";
    case LinkCarrier::relay:
      return "relay";
    case LinkCarrier::records:
      return "records";
  }
  return "unknown";
}

}  // namespace

std::string to_json(const Plan& plan) {
  using Json = nlohmann::ordered_json;
  Json json;
  json["stages"] = Json::array();
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const PlannedStage& stage = plan.stages[i];
    Json entry;
    entry["stage"] = i + 1;
    entry["at_words"] = stage.at_words;
    entry["command"] = stage.command;
    entry["place"] = stage.place;
    entry["place_reason"] = stage.place_reason;
    entry["how"] = stage.how;
    entry["arguments"] = stage.program.arguments;
    if (stage.workers > 0) entry["workers"] = stage.workers;
    json["stages"].push_back(std::move(entry));
  }
  json["links"] = Json::array();
  for (const PlannedLink& link : plan.links) {
    Json entry;
    entry["from"] = link.link.from + 1;
    entry["to"] = link.link.to + 1;
    entry["carrier"] = carrier_name(link.carrier);
    json["links"].push_back(std::move(entry));
  }
  json["ships"] = Json::array();
  json["problems"] = Json::array();
  for (const PlanProblem& problem : plan.problems) {
    Json entry;
    entry["stage"] = problem.stage + 1;
    entry["message"] = problem.message;
    json["problems"].push_back(std::move(entry));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::flow
