#include "node/counters_assembly.h"

#include <algorithm>
#include <chrono>
#include <compare>
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

void add(const v1::PathBalance& more, v1::PathBalance& balance) {
  balance.set_in(balance.in() + more.in());
  balance.set_out(balance.out() + more.out());
  balance.set_dropped(balance.dropped() + more.dropped());
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
    add_stdin();
    for (const auto& [ends, link] : links_) finish_link(ends, link);
  }

 private:
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

  // --- what of a link is counted where ----------------------------------------------------------------------------

  // Stages, or kOutside.
  struct Ends {
    int from = kOutside;
    int to = kOutside;
    bool of_errors = false;
    auto operator<=>(const Ends&) const = default;
  };
  struct Link {
    flow::LinkCounts bytes;
    bool estimated = false;
    std::optional<flow::LinkCounts> records;
  };

  static int number_of(const std::optional<std::size_t>& stage) { return stage ? static_cast<int>(*stage) : kOutside; }
  static Ends ends_of(const flow::Link& link) {
    return {static_cast<int>(link.from), static_cast<int>(link.to), link.of_errors};
  }
  Ends ends_of(const flow::PartStream& stream) const {
    return {number_of(stream.from), number_of(stream.to), is_of_errors(stream)};
  }
  bool is_of_errors(const flow::PartStream& stream) const {
    return stream.link && input_.whole.links[*stream.link].of_errors;
  }

  // How many links take the stdout of a stage of a part.
  std::size_t links_from(const flow::Part& part, std::size_t stage) const {
    std::size_t count = static_cast<std::size_t>(std::ranges::count(part.write_stdout, stage));
    for (const flow::PartStream& stream : part.outputs)
      count += stream.from == stage && !is_of_errors(stream) ? stream.links.size() : 0;
    for (std::size_t link : part.inner_links)
      count += input_.whole.links[link].from == stage && !input_.whole.links[link].of_errors ? 1 : 0;
    return count;
  }
  std::size_t links_to(const flow::Part& part, std::size_t stage) const {
    std::size_t count = part.reads_stdin == stage ? 1 : 0;
    for (const flow::PartStream& stream : part.inputs) count += stream.to == stage ? 1 : 0;
    for (std::size_t link : part.inner_links) count += input_.whole.links[link].to == stage ? 1 : 0;
    return count;
  }

  // Where others meet it, or it drops or spills.
  const v1::PathMoved* path_in(std::size_t index, const Ends& ends) const {
    for (const v1::PathMoved& path : input_.moved[index].paths()) {
      int from = path.has_from() ? static_cast<int>(path.from()) : kOutside;
      int to = path.has_to() ? static_cast<int>(path.to()) : kOutside;
      if (Ends{from, to, path.of_errors()} == ends) return &path;
    }
    return nullptr;
  }

  // What the stage has read of this link; null: it does not tell.
  const v1::RecordsMoved* read_by_stage(std::size_t index, const Ends& ends) const {
    if (ends.to == kOutside) return nullptr;
    auto stage = static_cast<std::size_t>(ends.to);
    for (const v1::LinkRead& read : input_.moved[index].link_reads())
      if (read.to() == stage && read.of_errors() == ends.of_errors && read.has_from() &&
          static_cast<int>(read.from()) == ends.from)
        return &read.records();
    const v1::StageMoved* moved = moved_in(index, stage);
    return moved != nullptr && moved->has_records() && links_to(part(index), stage) == 1 ? &moved->records() : nullptr;
  }

  // Of a program that reads nothing else.
  std::uint64_t waiting_for_stage(std::size_t index, const Ends& ends) const {
    if (ends.to == kOutside || links_to(part(index), static_cast<std::size_t>(ends.to)) != 1) return 0;
    const v1::StageMoved* moved = moved_in(index, static_cast<std::size_t>(ends.to));
    return moved != nullptr ? input_waiting(*moved).value_or(0) : 0;
  }

  // The stage tells its records apart as the places before it do.
  bool same_framing(const Ends& ends) const {
    const auto& stages = input_.whole.stages;
    auto framing = [&](int stage) {
      auto index = static_cast<std::size_t>(stage);
      auto of_words = stage != kOutside && index < stages.size() ? stages[index].words.framing : std::nullopt;
      return of_words.value_or(link::RecordFraming::lines);
    };
    return (ends.of_errors ? link::RecordFraming::lines : framing(ends.from)) == framing(ends.to);
  }

  // Where the writer's stage is, where the reader's is, or neither: the one place of a link within a part is both.
  struct RecordEnds {
    std::optional<v1::PathBalance> writer, reader;
    const v1::RecordsMoved* stage = nullptr;
  };
  std::optional<flow::LinkCounts> count_records(RecordEnds ends, const Ends& link) const {
    if (ends.stage != nullptr && !same_framing(link)) ends.writer = ends.reader = std::nullopt;
    if (!ends.writer && !ends.reader && ends.stage == nullptr) return std::nullopt;
    flow::LinkCounts counts = ends.stage != nullptr ? counts_of(*ends.stage) : flow::LinkCounts();
    if (ends.stage == nullptr) counts.out = ends.reader ? ends.reader->out() : ends.writer->out();
    for (const auto& place : {ends.writer, ends.reader}) counts.dropped += place ? place->dropped() : 0;
    if (ends.writer || ends.reader) counts.in = ends.writer ? ends.writer->in() : ends.reader->in();
    std::uint64_t gone = counts.out + counts.dropped + counts.dead;
    counts.in = std::max(counts.in, gone);
    counts.in_flight = counts.in - gone;
    return counts;
  }

  void add_bytes(const Ends& between, const flow::LinkEnds& ends, bool estimated) {
    if (!ends.sent && !ends.received) return;  // neither end has answered
    Link& link = links_[between];
    link.bytes += flow::count_link(ends);
    link.estimated = link.estimated || estimated;
  }
  void add_records(const Ends& between, const std::optional<flow::LinkCounts>& counts) {
    if (!counts) return;
    std::optional<flow::LinkCounts>& records = links_[between].records;
    if (!records) records.emplace();
    *records += *counts;
  }

  // --- links within a part ----------------------------------------------------------------------------------------

  void add_links_within(std::size_t index) {
    if (input_.moved[index].stages().empty()) return;
    for (std::size_t inner : part(index).inner_links) {
      Ends ends = ends_of(input_.whole.links[inner]);
      if (const v1::PathMoved* path = path_in(index, ends))
        add_path(index, *path, ends);
      else if (!ends.of_errors)
        add_pipe(index, ends);
    }
    for (std::size_t stage : part(index).write_stdout) {
      Ends ends{.from = static_cast<int>(stage), .to = kOutside};
      if (const v1::PathMoved* path = path_in(index, ends)) add_path(index, *path, ends);
    }
  }

  void add_path(std::size_t index, const v1::PathMoved& path, const Ends& ends) {
    const v1::RecordsMoved* read = read_by_stage(index, ends);
    add_bytes(ends,
              {.sent = path.bytes().in(),
               .received = read != nullptr ? read->read_bytes() : path.bytes().out(),
               .waiting_behind = read != nullptr ? 0 : waiting_for_stage(index, ends),
               .dropped = path.bytes().dropped()},
              false);
    std::optional<v1::PathBalance> records = path.has_records() ? std::optional(path.records()) : std::nullopt;
    std::optional<flow::LinkCounts> counts = count_records({.writer = records, .stage = read}, ends);
    add_records(ends, counts);
  }

  void add_pipe(std::size_t index, const Ends& link) {
    const v1::StageMoved* from = moved_in(index, static_cast<std::size_t>(link.from));
    const v1::StageMoved* to = moved_in(index, static_cast<std::size_t>(link.to));
    if (from == nullptr || to == nullptr) return;
    bool writes_only_this = links_from(part(index), static_cast<std::size_t>(link.from)) == 1;
    bool reads_only_this = links_to(part(index), static_cast<std::size_t>(link.to)) == 1;
    const v1::RecordsMoved* read = read_by_stage(index, link);
    flow::LinkEnds ends;
    if (read != nullptr) ends.received = read->read_bytes();
    if (from->has_records() && writes_only_this)
      ends.sent = from->records().written_bytes();
    else if (!ends.received && writes_only_this)
      ends.sent = from->io_write_bytes();
    else if (writes_only_this)
      ends.waiting_before = output_waiting(*from).value_or(0);
    if (!ends.received && reads_only_this)
      ends.waiting_behind = input_waiting(*to).value_or(from->has_records() ? 0 : output_waiting(*from).value_or(0));
    add_bytes(link, ends, !from->has_records() && read == nullptr);
    add_records(link, count_records({.stage = read}, link));
  }

  // --- links between parts ----------------------------------------------------------------------------------------

  // What its two hosts have told of a link between them.
  struct Told {
    std::optional<std::uint64_t> sent, received;
  };

  void add_links_between() {
    std::map<std::size_t, Told> told;
    for (const v1::Moved& moved : input_.moved)
      for (const v1::LinkMoved& end : moved.links())
        if (auto link = input_.find_link(end.link_id()))
          (end.is_input() ? told[*link].received : told[*link].sent) = end.bytes();
    for (std::size_t reader = 0; reader < input_.moved.size(); ++reader)
      for (const flow::PartStream& stream : part(reader).inputs) add_stream(reader, stream, told);
  }

  // What comes to a part from a stage elsewhere, or from several of it.
  void add_stream(std::size_t reader, const flow::PartStream& stream, std::map<std::size_t, Told>& told) {
    Ends ends = ends_of(stream);
    RecordEnds records{.stage = read_by_stage(reader, ends)};
    if (const v1::PathMoved* path = path_in(reader, ends))
      if (path->has_records()) records.reader = path->records();
    records.writer.emplace();
    for (std::size_t link : stream.links) {
      std::size_t writer = input_.graph.links[link].from;
      const v1::PathMoved* path = path_in(writer, ends);
      flow::LinkEnds counted = at_writer(writer, path, ends, told[link]);
      if (stream.links.size() == 1) count_at_reader(reader, ends, counted);
      add_bytes(ends, counted, false);
      if (path != nullptr && path->has_records() && records.writer)
        add(path->records(), *records.writer);
      else
        records.writer.reset();
    }
    if (links_.contains(ends)) add_records(ends, count_records(records, ends));
  }

  // What lies between the stage and the end of the link belongs to it, where no other link has a part in it.
  flow::LinkEnds at_writer(std::size_t index, const v1::PathMoved* path, const Ends& link, const Told& told) const {
    flow::LinkEnds ends{.sent = told.sent, .received = told.received};
    if (path != nullptr) {
      ends.sent = path->bytes().in();
      ends.dropped = path->bytes().dropped();
      if (!ends.received) ends.received = path->bytes().out();
      return ends;
    }
    if (link.from == kOutside || link.of_errors) return ends;
    auto stage = static_cast<std::size_t>(link.from);
    const v1::StageMoved* before = links_from(part(index), stage) == 1 ? moved_in(index, stage) : nullptr;
    if (before != nullptr && before->has_records())
      ends.sent = std::max(ends.sent.value_or(0), before->records().written_bytes());
    else if (before != nullptr && ends.sent)
      ends.waiting_before = output_waiting(*before).value_or(0);
    return ends;
  }

  void count_at_reader(std::size_t index, const Ends& link, flow::LinkEnds& ends) const {
    if (const v1::PathMoved* path = path_in(index, link)) {
      ends.received = path->bytes().out();
      ends.dropped += path->bytes().dropped();
    }
    if (const v1::RecordsMoved* read = read_by_stage(index, link))
      ends.received = read->read_bytes();
    else if (ends.received)
      ends.waiting_behind = waiting_for_stage(index, link);
  }

  // --- the client's stdin -----------------------------------------------------------------------------------------

  // Nobody counts what goes into it: what a stage has read of it is known.
  void add_stdin() {
    for (const v1::StageCounters& stage : counters_.stages()) {
      if (!stage.has_records() || has_link(stage.index())) continue;
      std::uint64_t bytes = stage.records().read_bytes();
      links_[{.to = static_cast<int>(stage.index())}] =
          Link{.bytes = {.in = bytes, .out = bytes}, .records = counts_of(stage.records())};
    }
  }
  bool has_link(std::size_t stage) const {
    auto leads_there = [stage](const auto& link) { return link.to == stage; };
    return std::ranges::any_of(input_.whole.links, leads_there) ||
           std::ranges::any_of(input_.graph.parts,
                               [&](const flow::Part& part) { return std::ranges::any_of(part.inputs, leads_there); });
  }

  void finish_link(const Ends& ends, const Link& link) {
    v1::LinkCounters& message = *counters_.add_links();
    message.set_from(ends.from);
    message.set_to(ends.to);
    message.set_of_errors(ends.of_errors);
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
