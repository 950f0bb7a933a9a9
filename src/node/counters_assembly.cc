#include "node/counters_assembly.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "flow/flow_counters.h"
#include "node/flow_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr int kOutside = -1;  // the client's stdin or stdout, in LinkCounters

void add(const v1::Activity& more, v1::Activity& activity) {
  activity.set_busy_us(activity.busy_us() + more.busy_us());
  activity.set_idle_us(activity.idle_us() + more.idle_us());
  activity.set_held_back_us(activity.held_back_us() + more.held_back_us());
}

void add(const v1::RecordsMoved& more, v1::RecordsMoved& records) {
  records.set_read(records.read() + more.read());
  records.set_done(records.done() + more.done());
  records.set_dropped(records.dropped() + more.dropped());
  records.set_dead(records.dead() + more.dead());
  records.set_in_flight(records.in_flight() + more.in_flight());
  records.set_waiting(records.waiting() + more.waiting());
  records.set_written(records.written() + more.written());
  records.set_read_bytes(records.read_bytes() + more.read_bytes());
  records.set_written_bytes(records.written_bytes() + more.written_bytes());
  if (more.has_credit()) records.set_credit(records.credit() + more.credit());
}

void to_message(const flow::LinkCounts& counts, v1::LinkBalance& message) {
  message.set_in(counts.in);
  message.set_out(counts.out);
  message.set_dropped(counts.dropped);
  message.set_dead(counts.dead);
  message.set_in_flight(counts.in_flight);
}

flow::LinkCounts counts_of(const v1::RecordsMoved& records) {
  return {.in = records.read(),
          .out = records.done(),
          .dropped = records.dropped(),
          .dead = records.dead(),
          .in_flight = records.in_flight()};
}

std::optional<std::uint64_t> input_waiting(const v1::StageMoved& stage) {
  return stage.has_input_pipe_bytes() ? std::optional(stage.input_pipe_bytes()) : std::nullopt;
}
std::optional<std::uint64_t> output_waiting(const v1::StageMoved& stage) {
  return stage.has_output_pipe_bytes() ? std::optional(stage.output_pipe_bytes()) : std::nullopt;
}

class Assembly final {
 public:
  Assembly(const AssemblyInput& input, v1::FlowCounters& counters) : input_(input), counters_(counters) {}

  void run() {
    for (std::size_t stage = 0; stage < input_.stages; ++stage) begin_stage(stage);
    for (std::size_t part = 0; part < input_.moved.size(); ++part)
      for (const v1::StageMoved& moved : input_.moved[part].stages()) add_stage(part, moved);
    for (v1::StageCounters& stage : *counters_.mutable_stages()) count_workers(stage);
    for (std::size_t part = 0; part < input_.moved.size(); ++part) add_links_within(part);
    add_links_between();
    add_records();
    for (auto& [ends, link] : links_) finish_link(ends, link);
  }

 private:
  using Ends = std::pair<int, int>;  // stages
  struct Link {
    flow::LinkCounts bytes;
    bool estimated = false;
    std::optional<flow::LinkCounts> records;
  };

  const flow::Part& part(std::size_t index) const { return input_.graph.parts[index]; }

  const v1::StageMoved* moved_in(std::size_t index, std::size_t stage) const {
    for (const v1::StageMoved& moved : input_.moved[index].stages())
      if (moved.stage() == stage) return &moved;
    return nullptr;
  }

  // --- stages -----------------------------------------------------------------------------------------------------

  void begin_stage(std::size_t index) {
    v1::StageCounters& stage = *counters_.add_stages();
    stage.set_index(static_cast<std::uint32_t>(index));
    stage.set_command(input_.text_of(index).command());
    stage.set_kind(kind_of(input_.text_of(index)));
    std::set<std::string> nodes;
    for (std::size_t i = 0; i < input_.graph.parts.size(); ++i) {
      bool here = std::ranges::find(part(i).stages, index) != part(i).stages.end() && hosts_of_seats(i, index).empty();
      if (here || part(i).seats_of == index) nodes.insert(input_.host_names[i]);
    }
    for (const std::string& node : nodes) stage.add_nodes(node);
  }

