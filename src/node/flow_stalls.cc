#include "node/flow_stalls.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "flow/plan.h"

namespace sluice::node {

using flow::StallParty;
using Waits = StallParty::Waits;

namespace {

constexpr int kLooks = 10;  // within the patience
constexpr std::chrono::seconds kAnswerTime{1};

std::size_t size_of(const v1::Waits& waits) { return static_cast<std::size_t>(waits.parties_size()); }

Waits waits_from(v1::WaitingParty::Kind kind) {
  if (kind == v1::WaitingParty::KIND_ONE) return Waits::one;
  return kind == v1::WaitingParty::KIND_ALL ? Waits::all : Waits::nothing;
}

}  // namespace

bool can_stall(const flow::FlowGraph& graph) {
  for (std::size_t stage = 0; stage < graph.stages.size(); ++stage) {
    bool worker = flow::mode_of(graph.stages[stage].words) == flow::RecordMode::worker;
    if (worker && std::ranges::count(graph.links, stage, &flow::Link::to) > 1) return true;
  }
  return false;
}

FlowStalls::FlowStalls(const flow::PartGraph& graph, Duration patience)
    : graph_(graph), interval_(patience / kLooks), watch_(patience), parts_(graph.parts.size()) {}

std::optional<v1::HostCommand> FlowStalls::poll_question(TimePoint now) {
  if (now < due_) return std::nullopt;
  due_ = now + interval_;
  if (!looked_ && now < asked_at_ + kAnswerTime) return std::nullopt;
  asked_at_ = now;
  looked_ = false;
  v1::HostCommand command;
  command.mutable_ask_waits()->set_number(++asked_);
  return command;
}

void FlowStalls::on_answer(std::size_t part, v1::Waits waits) {
  if (!is_asked(part)) return;
  Part& whose = parts_[part];
  if (!whose.size || *whose.size == size_of(waits)) whose.waits = std::move(waits);
}

std::optional<flow::StallFinding> FlowStalls::poll_stall(const OfPart& runs, TimePoint now) {
  if (looked_) return std::nullopt;
  for (std::size_t i = 0; i < parts_.size(); ++i)
    if (is_asked(i) && runs(i) && parts_[i].waits.number() < asked_) return std::nullopt;
  looked_ = true;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (!part.size) part.size = size_of(part.waits);
    if (runs(i)) continue;
    for (v1::WaitingParty& party : *part.waits.mutable_parties()) party.Clear();
  }
  return watch_.on_look(parties(), now);
}

// --- the parties of all parts, one part after the other ----------------------------------------------------------------

std::vector<StallParty> FlowStalls::parties() const {
  std::vector<StallParty> all;
  for (std::size_t part = 0; part < parts_.size(); ++part)
    for (std::size_t index = 0; index < *parts_[part].size; ++index) all.push_back(party(part, index));
  return all;
}

StallParty FlowStalls::party(std::size_t part, std::size_t index) const {
  const v1::WaitingParty& message = parts_[part].waits.parties(static_cast<int>(index));
  StallParty party{.waits = waits_from(message.kind()),
                   .joins = message.joins(),
                   .moved = message.moved(),
                   .advice = message.advice(),
                   .suspicion = message.suspicion()};
  bool known = !is_stream(part, index);  // whoever waits for one of those waits for the other end
  for (const v1::WaitingParty::Other& other : message.others())
    known = known && add_other(part, other.party(), other.why(), party);
  return known ? party : StallParty{.moved = message.moved()};
}

bool FlowStalls::add_other(std::size_t part, std::size_t index, const std::string& why, StallParty& into) const {
  if (!is_stream(part, index)) {
    auto there = place(part, index);
    if (there) into.others.push_back({.party = *there, .why = why});
    return there.has_value();
  }
  auto far = far_end(part, index);
  if (!far) return false;
  const v1::WaitingParty& end = parts_[far->part].waits.parties(static_cast<int>(far->party));
  for (const v1::WaitingParty::Other& other : end.others()) {
    auto there = place(far->part, other.party());
    if (!there || is_stream(far->part, other.party())) return false;
    into.others.push_back({.party = *there, .why = why});
  }
  return end.kind() == v1::WaitingParty::KIND_ONE && end.others_size() > 0;
}

// Of the party of an input, the end that writes there, if nothing is on its way; of that of an output, the one that reads.
std::optional<FlowStalls::End> FlowStalls::far_end(std::size_t part, std::size_t index) const {
  const flow::Part& here = graph_.parts[part];
  std::size_t stream = index - here.stages.size();
  bool is_input = stream < here.inputs.size();
  const auto& links = is_input ? here.inputs[stream].links : here.outputs[stream - here.inputs.size()].links;
  if (links.size() != 1) return std::nullopt;  // of a stage of @all
  auto writer = end_of(links.front(), true), reader = end_of(links.front(), false);
  if (!writer || !reader) return std::nullopt;
  if (!is_input) return reader;
  return writer->bytes == reader->bytes ? writer : std::nullopt;
}

std::optional<FlowStalls::End> FlowStalls::end_of(std::size_t link, bool of_writer) const {
  std::size_t part = of_writer ? graph_.links[link].from : graph_.links[link].to;
  if (!is_asked(part)) return std::nullopt;
  const flow::Part& there = graph_.parts[part];
  const v1::Waits& waits = parts_[part].waits;
  const auto& streams = of_writer ? there.outputs : there.inputs;
  const auto& bytes = of_writer ? waits.output_bytes() : waits.input_bytes();
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (streams[i].links.size() != 1 || streams[i].links.front() != link) continue;
    std::size_t party = there.stages.size() + (of_writer ? there.inputs.size() : 0) + i;
    if (party >= size_of(waits) || i >= static_cast<std::size_t>(bytes.size())) return std::nullopt;
    return End{.part = part, .party = party, .bytes = bytes[static_cast<int>(i)]};
  }
  return std::nullopt;
}

bool FlowStalls::is_stream(std::size_t part, std::size_t index) const {
  const flow::Part& here = graph_.parts[part];
  return index >= here.stages.size() && index < here.stages.size() + here.inputs.size() + here.outputs.size();
}

std::optional<std::size_t> FlowStalls::place(std::size_t part, std::size_t index) const {
  if (index >= *parts_[part].size) return std::nullopt;
  std::size_t before = 0;
  for (std::size_t i = 0; i < part; ++i) before += *parts_[i].size;
  return before + index;
}

}  // namespace sluice::node
