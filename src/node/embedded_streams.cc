#include "node/embedded_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "base/pipe.h"
#include "base/require.h"
#include "flow/quoting.h"
#include "link/record_gather.h"
#include "link/record_spread.h"
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

// Into the workers of a stage, or out of them.
struct RecordStream {
  std::size_t stage = 0;
  bool into = false;
  std::vector<UniqueFd> many;  // the workers' ends, until it is started
  UniqueFd one;
  bool one_is_ours = true;
  std::vector<exec::ProgramIndex> readers;  // programs whose input it is
  std::optional<link::RecordSpread> spread;
  std::optional<link::RecordGather> gather;
  bool over = false;
};

// What a thread of records leaves for the loop.
struct Notices {
  UniqueFd wake;  // if there is a stream of records
  std::mutex mutex;
  std::vector<std::pair<std::size_t, link::RecordStreamEnd>> ends;  // of which stream

  void put(std::size_t stream, link::RecordStreamEnd end) {
    std::lock_guard lock(mutex);
    ends.emplace_back(stream, std::move(end));
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }
  std::vector<std::pair<std::size_t, link::RecordStreamEnd>> take() {
    if (!wake) return {};
    std::lock_guard lock(mutex);
    std::uint64_t count = 0;
    (void)!::read(wake.get(), &count, sizeof count);
    return std::exchange(ends, {});
  }
};

}  // namespace

struct EmbeddedStreams::Impl {
  Impl(const flow::Plan& to_plan, const EmbeddedStreamsOptions& to_options, StderrMarks& to_marks)
      : plan(to_plan), options(to_options), marks(to_marks) {
    for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
      std::uint32_t workers = plan.stages[stage].workers;
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
    auto sources = make_outputs(from);
    if (!sources) return std::unexpected(sources.error());
    auto sinks = make_inputs(to);
    if (!sinks) return std::unexpected(sinks.error());
    if (planned.carrier == flow::LinkCarrier::relay) {
      relays.push_back({.stage = from,
                        .reader = first_program[to],
                        .relay = {std::move(sources->front()), std::move(sinks->front())}});
      return {};
    }
    return connect_records(from, to, *std::move(sources), *std::move(sinks));
  }

  // Many to many is gathered into a pipe of ours, and spread again.
  std::expected<void, int> connect_records(std::size_t from, std::size_t to, std::vector<UniqueFd> sources,
                                           std::vector<UniqueFd> sinks) {
    bool gathers = plan.stages[from].workers > 0, spreads = plan.stages[to].workers > 0;
    UniqueFd between = gathers ? std::move(sinks.front()) : std::move(sources.front());
    if (gathers && spreads) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      sinks.front() = std::exchange(between, std::move(pipe->write_end));
      add_spread(to, std::move(pipe->read_end), true, std::move(sinks));
    } else if (spreads) {
      add_spread(to, std::exchange(between, UniqueFd()), true, std::move(sinks));
    }
    if (gathers)
      add_gather(from, std::move(sources), std::move(between), true, spreads ? std::nullopt : std::optional(to));
    return {};
  }

  void add_spread(std::size_t stage, UniqueFd from, bool from_is_ours, std::vector<UniqueFd> into) {
    RecordStream& stream = streams.emplace_back();
    stream.stage = stage;
    stream.into = true;
    stream.one = std::move(from);
    stream.one_is_ours = from_is_ours;
    stream.many = std::move(into);
    for (std::size_t i = 0; i < programs_of(stage); ++i)
      stream.readers.push_back(first_program[stage] + static_cast<exec::ProgramIndex>(i));
  }

  void add_gather(std::size_t stage, std::vector<UniqueFd> from, UniqueFd into, bool into_is_ours,
                  std::optional<std::size_t> reader) {
    RecordStream& stream = streams.emplace_back();
    stream.stage = stage;
    stream.one = std::move(into);
    stream.one_is_ours = into_is_ours;
    stream.many = std::move(from);
    if (reader) stream.readers.push_back(first_program[*reader]);
  }

  // The first stage shares our stdin, the last our stdout.
  std::expected<void, int> connect_ends() {
    if (plan.stages.front().workers > 0) {
      auto sinks = make_inputs(0);
      if (!sinks) return std::unexpected(sinks.error());
      UniqueFd input = duplicate(STDIN_FILENO);
      if (!input) return std::unexpected(errno);
      add_spread(0, std::move(input), false, *std::move(sinks));
    }
    std::size_t last = plan.stages.size() - 1;
    if (plan.stages[last].workers > 0) {
      auto sources = make_outputs(last);
      if (!sources) return std::unexpected(sources.error());
      UniqueFd output = duplicate(STDOUT_FILENO);
      if (!output) return std::unexpected(errno);
      add_gather(last, *std::move(sources), std::move(output), false, std::nullopt);
    }
    return {};
  }

  std::size_t programs_of(std::size_t stage) const { return std::max<std::size_t>(1, plan.stages[stage].workers); }

  std::expected<exec::Program, int> program_for(const ProgramSeat& seat, std::vector<UniqueFd>& passed) {
    exec::Program program = plan.stages[seat.stage].program;
    std::size_t index = seat.worker == 0 ? 0 : seat.worker - 1;
    Inputs& into = inputs[seat.stage];
    if (program.input == exec::Stream::passed) passed.push_back(std::move(into.ends[index]));
    if (program.output == exec::Stream::passed) passed.push_back(std::move(outputs[seat.stage][index]));
    if (options.mark_stderr && program.error == exec::Stream::inherited) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      program.error = exec::Stream::passed;
      passed.push_back(std::move(pipe->write_end));
      std::string number = fmt::format("{}", seat.stage + 1);
      if (seat.worker > 0) number += fmt::format(".{}", seat.worker);
      marks.add(std::move(pipe->read_end),
                fmt::format("[{} {}] ", number, flow::on_one_line(program.arguments.front(), kMarkColumns)));
    }
    if (program.guarded_input) passed.push_back(std::move(into.guards[index]));
    return program;
  }

  // --- records --------------------------------------------------------------------------------------------------

  void start(std::size_t index) {
    RecordStream& stream = streams[index];
    link::RecordCutter::Options cut{.framing = plan.stages[stream.stage].framing, .record_max = options.record_max};
    auto on_end = [this, index](link::RecordStreamEnd end) { notices.put(index, std::move(end)); };
    int error = 0;
    if (stream.into) {
      auto spread = link::RecordSpread::start(std::move(stream.one), std::move(stream.many),
                                              {.cut = cut, .from_is_ours = stream.one_is_ours}, on_end);
      if (spread) return static_cast<void>(stream.spread.emplace(*std::move(spread)));
      error = spread.error();
    } else {
      auto gather = link::RecordGather::start(std::move(stream.many), std::move(stream.one),
                                              {.cut = cut, .into_is_ours = stream.one_is_ours}, on_end);
      if (gather) return static_cast<void>(stream.gather.emplace(*std::move(gather)));
      error = gather.error();
    }
    // Nobody reads stdout: the workers, whose output is closed now, learn it as in a shell.
    if (error == EPIPE) return notices.put(index, {.kind = link::RecordStreamEnd::Kind::reader_gone, .why = {}});
    notices.put(index, {.kind = link::RecordStreamEnd::Kind::failed,
                        .why = fmt::format("its records can't be moved: {}; raise the limit (ulimit -n, ulimit -u)",
                                           std::strerror(error))});
  }

  void on_end(std::size_t index, link::RecordStreamEnd end) {
    RecordStream& stream = streams[index];
    stream.over = true;
    if (end.kind == link::RecordStreamEnd::Kind::failed) {
      events.push_back(RecordsFailed{.stage = stream.stage, .why = std::move(end.why)});
      return;
    }
    for (exec::ProgramIndex reader : stream.readers) events.push_back(InputOver{reader});
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
  std::vector<ProgramSeat> seats;
  std::vector<exec::ProgramIndex> first_program;  // of each stage
  std::map<std::size_t, Inputs> inputs;           // by stage, until they are passed
  std::map<std::size_t, std::vector<UniqueFd>> outputs;
  std::vector<Relay> relays;
  std::deque<StreamEvent> events;
  Notices notices;
  std::vector<RecordStream> streams;  // their threads leave notices: they go first
};