  // Of each worker that runs elsewhere, if the part has the records of the stage.
  std::vector<std::string> hosts_of_seats(std::size_t index, std::size_t stage) const {
    std::vector<std::string> hosts;
    if (part(index).seats_of) return hosts;
    for (const flow::Seat& seat : part(index).seats)
      if (seat.stage == stage) hosts.push_back(input_.host_names[input_.graph.links[seat.requests].to]);
    return hosts;
  }

  void add_stage(std::size_t index, const v1::StageMoved& moved) {
    if (moved.stage() >= input_.stages) return;  // a part that is of no flow of ours
    v1::StageCounters& stage = *counters_.mutable_stages(static_cast<int>(moved.stage()));
    stage.set_running(stage.running() || moved.running());
    stage.set_estimated(stage.estimated() || moved.estimated());
    if (moved.has_activity()) add(moved.activity(), *stage.mutable_activity());
    if (moved.has_records()) add(moved.records(), *stage.mutable_records());
    stage.set_read_bytes(stage.read_bytes() +
                         (moved.has_records() ? moved.records().read_bytes() : moved.io_read_bytes()));
    stage.set_written_bytes(stage.written_bytes() +
                            (moved.has_records() ? moved.records().written_bytes() : moved.io_write_bytes()));
    std::vector<std::string> elsewhere = hosts_of_seats(index, moved.stage());
    for (const v1::WorkerMoved& worker : moved.workers()) {
      v1::WorkerCounters& counters = *stage.add_each_worker();
      std::size_t seat = worker.worker() - 1;
      counters.set_node(seat < elsewhere.size() ? elsewhere[seat] : input_.host_names[index]);
      *counters.mutable_counters() = worker;
    }
  }

  static void count_workers(v1::StageCounters& stage) {
    auto running = std::ranges::count_if(stage.each_worker(),
                                         [](const v1::WorkerCounters& worker) { return worker.counters().running(); });
    stage.set_workers(static_cast<std::uint32_t>(running));
  }

  // --- links ------------------------------------------------------------------------------------------------------

  void add_link(Ends between, const flow::LinkEnds& ends, bool estimated) {
    if (!ends.sent && !ends.received) return;  // neither end has answered
    Link& link = links_[between];
    link.bytes += flow::count_link(ends);
    link.estimated = link.estimated || estimated;
  }

  // How many links leave a stage of a part.
  std::size_t links_from(const flow::Part& part, std::size_t stage) const {
    std::size_t count = static_cast<std::size_t>(std::ranges::count(part.write_stdout, stage));
    for (const flow::PartStream& stream : part.outputs) count += stream.from == stage ? stream.links.size() : 0;
    for (std::size_t link : part.inner_links) count += input_.whole.links[link].from == stage ? 1 : 0;
    return count;
  }
  std::size_t links_to(const flow::Part& part, std::size_t stage) const {
    std::size_t count = part.reads_stdin == stage ? 1 : 0;
    for (const flow::PartStream& stream : part.inputs) count += stream.to == stage ? stream.links.size() : 0;
    for (std::size_t link : part.inner_links) count += input_.whole.links[link].to == stage ? 1 : 0;
    return count;
  }

  void add_links_within(std::size_t index) {
    for (std::size_t inner : part(index).inner_links) {
      const flow::Link& link = input_.whole.links[inner];
      const v1::StageMoved* from = moved_in(index, link.from);
      const v1::StageMoved* to = moved_in(index, link.to);
      if (from == nullptr || to == nullptr || link.of_errors) continue;
      bool writes_only_this = links_from(part(index), link.from) == 1;
      bool reads_only_this = links_to(part(index), link.to) == 1;
      flow::LinkEnds ends;
      if (to->has_records() && reads_only_this) ends.received = to->records().read_bytes();
      if (from->has_records() && writes_only_this)
        ends.sent = from->records().written_bytes();
      else if (!ends.received && writes_only_this)
        ends.sent = from->io_write_bytes();
      else if (writes_only_this)
        ends.waiting_before = output_waiting(*from).value_or(0);
      if (!ends.received && reads_only_this)
        ends.waiting_behind = input_waiting(*to).value_or(from->has_records() ? 0 : output_waiting(*from).value_or(0));
      add_link({static_cast<int>(link.from), static_cast<int>(link.to)}, ends,
               !from->has_records() && !to->has_records());
    }
  }

