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
    case LinkCarrier::junction:
      return "junction";
    case LinkCarrier::byte_link:
      return "byte_link";
  }
  return "unknown";
}

std::vector<std::size_t> stages_that_write_stdout(const Plan& plan) {
  if (plan.wiring.writes_stdout) return {*plan.wiring.writes_stdout};
  std::vector<std::size_t> stages;
  for (const Junction& junction : plan.wiring.junctions)
    for (const Junction::Path& path : junction.paths)
      if (!junction.outputs[path.output].stage) stages.push_back(junction.inputs[path.input].stage);
  return stages;
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
    if (!stage.name.empty()) entry["name"] = stage.name;
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
    if (link.link.of_errors) entry["stderr"] = true;
    if (link.link.slow.kind == SlowPolicy::Kind::drop) entry["slow"] = "drop";
    if (link.link.slow.kind == SlowPolicy::Kind::spill) {
      entry["slow"] = "spill";
      entry["spill_bytes"] = link.link.slow.spill_max.value;
    }
    json["links"].push_back(std::move(entry));
  }
  json["stdin"] = plan.wiring.reads_stdin ? Json(*plan.wiring.reads_stdin + 1) : Json();
  json["stdout"] = Json::array();
  for (std::size_t stage : stages_that_write_stdout(plan)) json["stdout"].push_back(stage + 1);
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
