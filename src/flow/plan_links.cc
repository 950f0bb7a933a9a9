#include "flow/plan_links.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace sluice::flow {
namespace {

LinkCarrier carrier_of(const Plan& plan, const Link& link, bool exact) {
  if (plan.stages[link.from].elsewhere || plan.stages[link.to].elsewhere) return LinkCarrier::byte_link;
  if (plan.stages[link.from].workers > 0 || plan.stages[link.to].workers > 0) return LinkCarrier::records;
  return exact ? LinkCarrier::relay : LinkCarrier::kernel_pipe;
}

// What leads through us is guarded: if we die, the reader is ended before its stdin closes.
void pass_input(PlannedStage& stage) {
  if (runs_by_job(stage) || stage.elsewhere) return;  // its streams are the jobs', or a link's
  stage.program.input = exec::Stream::passed;
  stage.program.guarded_input = true;
}

void pass_output(PlannedStage& stage, bool of_errors = false) {
  if (runs_by_job(stage) || stage.elsewhere) return;
  (of_errors ? stage.program.error : stage.program.output) = exec::Stream::passed;
}

// The spawner makes the pipe between a program and the next one; another is passed to both.
void join_by_pipe(const Link& link, Plan& plan) {
  PlannedStage &from = plan.stages[link.from], &to = plan.stages[link.to];
  exec::Stream carrier = link.to == link.from + 1 ? exec::Stream::neighbour : exec::Stream::passed;
  from.program.output = carrier;
  to.program.input = carrier;
}

// Several links may meet in a stage: its stdin is one stream.
void join_at(const Junction& junction, Plan& plan) {
  for (const Junction::Input& input : junction.inputs) pass_output(plan.stages[input.stage], input.of_errors);
  for (const Junction::Output& output : junction.outputs)
    if (output.stage) pass_input(plan.stages[*output.stage]);
}

void join_flow_ends(const FlowGraph& graph, Plan& plan) {
  std::vector<bool> follows(plan.stages.size()), leads_on(plan.stages.size());
  for (const Link& link : graph.links) {
    follows[link.to] = true;
    if (!link.of_errors) leads_on[link.from] = true;
  }
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    PlannedStage& stage = plan.stages[i];
    if (!leads_on[i] && stage.workers > 0) pass_output(stage);
    if (follows[i] || stage.elsewhere) continue;
    if (stage.workers > 0)
      pass_input(stage);
    else if (plan.wiring.reads_stdin != i)
      stage.program.input = exec::Stream::passed;  // an empty one
  }
}

std::string_view arrow(LinkCarrier carrier) {
  switch (carrier) {
    case LinkCarrier::kernel_pipe:
      return "->";
    case LinkCarrier::relay:
      return "=relay=>";
    case LinkCarrier::records:
    case LinkCarrier::junction:
      return "=records=>";
    case LinkCarrier::byte_link:
      return "=>";
  }
  return "->";
}

std::string_view arrow_to_flow_end(const PlannedStage& stage) {
  return arrow(stage.workers > 0 ? LinkCarrier::records : LinkCarrier::kernel_pipe);
}

std::string describe_row(const Plan& plan) {
  std::string text = fmt::format("links: stdin {} {}", arrow_to_flow_end(plan.stages.front()), label_of(plan, 0));
  for (const PlannedLink& link : plan.links)
    text += fmt::format(" {} {}", arrow(link.carrier), label_of(plan, link.link.to));
  text += fmt::format(" {} stdout", arrow_to_flow_end(plan.stages.back()));
  bool pipes_alone =
      std::ranges::all_of(plan.links, [](const PlannedLink& link) { return link.carrier == LinkCarrier::kernel_pipe; });
  if (!plan.links.empty() && pipes_alone) text += ", by kernel pipes";
  return text + "\n";
}

// A line of the drawing, in the order of the stages that the links leave.
struct DrawnLink {
  std::size_t from = 0;
  std::string text;
};

std::vector<DrawnLink> describe_paths(const Plan& plan, const Junction& junction) {
  std::vector<std::size_t> leaving(junction.inputs.size()), arriving(junction.outputs.size());
  for (const Junction::Path& path : junction.paths) {
    ++leaving[path.input];
    ++arriving[path.output];
  }
  std::vector<DrawnLink> lines;
  for (const Junction::Path& path : junction.paths) {
    const Junction::Input& input = junction.inputs[path.input];
    const auto& to = junction.outputs[path.output].stage;
    std::string line = fmt::format("{} {} {}", source_of(plan, input.stage, input.of_errors),
                                   arrow(LinkCarrier::junction), to ? label_of(plan, *to) : "stdout");
    if (leaving[path.input] > 1) line += input.share ? ", shared" : ", copied";
    if (arriving[path.output] > 1) line += ", merged";
    if (std::string slow = slow_text(path.slow); !slow.empty()) line += ", " + slow;
    lines.push_back({input.stage, std::move(line)});
  }
  return lines;
}

