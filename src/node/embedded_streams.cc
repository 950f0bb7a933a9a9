#include "node/embedded_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <utility>

#include "base/pipe.h"
#include "flow/quoting.h"
#include "link/splice_relay.h"

namespace sluice::node {
namespace {

constexpr std::size_t kMarkColumns = 30;  // of a stage's name before each line

UniqueFd duplicate(int descriptor) { return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)); }

struct Relay {
  std::size_t stage = 0;
  exec::ProgramIndex reader = 0;
  link::SpliceRelay relay;
};

// What leads into a stage of jobs, and out of it.
struct JobEnds {
  std::vector<RecordStreams::End> from;  // of each link into it
  RecordStreams::End into;
  std::optional<exec::ProgramIndex> reader;  // whose input it writes
};

}  // namespace

struct EmbeddedStreams::Impl {
  Impl(const flow::Plan& to_plan, const EmbeddedStreamsOptions& to_options, StderrMarks& to_marks,
       const std::set<std::size_t>& far_stages)
      : plan(to_plan),
        options(to_options),
        marks(to_marks),
        far(far_stages),
        records(plan, options.records, options.flow),
        junctions(plan, options.records) {
    for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
      if (far.contains(stage) || plan.stages[stage].elsewhere) {
        first_program.push_back(static_cast<exec::ProgramIndex>(seats.size()));
        continue;
      }
      std::uint32_t workers = plan.stages[stage].mode == flow::RecordMode::spread ? plan.stages[stage].workers : 0;
      first_program.push_back(static_cast<exec::ProgramIndex>(seats.size()));
      if (workers == 0) seats.push_back({.stage = stage});
      for (std::uint32_t worker = 1; worker <= workers; ++worker) seats.push_back({.stage = stage, .worker = worker});
    }
  }

  // --- pipes ----------------------------------------------------------------------------------------------------

  // What a stage reads from us: the ends for its programs, and what the spawner keeps of each while we feed it.
  struct Inputs {
    std::vector<UniqueFd> ends;
    std::vector<UniqueFd> guards;
  };

  // A pipe into each program of the stage; our ends of them.
  std::expected<std::vector<UniqueFd>, int> make_inputs(std::size_t stage) {
    std::vector<UniqueFd> ours;
    Inputs& into = inputs[stage];
    for (std::size_t i = 0; i < programs_of(stage); ++i) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      into.guards.push_back(duplicate(pipe->write_end.get()));
      if (!into.guards.back()) return std::unexpected(errno);
      into.ends.push_back(std::move(pipe->read_end));
      ours.push_back(std::move(pipe->write_end));
    }
    return ours;
  }

  // What a stage writes to us: the ends for its programs, one for all processes of a stage of jobs.
  using Ends = std::map<std::size_t, std::vector<UniqueFd>>;

  // A pipe out of each program of the stage, which has its end in `theirs`; our ends of them.
  std::expected<std::vector<UniqueFd>, int> make_sources(std::size_t stage, Ends& theirs) {
    std::vector<UniqueFd> ours;
    for (std::size_t i = 0; i < programs_of(stage); ++i) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      theirs[stage].push_back(std::move(pipe->write_end));
      ours.push_back(std::move(pipe->read_end));
    }
    return ours;
  }

  std::expected<void, int> connect_link(const flow::PlannedLink& planned) {
    std::size_t from = planned.link.from, to = planned.link.to;
    if (planned.carrier == flow::LinkCarrier::junction) return {};
    if (planned.carrier == flow::LinkCarrier::kernel_pipe) return connect_pipe(from, to);
    if (planned.carrier == flow::LinkCarrier::byte_link) return connect_byte_link(from, to);
    if (planned.carrier == flow::LinkCarrier::records) return connect_records(from, to);
    auto sources = make_sources(from, outputs);
    if (!sources) return std::unexpected(sources.error());
    auto sinks = make_inputs(to);
    if (!sinks) return std::unexpected(sinks.error());
    relays.push_back({.stage = from,
                      .reader = first_program[to],
                      .relay = {std::move(sources->front()), std::move(sinks->front())}});
    return {};
  }

  // The spawner makes the pipes between neighbours.
  std::expected<void, int> connect_pipe(std::size_t from, std::size_t to) {
    if (plan.stages[to].program.input == exec::Stream::neighbour) return {};
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    outputs[from].push_back(std::move(pipe->write_end));
    inputs[to].ends.push_back(std::move(pipe->read_end));
    return {};
  }

  // The link into the stage that comes from there; nothing: several do.
  std::optional<flow::Link> link_from(const LinkSource& source, std::size_t stage) const {
    std::optional<flow::Link> found;
    auto is_from = [&](const flow::Link& link) {
      if (source.writer) return link.from == *source.writer;
      const flow::Junction& junction = plan.wiring.junctions[source.junction];
      return std::ranges::any_of(junction.paths, [&](const flow::Junction::Path& path) {
        const flow::Junction::Input& input = junction.inputs[path.input];
        return path.output == source.output && input.stage == link.from && input.of_errors == link.of_errors;
      });
    };
    for (const flow::PlannedLink& planned : plan.links) {
      if (planned.link.to != stage || !is_from(planned.link)) continue;
      if (found) return std::nullopt;
      found = planned.link;
    }
    return found;
  }

  // To another host, or from one: what is there is a pipe that a link fills, or empties.
  std::expected<void, int> connect_byte_link(std::size_t from, std::size_t to) {
    link_sources[to].push_back({.writer = from});
    if (plan.stages[to].elsewhere) {
      if (!is_one_program(from)) return lead_out_of(from, {.stream = std::move(around.outputs[to])}, std::nullopt);
      outputs[from].push_back(std::move(around.outputs[to]));
      return {};
    }
    StreamSurroundings::Input input = std::move(around.inputs[from]);
    if (!is_one_program(to)) return lead_into(to, {.stream = std::move(input.from)});
    inputs[to].ends.push_back(std::move(input.from));
    inputs[to].guards.push_back(std::move(input.guard));
    return {};
  }

  std::expected<void, int> connect_junction(std::size_t number) {
    const flow::Junction& junction = plan.wiring.junctions[number];
    std::vector<std::vector<UniqueFd>> from;
    for (const flow::Junction::Input& input : junction.inputs) {
      bool of_program = input.of_errors && !plan.stages[input.stage].elsewhere;
      auto sources = of_program ? make_sources(input.stage, errors) : lead_to_junction(input.stage);
      if (!sources) return std::unexpected(sources.error());
      from.push_back(*std::move(sources));
    }
    std::vector<JunctionStreams::Output> into;
    for (std::size_t i = 0; i < junction.outputs.size(); ++i) {
      const flow::Junction::Output& output = junction.outputs[i];
      if (output.stage)
        link_sources[*output.stage].push_back({.writer = std::nullopt, .junction = number, .output = i});
      auto sink = output.stage ? lead_from_junction(*output.stage) : flow_output();
      if (!sink) return std::unexpected(sink.error());
      into.push_back(*std::move(sink));
    }
    junctions.add(std::move(from), std::move(into));
    return {};
  }

  std::expected<std::vector<UniqueFd>, int> lead_to_junction(std::size_t stage) {
    if (plan.stages[stage].elsewhere) {
      std::vector<UniqueFd> from;
      from.push_back(std::move(around.inputs[stage].from));
      around.inputs[stage].guard.reset();
      return from;
    }
    if (is_one_program(stage)) return make_sources(stage, outputs);
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    auto led = lead_out_of(stage, {.stream = std::move(pipe->write_end)}, std::nullopt);
    if (!led) return std::unexpected(led.error());
    std::vector<UniqueFd> ours;
    ours.push_back(std::move(pipe->read_end));
    return ours;
  }

  std::expected<JunctionStreams::Output, int> lead_from_junction(std::size_t stage) {
    if (plan.stages[stage].elsewhere)
      return JunctionStreams::Output{.into = {.stream = std::move(around.outputs[stage])}, .reader = std::nullopt};
    if (is_one_program(stage)) {
      auto sinks = make_inputs(stage);
      if (!sinks) return std::unexpected(sinks.error());
      watch_input(stage, sinks->front());
      return JunctionStreams::Output{.into = {.stream = std::move(sinks->front())}, .reader = first_program[stage]};
    }
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    watch_input(stage, pipe->write_end);
    if (auto led = lead_into(stage, {.stream = std::move(pipe->read_end)}); !led) return std::unexpected(led.error());
    return JunctionStreams::Output{.into = {.stream = std::move(pipe->write_end)}, .reader = std::nullopt};
  }

  void watch_input(std::size_t stage, const UniqueFd& pipe) {
    if (watches_inputs) observers.emplace_back(stage, link::PipeObserver::watch(pipe.get()));
  }

  std::expected<JunctionStreams::Output, int> flow_output() {
    UniqueFd output = duplicate(around.own_output ? around.own_output.get() : STDOUT_FILENO);
    if (!output) return std::unexpected(errno);
    return JunctionStreams::Output{.into = {.stream = std::move(output), .ours = false}, .reader = std::nullopt};
  }

  // Where neither side is one program, a pipe of ours lies between the two streams of records.
  std::expected<void, int> connect_records(std::size_t from, std::size_t to) {
    link_sources[to].push_back({.writer = from});
    UniqueFd read_end, write_end;
    if (is_one_program(from)) {
      auto sources = make_sources(from, outputs);
      if (!sources) return std::unexpected(sources.error());
      read_end = std::move(sources->front());
    } else if (is_one_program(to)) {
      auto sinks = make_inputs(to);
      if (!sinks) return std::unexpected(sinks.error());
      write_end = std::move(sinks->front());
    } else {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      read_end = std::move(pipe->read_end);
      write_end = std::move(pipe->write_end);
    }
    if (write_end) {
      auto reader = is_one_program(to) ? std::optional(first_program[to]) : std::nullopt;
      if (auto led = lead_out_of(from, {.stream = std::move(write_end)}, reader); !led) return led;
    }
    if (read_end) return lead_into(to, {.stream = std::move(read_end), .writer = from});
    return {};
  }

  std::expected<void, int> lead_into(std::size_t stage, RecordStreams::End from) {
    if (moves_records_itself(stage)) {
      job_ends[stage].from.push_back(std::move(from));
      return {};
    }
    auto sinks = make_inputs(stage);
    if (!sinks) return std::unexpected(sinks.error());
    std::vector<exec::ProgramIndex> readers;
    for (std::size_t i = 0; i < programs_of(stage); ++i)
      readers.push_back(first_program[stage] + static_cast<exec::ProgramIndex>(i));
    records.add_spread(stage, std::move(from), *std::move(sinks), std::move(readers));
    return {};
  }

  std::expected<void, int> lead_out_of(std::size_t stage, RecordStreams::End into,
                                       std::optional<exec::ProgramIndex> reader) {
    if (moves_records_itself(stage)) {
      job_ends[stage].into = std::move(into);
      job_ends[stage].reader = reader;
      return {};
    }
    auto sources = make_sources(stage, outputs);
    if (!sources) return std::unexpected(sources.error());
    records.add_gather(stage, *std::move(sources), std::move(into), reader);
    return {};
  }

  // One stage may share our stdin, and one our stdout; others that no link leads to have an empty input.
  std::expected<void, int> connect_ends() {
    std::vector<bool> follows(plan.stages.size());
    for (const flow::PlannedLink& planned : plan.links) follows[planned.link.to] = true;
    for (std::size_t stage = 0; stage < plan.stages.size(); ++stage)
      if (!follows[stage] && !plan.stages[stage].elsewhere)
        if (auto connected = connect_source(stage); !connected) return connected;
    for (std::size_t stage = 0; stage < plan.stages.size(); ++stage)
      if (!is_one_program(stage) && !leads_on(stage))
        if (auto connected = connect_last(stage); !connected) return connected;
    return {};
  }

  bool leads_on(std::size_t stage) const {
    return plan.wiring.output_at_junction(stage) ||
           std::ranges::any_of(plan.links, [stage](const flow::PlannedLink& planned) {
             return planned.link.from == stage && !planned.link.of_errors;
           });
  }

  // What nobody takes, of a flow without an output, goes where that of a program would.
  std::expected<void, int> connect_last(std::size_t stage) {
    if (plan.wiring.writes_stdout == stage) {
      auto output = flow_output();
      if (!output) return std::unexpected(output.error());
      return lead_out_of(stage, std::move(output->into), std::nullopt);
    }
    if (around.output_end) {
      auto output = around.output_end(stage);
      if (!output) return std::unexpected(output.error());
      return lead_out_of(stage, {.stream = *std::move(output)}, std::nullopt);
    }
    UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (!null) return std::unexpected(errno);
    return lead_out_of(stage, {.stream = std::move(null), .ours = false}, std::nullopt);
  }

  std::expected<void, int> connect_far(std::size_t stage) {
    JobEnds& ends = job_ends[stage];
    UniqueFd error;
    if (auto linked = errors.find(stage); linked != errors.end()) error = std::move(linked->second.front());
    return records.add_far(stage, std::move(ends.from), std::move(ends.into), std::move(error), ends.reader,
                           std::move(around.seats[stage]));
  }

  bool moves_records_itself(std::size_t stage) const {
    return far.contains(stage) || flow::runs_by_job(plan.stages[stage]);
  }

  std::expected<void, int> connect_source(std::size_t stage) {
    bool reads_stdin = plan.wiring.reads_stdin == stage;
    if (reads_stdin && is_one_program(stage)) return {};
    int own = around.own_input ? around.own_input.get() : STDIN_FILENO;
    UniqueFd input = reads_stdin ? duplicate(own) : UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!input) return std::unexpected(errno);
    if (!is_one_program(stage)) return lead_into(stage, {.stream = std::move(input), .ours = false});
    inputs[stage].ends.push_back(std::move(input));
    return {};
  }

  bool is_one_program(std::size_t stage) const { return plan.stages[stage].mode == flow::RecordMode::none; }
  std::size_t programs_of(std::size_t stage) const {
    bool many = plan.stages[stage].mode == flow::RecordMode::spread;
    return many ? plan.stages[stage].workers : 1;
  }

  // Empty: where ours goes.
  std::expected<UniqueFd, int> error_end(const ProgramSeat& seat, const exec::Program& program) {
    if (program.error != exec::Stream::inherited) return UniqueFd();
    if (around.error_end) return around.error_end(seat.stage);
    if (options.mark_stderr) return marked_error(seat, program);
    return UniqueFd();
  }

  std::expected<UniqueFd, int> marked_error(const ProgramSeat& seat, const exec::Program& program) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    std::string mark = label_of(plan, seat.stage);
    if (seat.worker > 0) mark += fmt::format(".{}", seat.worker);
    if (plan.stages[seat.stage].name.empty()) mark += " " + flow::on_one_line(program.arguments.front(), kMarkColumns);
    marks.add(std::move(pipe->read_end), fmt::format("[{}] ", mark));
    return std::move(pipe->write_end);
  }

  std::expected<exec::Program, int> program_of_jobs(const ProgramSeat& seat, std::vector<UniqueFd>& passed) {
    exec::Program program = plan.stages[seat.stage].program;
    UniqueFd error;
    if (auto linked = errors.find(seat.stage); linked != errors.end()) {
      error = std::move(linked->second.front());
    } else {
      auto end = error_end(seat, program);
      if (!end) return std::unexpected(end.error());
      error = *std::move(end);
    }
    JobEnds& ends = job_ends[seat.stage];
    auto socket =
        records.add_jobs(seat.stage, std::move(ends.from), std::move(ends.into), std::move(error), ends.reader);
    if (!socket) return std::unexpected(socket.error());
    passed.push_back(*std::move(socket));
    return program;
  }

  std::expected<exec::Program, int> program_for(const ProgramSeat& seat, std::vector<UniqueFd>& passed) {
    if (flow::runs_by_job(plan.stages[seat.stage])) return program_of_jobs(seat, passed);
    exec::Program program = plan.stages[seat.stage].program;
    std::size_t index = seat.worker == 0 ? 0 : seat.worker - 1;
    Inputs& into = inputs[seat.stage];
    if (program.input == exec::Stream::passed) passed.push_back(std::move(into.ends[index]));
    if (program.output == exec::Stream::passed) {
      passed.push_back(std::move(outputs[seat.stage][index]));
    } else if (program.output == exec::Stream::inherited && around.output_end) {
      auto output = around.output_end(seat.stage);
      if (!output) return std::unexpected(output.error());
      program.output = exec::Stream::passed;
      passed.push_back(*std::move(output));
    }
    if (program.error == exec::Stream::passed) {
      passed.push_back(std::move(errors[seat.stage][index]));
    } else if (auto error = error_end(seat, program); !error) {
      return std::unexpected(error.error());
    } else if (*error) {
      program.error = exec::Stream::passed;
      passed.push_back(*std::move(error));
    }
    if (program.guarded_input) passed.push_back(std::move(into.guards[index]));
    return program;
  }

  void move(Relay& each) {
    using State = link::SpliceRelay::State;
    if (each.relay.state() != State::moving) return;
    each.relay.move();
    if (each.relay.state() == State::failed) events.push_back(RelayFailed{.stage = each.stage, .error = errno});
    if (each.relay.state() != State::moving) events.push_back(InputOver{each.reader});
  }

  const flow::Plan& plan;
  EmbeddedStreamsOptions options;
  StderrMarks& marks;
  std::set<std::size_t> far;
  StreamSurroundings around;
  std::vector<ProgramSeat> seats;
  std::vector<exec::ProgramIndex> first_program;  // of each stage
  std::map<std::size_t, Inputs> inputs;           // by stage, until they are passed
  Ends outputs, errors;
  std::vector<Relay> relays;
  std::map<std::size_t, JobEnds> job_ends;  // by stage, until they are added
  LinkSources link_sources;
  bool watches_inputs = false;
  std::vector<std::pair<std::size_t, link::PipeObserver>> observers;  // of pipes from junctions, by their reader
  std::deque<StreamEvent> events;
  RecordStreams records;
  JunctionStreams junctions;
};

