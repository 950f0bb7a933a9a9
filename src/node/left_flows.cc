#include "node/left_flows.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "flow/placement.h"
#include "node/counters_assembly.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kLookTime{3};  // after somebody has asked

// A part and its programs, in their order.
struct LeftPart {
  std::vector<const v1::FlowStage*> stages;
  v1::Prepare prepare;
};

std::map<std::uint32_t, LeftPart> parts_of(const v1::Flow& flow) {
  std::map<std::uint32_t, LeftPart> parts;
  for (const v1::FlowStage& stage : flow.stages()) {
    LeftPart& part = parts[stage.part()];
    part.stages.push_back(&stage);
    part.prepare.add_stages()->set_index(stage.index());
  }
  return parts;
}

PartProgress watch(const LeftPart& part) {
  exec::Started started;
  std::vector<ProgramPlace> places;
  for (const v1::FlowStage* stage : part.stages) {
    places.push_back({.stage = places.size()});
    started.pids.push_back(stage->pid());
  }
  PartProgress progress;
  progress.on_started(started, {}, places);
  return progress;
}

}  // namespace

void LeftFlows::count(const v1::Flow& flow, v1::FlowCounters& counters, TimePoint now) {
  Looked& looked = flows_[flow.id()];
  looked.asked_at = now;
  std::vector<v1::StageText> texts(static_cast<std::size_t>(flow.stages_size()));
  flow::FlowGraph whole;
  flow::PartGraph graph;
  std::vector<std::string> host_names;
  std::vector<v1::Moved> moved;
  for (const auto& [number, part] : parts_of(flow)) {
    auto place = looked.parts.find(number);
    if (place == looked.parts.end()) place = looked.parts.emplace(number, watch(part)).first;
    PartProgress& progress = place->second;
    for (std::size_t i = 0; i < part.stages.size(); ++i)
      if (part.stages[i]->ended()) progress.on_exited({.program = static_cast<exec::ProgramIndex>(i)});
    progress.look(now);
    progress.report(part.prepare, moved.emplace_back());
    flow::Part& shape = graph.parts.emplace_back();
    for (const v1::FlowStage* stage : part.stages) {
      if (!shape.stages.empty()) {
        shape.inner_links.push_back(whole.links.size());
        whole.links.push_back({.from = shape.stages.back(), .to = stage->index()});
      }
      shape.stages.push_back(stage->index());
      if (stage->index() < texts.size()) texts[stage->index()].set_command(stage->command());
    }
    host_names.push_back(part.stages.front()->node());
  }
  fill_counters(flow, counters);
  AssemblyInput input{.whole = whole,
                      .graph = graph,
                      .host_names = host_names,
                      .moved = std::move(moved),
                      .text_of = [&texts](std::size_t stage) -> const v1::StageText& { return texts[stage]; },
                      .find_link = [](const std::string&) { return std::optional<std::size_t>(); },
                      .stages = texts.size()};
  assemble(input, counters);
}

bool LeftFlows::look(TimePoint now) {
  std::erase_if(flows_, [now](const auto& each) { return now > each.second.asked_at + kLookTime; });
  for (auto& [id, looked] : flows_)
    for (auto& [number, progress] : looked.parts) progress.look(now);
  return !flows_.empty();
}

}  // namespace sluice::node