std::string describe_graph(const Plan& plan) {
  std::vector<DrawnLink> links;
  for (const PlannedLink& planned : plan.links)
    if (planned.carrier != LinkCarrier::junction)
      links.push_back({planned.link.from, fmt::format("{} {} {}", label_of(plan, planned.link.from),
                                                      arrow(planned.carrier), label_of(plan, planned.link.to))});
  for (const Junction& junction : plan.wiring.junctions)
    for (DrawnLink& link : describe_paths(plan, junction)) links.push_back(std::move(link));
  std::ranges::stable_sort(links, {}, &DrawnLink::from);
  std::vector<std::string> lines;
  if (auto stage = plan.wiring.reads_stdin)
    lines.push_back(fmt::format("stdin {} {}", arrow_to_flow_end(plan.stages[*stage]), label_of(plan, *stage)));
  for (DrawnLink& link : links) lines.push_back(std::move(link.text));
  if (auto stage = plan.wiring.writes_stdout)
    lines.push_back(fmt::format("{} {} stdout", label_of(plan, *stage), arrow_to_flow_end(plan.stages[*stage])));
  return fmt::format("links: {}\n", fmt::join(lines, "\n       "));
}

}  // namespace

void join(const FlowGraph& graph, bool exact, Plan& plan) {
  plan.wiring = wire(graph);
  for (std::size_t i = 0; i < graph.links.size(); ++i) {
    const Link& link = graph.links[i];
    if (!plan.wiring.plain[i]) {
      plan.links.push_back({link, LinkCarrier::junction});
      continue;
    }
    LinkCarrier carrier = carrier_of(plan, link, exact);
    plan.links.push_back({link, carrier});
    if (carrier == LinkCarrier::kernel_pipe) {
      join_by_pipe(link, plan);
    } else {
      pass_output(plan.stages[link.from]);
      pass_input(plan.stages[link.to]);
    }
  }
  for (const Junction& junction : plan.wiring.junctions) join_at(junction, plan);
  for (PlannedStage& stage : plan.stages) {
    stage.program.by_job = runs_by_job(stage);
    if (stage.mode == RecordMode::worker) stage.program.variables.emplace_back(kWorkerVariable);
  }
  join_flow_ends(graph, plan);
}

std::string describe_links(const Plan& plan) {
  std::vector<Link> links;
  for (const PlannedLink& planned : plan.links) links.push_back(planned.link);
  return is_row(links, plan.stages.size()) ? describe_row(plan) : describe_graph(plan);
}

std::string describe_exceptions(const FlowGraph& graph) {
  std::string text;
  auto merges = [](const Junction& junction) { return junction.paths.size() > junction.outputs.size(); };
  if (std::ranges::any_of(wire(graph).junctions, merges))
    text += "; where links merge, records come whole, in any order";
  std::vector<std::string> links;
  for (const Link& link : graph.links)
    if (link.slow.kind == SlowPolicy::Kind::drop)
      links.push_back(fmt::format("{} -> {}", source_of(graph.stages[link.from].name, link.from, link.of_errors),
                                  label_of(graph.stages[link.to].name, link.to)));
  if (links.empty()) return text;
  return text + fmt::format("; what the reader of {} is too slow for is dropped and counted", fmt::join(links, ", "));
}

std::vector<std::vector<std::string>> rules_of_links(const FlowGraph& graph) {
  auto leaves_with = [&](const Link& link) {
    return std::ranges::count_if(
        graph.links, [&](const Link& other) { return other.from == link.from && other.of_errors == link.of_errors; });
  };
  std::vector<std::vector<std::string>> rules;
  for (const Link& link : graph.links) {
    std::vector<std::string>& found = rules.emplace_back();
    bool shares = graph.stages[link.from].share && !link.of_errors;
    if (leaves_with(link) > 1) found.emplace_back(shares ? "shared" : "copied");
    if (std::ranges::count(graph.links, link.to, &Link::to) > 1) found.emplace_back("merged");
    if (std::string slow = slow_text(link.slow); !slow.empty()) found.push_back(std::move(slow));
  }
  return rules;
}

}  // namespace sluice::flow
