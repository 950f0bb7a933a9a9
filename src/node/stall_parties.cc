#include "node/stall_parties.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "flow/plan_links.h"
#include "link/link_backlog.h"

namespace sluice::node {
namespace {

using flow::Junction;
using flow::StallParty;
using Waits = StallParty::Waits;

class PartyList final {
 public:
  PartyList(const flow::Plan& plan, const LinkSources& sources, const FlowStanding& standing)
      : plan_(plan), sources_(sources), standing_(standing), parties_(plan.stages.size()) {
    for (const Junction& junction : plan.wiring.junctions) {
      first_input_.push_back(parties_.size());
      parties_.resize(parties_.size() + junction.inputs.size());
    }
  }

  std::vector<StallParty> run() {
    for (const auto& [stage, counts] : standing_.stages)
      if (flow::runs_by_job(plan_.stages[stage])) describe_stage(stage, counts);
    for (std::size_t stage = 0; stage < plan_.stages.size(); ++stage)
      if (plan_.stages[stage].elsewhere) describe_elsewhere(stage);
    for (std::size_t i = 0; i < standing_.junctions.size(); ++i)
      for (std::size_t input = 0; input < plan_.wiring.junctions[i].inputs.size(); ++input) describe_input(i, input);
    return std::move(parties_);
  }

 private:
  std::string label(std::size_t stage) const { return label_of(plan_, stage); }

  // --- stages -----------------------------------------------------------------------------------------------------

  void describe_stage(std::size_t stage, const JobStageCounts& counts) {
    StallParty& party = parties_[stage];
    if (!counts.steady) return;
    party.moved = counts.records_read + counts.records_settled + counts.output_bytes + counts.jobs + counts.retried;
    std::uint64_t in_flight = 0;
    bool busy = false;
    for (const JobStageCounts::Worker& worker : counts.workers) {
      party.moved += worker.records_given;
      in_flight += worker.in_flight;
      busy = busy || worker.state == link::WorkerState::busy;
    }
    bool holds_none = in_flight == 0 && counts.waiting == 0;
    if (counts.joins && in_flight >= 2 && !counts.output_waits) return describe_joint(stage, counts);
    if (busy) return;
    if (counts.output_waits) return wait_for_reader(stage);
    if (!holds_none) return;
    for (std::size_t link = 0; link < counts.links.size(); ++link)
      if (!counts.links[link].ended && !wait_for_writers(stage, link, label(stage) + " waits for ")) return;
  }

  // A link to another host, or from one: whoever is at its other end goes on when one at this end does.
  void describe_elsewhere(std::size_t stage) {
    auto leads_there = [&](const flow::PlannedLink& planned) { return planned.link.to == stage; };
    if (std::ranges::any_of(plan_.links, leads_there))
      wait_for_writers(stage, 0, "");
    else
      wait_for_reader(stage);
  }

  // Of some links it holds as much as it may, and of the others nothing: so it works on none, but waits for them. With some of
  // each it may be at work.
  void describe_joint(std::size_t stage, const JobStageCounts& counts) {
    std::vector<std::string> held, some, ended;
    std::vector<std::size_t> awaited;
    for (std::size_t link = 0; link < counts.links.size(); ++link) {
      const JobStageCounts::Link& counted = counts.links[link];
      std::string has = fmt::format("{} record{} of {}", counted.in_flight, counted.in_flight == 1 ? "" : "s",
                                    source_name(stage, link));
      if (counted.full)
        held.push_back(has);
      else if (counted.waiting > 0)
        return;  // it is about to be given
      else if (counted.in_flight > 0)
        some.push_back(has);
      else if (counted.ended)
        ended.push_back(source_name(stage, link));
      else
        awaited.push_back(link);
    }
    if (held.empty()) return;
    if (!some.empty() || held.size() == counts.links.size()) return suspect(stage, held, some);
    StallParty& party = parties_[stage];
    std::string holds = fmt::format("{} holds {}, as many as it may, and ", label(stage), fmt::join(held, " and "));
    for (std::size_t link : awaited)
      if (!wait_for_writers(stage, link, holds + "waits for ")) return;
    if (awaited.empty()) {  // for itself
      party.waits = Waits::one;
      party.others = {{stage, fmt::format("{}nothing more comes from {}", holds, fmt::join(ended, " and "))}};
    }
    party.joins = true;
    party.advice = "raise the concurrency of " + label(stage);
  }

  void suspect(std::size_t stage, std::vector<std::string> held, const std::vector<std::string>& some) {
    held.insert(held.end(), some.begin(), some.end());
    parties_[stage].suspicion = fmt::format("{} holds {}", label(stage), fmt::join(held, " and "));
    parties_[stage].advice = "raise the concurrency of " + label(stage);
  }

  const LinkSource* source_of_link(std::size_t stage, std::size_t link) const {
    auto found = sources_.find(stage);
    return found != sources_.end() && link < found->second.size() ? &found->second[link] : nullptr;
  }