EmbeddedStreams::EmbeddedStreams(const flow::Plan& plan, const EmbeddedStreamsOptions& options, StderrMarks& marks,
                                 const std::set<std::size_t>& far)
    : impl_(std::make_unique<Impl>(plan, options, marks, far)) {}
EmbeddedStreams::~EmbeddedStreams() = default;

const std::vector<ProgramSeat>& EmbeddedStreams::seats() const { return impl_->seats; }

void EmbeddedStreams::watch_inputs() { impl_->watches_inputs = true; }

std::vector<std::pair<std::size_t, link::PipeObserver>> EmbeddedStreams::take_input_observers() {
  return std::exchange(impl_->observers, {});
}

std::expected<std::vector<exec::Program>, int> EmbeddedStreams::connect(std::vector<UniqueFd>& passed,
                                                                        StreamSurroundings surroundings) {
  impl_->around = std::move(surroundings);
  for (const flow::PlannedLink& link : impl_->plan.links)
    if (auto connected = impl_->connect_link(link); !connected) return std::unexpected(connected.error());
  for (std::size_t i = 0; i < impl_->plan.wiring.junctions.size(); ++i)
    if (auto connected = impl_->connect_junction(i); !connected) return std::unexpected(connected.error());
  if (auto connected = impl_->connect_ends(); !connected) return std::unexpected(connected.error());
  impl_->around.own_input.reset();
  impl_->around.own_output.reset();  // who reads it is to see the stages' ends alone
  std::vector<exec::Program> programs;
  for (const ProgramSeat& seat : impl_->seats) {
    auto program = impl_->program_for(seat, passed);
    if (!program) return std::unexpected(program.error());
    programs.push_back(*std::move(program));
  }
  for (std::size_t stage : impl_->far)
    if (auto added = impl_->connect_far(stage); !added) return std::unexpected(added.error());
  if (auto prepared = impl_->records.prepare(); !prepared) return std::unexpected(prepared.error());
  if (auto prepared = impl_->junctions.prepare(); !prepared) return std::unexpected(prepared.error());
  return programs;
}