EmbeddedStreams::EmbeddedStreams(const flow::Plan& plan, const EmbeddedStreamsOptions& options, StderrMarks& marks)
    : impl_(std::make_unique<Impl>(plan, options, marks)) {}
EmbeddedStreams::~EmbeddedStreams() = default;

const std::vector<ProgramSeat>& EmbeddedStreams::seats() const { return impl_->seats; }

std::expected<std::vector<exec::Program>, int> EmbeddedStreams::connect(std::vector<UniqueFd>& passed) {
  for (const flow::PlannedLink& link : impl_->plan.links)
    if (auto connected = impl_->connect_link(link); !connected) return std::unexpected(connected.error());
  if (auto connected = impl_->connect_ends(); !connected) return std::unexpected(connected.error());
  if (!impl_->streams.empty()) {
    impl_->notices.wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!impl_->notices.wake) return std::unexpected(errno);
  }
  std::vector<exec::Program> programs;
  for (const ProgramSeat& seat : impl_->seats) {
    auto program = impl_->program_for(seat, passed);
    if (!program) return std::unexpected(program.error());
    programs.push_back(*std::move(program));
  }
  return programs;
}

void EmbeddedStreams::start() {
  for (std::size_t i = 0; i < impl_->streams.size(); ++i) impl_->start(i);
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
  for (auto& [stream, end] : impl_->notices.take()) impl_->on_end(stream, std::move(end));
}

std::optional<StreamEvent> EmbeddedStreams::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  StreamEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

bool EmbeddedStreams::records_over() const { return std::ranges::all_of(impl_->streams, &RecordStream::over); }

int EmbeddedStreams::descriptor() const { return impl_->notices.wake.get(); }

void EmbeddedStreams::count(flow::FlowSummary& summary, bool exact) const {
  for (const Relay& each : impl_->relays) summary.stages[each.stage].output_bytes = each.relay.moved().value;
  for (const RecordStream& stream : impl_->streams) {
    auto& workers = summary.stages[stream.stage].workers;
    for (std::size_t i = 0; i < workers.size(); ++i) {
      if (stream.spread) workers[i].records_given = stream.spread->given(i);
      if (stream.gather) workers[i].records_written = stream.gather->taken(i);
    }
    if (!exact) continue;
    if (stream.gather) summary.stages[stream.stage].output_bytes = stream.gather->bytes();
    bool source_is_one = stream.spread && stream.stage > 0 && summary.stages[stream.stage - 1].workers.empty();
    if (source_is_one) summary.stages[stream.stage - 1].output_bytes = stream.spread->bytes();
  }
}

}  // namespace sluice::node