  std::string source_name(std::size_t stage, std::size_t link) const {
    const LinkSource* source = source_of_link(stage, link);
    if (source == nullptr) return "stdin";
    if (source->writer) return label(*source->writer);
    const Junction& junction = plan_.wiring.junctions[source->junction];
    for (const Junction::Path& path : junction.paths)
      if (path.output == source->output) return source_of(plan_, junction.inputs[path.input]);
    return "stdin";
  }

  // False: something is on its way to it, or comes from outside of the flow.
  bool wait_for_writers(std::size_t stage, std::size_t link, const std::string& why) {
    StallParty& party = parties_[stage];
    party.waits = Waits::one;
    const LinkSource* source = source_of_link(stage, link);
    if (source == nullptr) return gives_up(party);
    if (source->writer) {
      party.others.push_back({*source->writer, why + label(*source->writer)});
      return true;
    }
    const Junction& junction = plan_.wiring.junctions[source->junction];
    const JunctionStreams::Standing& standing = standing_.junctions[source->junction];
    for (std::size_t i = 0; i < junction.paths.size(); ++i) {
      if (junction.paths[i].output != source->output) continue;
      if (!standing.paths[i].idle) return gives_up(party);
      std::size_t input = junction.paths[i].input;
      party.others.push_back({first_input_[source->junction] + input, why + source_of(plan_, junction.inputs[input])});
    }
    return true;
  }

  static bool gives_up(StallParty& party) {
    party.waits = Waits::nothing;
    party.others.clear();
    return false;
  }

  void wait_for_reader(std::size_t stage) {
    StallParty& party = parties_[stage];
    auto wait_for = [&](std::size_t reader, const std::string& name) {
      party.waits = Waits::one;
      party.others.push_back({reader, fmt::format("{} waits for {}", label(stage), name)});
    };
    for (std::size_t i = 0; i < plan_.links.size(); ++i) {
      const flow::Link& link = plan_.links[i].link;
      if (plan_.wiring.plain[i] && link.from == stage && !link.of_errors) return wait_for(link.to, label(link.to));
    }
    for (std::size_t i = 0; i < plan_.wiring.junctions.size(); ++i) {
      const auto& inputs = plan_.wiring.junctions[i].inputs;
      for (std::size_t input = 0; input < inputs.size(); ++input)
        if (inputs[input].stage == stage && !inputs[input].of_errors)
          return wait_for(first_input_[i] + input, "who reads its output");
    }
  }

  // --- junctions --------------------------------------------------------------------------------------------------

  static std::string source_of(const flow::Plan& plan, const Junction::Input& input) {
    return flow::source_of(plan, input.stage, input.of_errors);
  }

  void describe_input(std::size_t number, std::size_t input) {
    const Junction& junction = plan_.wiring.junctions[number];
    const JunctionStreams::Standing& standing = standing_.junctions[number];
    StallParty& party = parties_[first_input_[number] + input];
    const std::string name = source_of(plan_, junction.inputs[input]);
    party.moved = standing.inputs[input].moved;
    for (std::size_t i = 0; i < junction.paths.size(); ++i) {
      if (junction.paths[i].input != input) continue;
      party.moved += standing.paths[i].moved;
      if (standing.paths[i].blocks)
        wait_for_room(party, name, junction.outputs[junction.paths[i].output].stage, junction.paths[i].slow);
    }
    if (!party.others.empty() || !standing.inputs[input].reads) return;
    party.waits = Waits::one;
    party.others.push_back({junction.inputs[input].stage, fmt::format("the copy of {} waits for it", name)});
  }

  // Nobody waits for the flow's stdout but the world outside.
  void wait_for_room(StallParty& party, const std::string& from, std::optional<std::size_t> to,
                     const flow::SlowPolicy& slow) {
    if (!to) return;
    bool spills = slow.kind == flow::SlowPolicy::Kind::spill;
    party.waits = Waits::all;
    party.others.push_back(
        {*to, fmt::format("{} waits for room in the link to {} ({} KiB{})", from, label(*to),
                          link::LinkBacklog::kWindowBytes >> 10, spills ? ", and what it spills" : "")});
    if (!party.advice.empty()) return;
    party.advice = spills ? fmt::format("let the link {} -> {} spill more", from, label(*to))
                          : fmt::format("put 'slow: {{ spill: 100M }}' on the link {} -> {}", from, label(*to));
  }

  const flow::Plan& plan_;
  const LinkSources& sources_;
  const FlowStanding& standing_;
  std::vector<StallParty> parties_;
  std::vector<std::size_t> first_input_;  // of each junction
};

}  // namespace

bool can_stall(const flow::Plan& plan) { return flow::takes_links_apart(plan); }

std::size_t stall_party_count(const flow::Plan& plan) {
  std::size_t count = plan.stages.size();
  for (const Junction& junction : plan.wiring.junctions) count += junction.inputs.size();
  return count;
}

std::vector<flow::StallParty> stall_parties(const flow::Plan& plan, const LinkSources& sources,
                                            const FlowStanding& standing) {
  return PartyList(plan, sources, standing).run();
}

}  // namespace sluice::node
