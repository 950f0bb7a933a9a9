#include <nlohmann/json.hpp>

#include "flow/flow_drawing.h"

namespace sluice::flow {
namespace {

using Json = nlohmann::ordered_json;

const char* slow_name(SlowPolicy::Kind kind) {
  switch (kind) {
    case SlowPolicy::Kind::block:
      return "block";
    case SlowPolicy::Kind::drop:
      return "drop";
    case SlowPolicy::Kind::spill:
      return "spill";
  }
  return "unknown";
}

Json to_json(const FileStage& stage) {
  Json json = {{"name", stage.name},
               {"command", stage.stage.command},
               {"worker", stage.worker},
               {"at_words", stage.stage.words.written}};
  if (!stage.stage.words.role.empty()) json["role"] = stage.stage.words.role;
  if (stage.concurrency) json["concurrency"] = *stage.concurrency;
  if (stage.retries) json["retries"] = *stage.retries;
  if (stage.records_per_second) json["records_per_second"] = *stage.records_per_second;
  if (stage.restart != Restart::never) json["restart"] = stage.restart == Restart::always ? "always" : "on-failure";
  if (stage.share) json["share"] = true;
  if (stage.reads_stdin) json["stdin"] = true;
  return json;
}

Json to_json(const FlowFile& file, const FileLink& link) {
  Json json = {{"from", file.stages[link.from].name},
               {"to", file.stages[link.to].name},
               {"stderr", link.of_errors},
               {"slow", slow_name(link.slow.kind)}};
  if (link.slow.kind == SlowPolicy::Kind::spill) json["spill_bytes"] = link.slow.spill_max.value;
  return json;
}

}  // namespace

std::string draw_as_json(const FlowFile& file, const std::vector<FileMistake>& problems) {
  Json json = {{"name", file.name.empty() ? Json(nullptr) : Json(file.name)},
               {"stages", Json::array()},
               {"links", Json::array()},
               {"problems", Json::array()}};
  for (const FileStage& stage : file.stages) json["stages"].push_back(to_json(stage));
  for (const FileLink& link : file.links) json["links"].push_back(to_json(file, link));
  for (const FileMistake& problem : problems)
    json["problems"].push_back(
        {{"line", problem.place.line}, {"column", problem.place.column}, {"message", problem.message}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::flow