  void add_links_between() {
    std::map<std::size_t, flow::LinkEnds> all;
    for (const v1::Moved& moved : input_.moved)
      for (const v1::LinkMoved& end : moved.links()) {
        auto link = input_.find_link(end.link_id());
        if (!link || input_.graph.links[*link].of_seat) continue;
        (end.is_input() ? all[*link].received : all[*link].sent) = end.bytes();
      }
    for (auto& [index, ends] : all)
      if (const flow::PartStream* stream = stream_of(index))
        add_link({number_of(stream->from), number_of(stream->to)},
                 with_surroundings(input_.graph.links[index], *stream, ends), false);
  }

  static int number_of(const std::optional<std::size_t>& stage) { return stage ? static_cast<int>(*stage) : kOutside; }

  const flow::PartStream* stream_of(std::size_t link) const {
    for (const flow::PartStream& stream : part(input_.graph.links[link].from).outputs)
      if (std::ranges::find(stream.links, link) != stream.links.end()) return &stream;
    return nullptr;
  }

  // What lies between the stages and the ends of the link belongs to it, where no other link has a part in it.
  flow::LinkEnds with_surroundings(const flow::PartLink& link, const flow::PartStream& stream,
                                   flow::LinkEnds ends) const {
    bool writes_only_this = stream.from && links_from(part(link.from), *stream.from) == 1;
    bool reads_only_this = stream.to && links_to(part(link.to), *stream.to) == 1;
    const v1::StageMoved* before = writes_only_this ? moved_in(link.from, *stream.from) : nullptr;
    const v1::StageMoved* behind = reads_only_this ? moved_in(link.to, *stream.to) : nullptr;
    if (before != nullptr && before->has_records())
      ends.sent = std::max(ends.sent.value_or(0), before->records().written_bytes());
    else if (before != nullptr && ends.sent)
      ends.waiting_before = output_waiting(*before).value_or(0);
    if (behind != nullptr && behind->has_records())
      ends.received = behind->records().read_bytes();
    else if (behind != nullptr && ends.received)
      ends.waiting_behind = input_waiting(*behind).value_or(0);
    return ends;
  }

  // What a stage has read and not settled is in flight on the link to it.
  void add_records() {
    for (const v1::StageCounters& stage : counters_.stages()) {
      if (!stage.has_records()) continue;
      int to = static_cast<int>(stage.index());
      auto place = std::ranges::find_if(links_, [&](const auto& link) { return link.first.second == to; });
      std::uint64_t bytes = stage.records().read_bytes();
      if (place == links_.end())
        place = links_.emplace(Ends{to - 1, to}, Link{.bytes = {.in = bytes, .out = bytes}}).first;
      place->second.records = counts_of(stage.records());
    }
  }

  void finish_link(Ends ends, const Link& link) {
    v1::LinkCounters& message = *counters_.add_links();
    message.set_from(ends.first);
    message.set_to(ends.second);
    message.set_estimated(link.estimated);
    to_message(link.bytes, *message.mutable_bytes());
    if (link.records) to_message(*link.records, *message.mutable_records());
  }

  const AssemblyInput& input_;
  v1::FlowCounters& counters_;
  std::map<Ends, Link> links_;
};

}  // namespace

void fill_counters(const v1::Flow& flow, v1::FlowCounters& counters) {
  counters.set_id(flow.id());
  counters.set_name(flow.name());
  counters.set_text(flow.text());
  counters.set_state(flow.state());
  counters.set_background(flow.background());
  counters.set_started_unix_ms(flow.started_unix_ms());
  counters.set_node(flow.node());
  counters.set_node_id(flow.node_id());
  auto now = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
  counters.set_at_us(static_cast<std::uint64_t>(now.count()));
}

void assemble(const AssemblyInput& input, v1::FlowCounters& counters) { Assembly(input, counters).run(); }

}  // namespace sluice::node