std::expected<void, std::string> EmbeddedStreams::open_files() {
  if (auto opened = impl_->records.open_files(); !opened) return opened;
  return impl_->junctions.open_files();
}

void EmbeddedStreams::start() {
  impl_->records.start();
  impl_->junctions.start();
}

std::expected<void, int> EmbeddedStreams::add_seat(std::size_t stage, SeatPipes pipes) {
  return impl_->records.add_seat(stage, std::move(pipes));
}

std::expected<UniqueFd, int> EmbeddedStreams::notices_descriptor() const {
  UniqueFd both(::epoll_create1(EPOLL_CLOEXEC));
  if (!both) return std::unexpected(errno);
  for (int each : {impl_->records.descriptor(), impl_->junctions.descriptor()}) {
    epoll_event readable{.events = EPOLLIN, .data = {}};
    if (each >= 0 && ::epoll_ctl(both.get(), EPOLL_CTL_ADD, each, &readable) != 0) return std::unexpected(errno);
  }
  return both;
}

bool EmbeddedStreams::output_over(std::size_t elsewhere) const {
  for (const flow::PlannedLink& planned : impl_->plan.links)
    if (planned.link.to == elsewhere && planned.carrier == flow::LinkCarrier::byte_link)
      return impl_->is_one_program(planned.link.from) || impl_->records.output_over(planned.link.from);
  return impl_->junctions.output_over(elsewhere);
}

