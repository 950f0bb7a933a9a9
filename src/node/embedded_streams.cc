#include "node/embedded_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

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
  RecordStreams::End from, into;
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
        records(plan, options.records, options.flow) {
    for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
      if (far.contains(stage)) {
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

  std::expected<std::vector<UniqueFd>, int> make_outputs(std::size_t stage) {
    std::vector<UniqueFd> ours;
    for (std::size_t i = 0; i < programs_of(stage); ++i) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      outputs[stage].push_back(std::move(pipe->write_end));
      ours.push_back(std::move(pipe->read_end));
    }
    return ours;
  }

  std::expected<void, int> connect_link(const flow::PlannedLink& planned) {
    std::size_t from = planned.link.from, to = planned.link.to;
    if (planned.carrier == flow::LinkCarrier::kernel_pipe) return {};
    if (planned.carrier == flow::LinkCarrier::records) return connect_records(from, to);
    auto sources = make_outputs(from);
    if (!sources) return std::unexpected(sources.error());
    auto sinks = make_inputs(to);
    if (!sinks) return std::unexpected(sinks.error());
    relays.push_back({.stage = from,
                      .reader = first_program[to],
                      .relay = {std::move(sources->front()), std::move(sinks->front())}});
    return {};
  }

  // Where neither side is one program, a pipe of ours lies between the two streams of records.
  std::expected<void, int> connect_records(std::size_t from, std::size_t to) {
    UniqueFd read_end, write_end;
    if (is_one_program(from)) {
      auto sources = make_outputs(from);
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
    if (read_end) return lead_into(to, {.stream = std::move(read_end)});
    return {};
  }

  std::expected<void, int> lead_into(std::size_t stage, RecordStreams::End from) {
    if (moves_records_itself(stage)) {
      job_ends[stage].from = std::move(from);
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
    auto sources = make_outputs(stage);
    if (!sources) return std::unexpected(sources.error());
    records.add_gather(stage, *std::move(sources), std::move(into), reader);
    return {};
  }

  // The first stage shares our stdin, the last our stdout, unless they have others here.
  std::expected<void, int> connect_ends() {
    std::size_t last = plan.stages.size() - 1;
    if (!is_one_program(0)) {
      bool ours = static_cast<bool>(around.input);
      UniqueFd input = ours ? std::move(around.input) : duplicate(STDIN_FILENO);
      around.input_guard.reset();
      if (!input) return std::unexpected(errno);
      if (auto led = lead_into(0, {.stream = std::move(input), .ours = ours}); !led) return led;
    }
    if (!is_one_program(last)) {
      bool ours = static_cast<bool>(around.output);
      UniqueFd output = ours ? std::move(around.output) : duplicate(STDOUT_FILENO);
      if (!output) return std::unexpected(errno);
      if (auto led = lead_out_of(last, {.stream = std::move(output), .ours = ours}, std::nullopt); !led) return led;
    }
    if (around.input) {
      inputs[0].ends.push_back(std::move(around.input));
      inputs[0].guards.push_back(std::move(around.input_guard));
    }
    if (around.output) outputs[last].push_back(std::move(around.output));
    return {};
  }

  // Which of the ends of a stage of one program lead elsewhere than the plan says.
  void set_ends(std::size_t stage, exec::Program& program) const {
    if (inputs_given && stage == 0) {
      program.input = exec::Stream::passed;
      program.guarded_input = true;
    }
    if (outputs_given && stage + 1 == plan.stages.size()) program.output = exec::Stream::passed;
  }

  std::expected<void, int> connect_far(std::size_t stage) {
    JobEnds& ends = job_ends[stage];
    return records.add_far(stage, std::move(ends.from), std::move(ends.into), UniqueFd(), ends.reader,
                           std::move(around.seats[stage]));
  }

  bool moves_records_itself(std::size_t stage) const {
    return far.contains(stage) || flow::runs_by_job(plan.stages[stage]);
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
    std::string number = fmt::format("{}", seat.stage + 1);
    if (seat.worker > 0) number += fmt::format(".{}", seat.worker);
    marks.add(std::move(pipe->read_end),
              fmt::format("[{} {}] ", number, flow::on_one_line(program.arguments.front(), kMarkColumns)));
    return std::move(pipe->write_end);
  }

  std::expected<exec::Program, int> program_of_jobs(const ProgramSeat& seat, std::vector<UniqueFd>& passed) {
    exec::Program program = plan.stages[seat.stage].program;
    auto error = error_end(seat, program);
    if (!error) return std::unexpected(error.error());
    JobEnds& ends = job_ends[seat.stage];
    auto socket =
        records.add_jobs(seat.stage, std::move(ends.from), std::move(ends.into), *std::move(error), ends.reader);
    if (!socket) return std::unexpected(socket.error());
    passed.push_back(*std::move(socket));
    return program;
  }

  std::expected<exec::Program, int> program_for(const ProgramSeat& seat, std::vector<UniqueFd>& passed) {
    if (flow::runs_by_job(plan.stages[seat.stage])) return program_of_jobs(seat, passed);
    exec::Program program = plan.stages[seat.stage].program;
    set_ends(seat.stage, program);
    std::size_t index = seat.worker == 0 ? 0 : seat.worker - 1;
    Inputs& into = inputs[seat.stage];
    if (program.input == exec::Stream::passed) passed.push_back(std::move(into.ends[index]));
    if (program.output == exec::Stream::passed) passed.push_back(std::move(outputs[seat.stage][index]));
    auto error = error_end(seat, program);
    if (!error) return std::unexpected(error.error());
    if (*error) {
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
  bool inputs_given = false, outputs_given = false;  // by those around us
  std::vector<ProgramSeat> seats;
  std::vector<exec::ProgramIndex> first_program;  // of each stage
  std::map<std::size_t, Inputs> inputs;           // by stage, until they are passed
  std::map<std::size_t, std::vector<UniqueFd>> outputs;
  std::vector<Relay> relays;
  std::map<std::size_t, JobEnds> job_ends;  // by stage, until they are added
  std::deque<StreamEvent> events;
  RecordStreams records;
};

EmbeddedStreams::EmbeddedStreams(const flow::Plan& plan, const EmbeddedStreamsOptions& options, StderrMarks& marks,
                                 const std::set<std::size_t>& far)
    : impl_(std::make_unique<Impl>(plan, options, marks, far)) {}
EmbeddedStreams::~EmbeddedStreams() = default;

const std::vector<ProgramSeat>& EmbeddedStreams::seats() const { return impl_->seats; }

std::expected<std::vector<exec::Program>, int> EmbeddedStreams::connect(std::vector<UniqueFd>& passed,
                                                                        StreamSurroundings surroundings) {
  impl_->around = std::move(surroundings);
  impl_->inputs_given = impl_->around.input && impl_->is_one_program(0);
  impl_->outputs_given = impl_->around.output && impl_->is_one_program(impl_->plan.stages.size() - 1);
  for (const flow::PlannedLink& link : impl_->plan.links)
    if (auto connected = impl_->connect_link(link); !connected) return std::unexpected(connected.error());
  if (auto connected = impl_->connect_ends(); !connected) return std::unexpected(connected.error());
  std::vector<exec::Program> programs;
  for (const ProgramSeat& seat : impl_->seats) {
    auto program = impl_->program_for(seat, passed);
    if (!program) return std::unexpected(program.error());
    programs.push_back(*std::move(program));
  }
  for (std::size_t stage : impl_->far)
    if (auto added = impl_->connect_far(stage); !added) return std::unexpected(added.error());
  if (auto prepared = impl_->records.prepare(); !prepared) return std::unexpected(prepared.error());
  return programs;
}

std::expected<void, std::string> EmbeddedStreams::open_files() { return impl_->records.open_files(); }

void EmbeddedStreams::start() { impl_->records.start(); }

void EmbeddedStreams::stop() { impl_->records.stop(); }

void EmbeddedStreams::stop_jobs() { impl_->records.stop_jobs(); }

std::optional<exec::ProcessStatus> EmbeddedStreams::status_of(std::size_t stage) const {
  return impl_->records.status_of(stage);
}

void EmbeddedStreams::add_waits(std::vector<pollfd>& polled) const {
  polled.push_back({.fd = descriptor(), .events = POLLIN, .revents = 0});
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
  while (auto event = impl_->records.poll_event())
    std::visit([this](auto& what) { impl_->events.push_back(std::move(what)); }, *event);
}

std::optional<StreamEvent> EmbeddedStreams::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  StreamEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

bool EmbeddedStreams::records_over() const { return impl_->records.over(); }

int EmbeddedStreams::descriptor() const { return impl_->records.descriptor(); }

void EmbeddedStreams::count(flow::FlowSummary& summary, bool exact) const {
  for (const Relay& each : impl_->relays) summary.stages[each.stage].output_bytes = each.relay.moved().value;
  impl_->records.count(summary, exact);
}

}  // namespace sluice::node