std::optional<exec::ProgramIndex> EmbeddedStreams::reader_of(std::size_t elsewhere) const {
  for (const flow::PlannedLink& planned : impl_->plan.links)
    if (planned.link.from == elsewhere && planned.carrier == flow::LinkCarrier::byte_link &&
        impl_->is_one_program(planned.link.to))
      return impl_->first_program[planned.link.to];
  return std::nullopt;
}

void EmbeddedStreams::stop() {
  impl_->records.stop();
  impl_->junctions.stop();
}

std::expected<std::uint32_t, std::string> EmbeddedStreams::set_workers(std::size_t stage, std::uint32_t workers) {
  return impl_->records.set_workers(stage, workers);
}

void EmbeddedStreams::stop_jobs() { impl_->records.stop_jobs(); }

std::optional<exec::ProcessStatus> EmbeddedStreams::status_of(std::size_t stage) const {
  return impl_->records.status_of(stage);
}

void EmbeddedStreams::add_waits(std::vector<pollfd>& polled) const {
  add_waits_for_records(polled);
  for (const Relay& each : impl_->relays) {
    auto waits = each.relay.waits();
    if (!waits) continue;
    polled.push_back(waits->input);
    polled.push_back(waits->output);
  }
}

void EmbeddedStreams::move() {
  for (Relay& each : impl_->relays) impl_->move(each);
  impl_->records.take_notices();
  impl_->junctions.take_notices();
  auto pass_on = [this](auto& what) { impl_->events.push_back(std::move(what)); };
  while (auto event = impl_->records.poll_event()) std::visit(pass_on, *event);
  while (auto event = impl_->junctions.poll_event()) std::visit(pass_on, *event);
}

std::optional<StreamEvent> EmbeddedStreams::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  StreamEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

bool EmbeddedStreams::records_over() const { return impl_->records.over() && impl_->junctions.over(); }

void EmbeddedStreams::add_waits_for_records(std::vector<pollfd>& polled) const {
  polled.push_back({.fd = impl_->records.descriptor(), .events = POLLIN, .revents = 0});
  polled.push_back({.fd = impl_->junctions.descriptor(), .events = POLLIN, .revents = 0});
}

std::map<std::size_t, JobStageCounts> EmbeddedStreams::stage_counts() const { return impl_->records.stage_counts(); }

std::vector<EmbeddedStreams::LinkApart> EmbeddedStreams::links_apart(
    const std::map<std::size_t, JobStageCounts>& counts) const {
  std::vector<LinkApart> apart;
  for (const auto& [stage, counted] : counts) {
    auto sources = impl_->link_sources.find(stage);
    if (counted.links.size() < 2 || sources == impl_->link_sources.end()) continue;
    for (std::size_t i = 0; i < std::min(counted.links.size(), sources->second.size()); ++i)
      if (auto link = impl_->link_from(sources->second[i], stage))
        apart.push_back({link->from, link->of_errors, stage, counted.links[i]});
  }
  return apart;
}

std::vector<JunctionStreams::PathCounts> EmbeddedStreams::path_counts() const { return impl_->junctions.path_counts(); }

std::vector<flow::StallParty> EmbeddedStreams::stall_parties() const {
  return node::stall_parties(impl_->plan, impl_->link_sources,
                             {.stages = impl_->records.stage_counts(), .junctions = impl_->junctions.standing()});
}

void EmbeddedStreams::count(flow::FlowSummary& summary, bool exact) const {
  for (const Relay& each : impl_->relays) summary.stages[each.stage].output_bytes = each.relay.moved().value;
  impl_->records.count(summary, exact);
  impl_->junctions.count(summary, exact);
}

}  // namespace sluice::node
