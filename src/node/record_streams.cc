#include "node/record_streams.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "base/pipe.h"
#include "flow/plan_links.h"
#include "link/record_gather.h"
#include "link/record_spread.h"
#include "node/dead_letters.h"
#include "node/each_stage.h"
#include "node/far_seats.h"
#include "node/job_log.h"
#include "node/map_stage.h"
#include "node/spread_jobs.h"
#include "node/worker_stage.h"

namespace sluice::node {
namespace {

// Into the workers of a stage, or out of them.
struct WorkerStream {
  std::size_t stage = 0;
  bool into = false;
  std::vector<UniqueFd> many;  // the workers' ends, until it is started
  RecordStreams::End one;
  std::vector<exec::ProgramIndex> readers;  // programs whose input it is
  std::optional<link::RecordSpread> spread;
  std::optional<link::RecordGather> gather;
  bool over = false, failed = false;
};

// The seats of one stage, until they are started.
struct StageSeats {
  std::size_t stage = 0;
  std::vector<FarSeatEnds> ends;
};

struct JobStream {
  std::size_t stage = 0;
  JobStageStreams streams;                          // until it is started
  std::vector<std::optional<std::size_t>> writers;  // of each link into it: the stage all of whose output it carries
  std::vector<SpreadWorkerStreams> workers;  // likewise, of a spread stage in seats: what its processes read and write
  std::optional<exec::ProgramIndex> reader;  // whose input it is
  std::vector<std::string> hosts;            // of its workers, if they are in seats
  std::unique_ptr<JobStage> running;
  std::optional<exec::ProcessStatus> status;
  std::uint32_t wanted_workers = 0;
  bool over = false, failed = false;
};

// What the threads leave for the loop.
template <class End>
struct Notices {
  std::mutex mutex;
  std::vector<std::pair<std::size_t, End>> ends;  // of which stream

  void put(std::size_t stream, End end) {
    std::lock_guard lock(mutex);
    ends.emplace_back(stream, std::move(end));
  }
  std::vector<std::pair<std::size_t, End>> take() {
    std::lock_guard lock(mutex);
    return std::exchange(ends, {});
  }
};

// What leads into a stage of jobs, and out of it.
void connect(JobStream& stream, std::vector<RecordStreams::End> from, RecordStreams::End into) {
  for (RecordStreams::End& end : from) {
    stream.streams.from.push_back({.descriptor = std::move(end.stream), .is_ours = end.ours});
    stream.writers.push_back(end.writer);
  }
  stream.streams.into = {.descriptor = std::move(into.stream), .is_ours = into.ours};
}

std::string cannot_move(int error) {
  return fmt::format("its records can't be moved: {}; raise the limit (ulimit -n, ulimit -u)", std::strerror(error));
}

void add_spread_counts(const link::RecordSpread& spread, JobStageCounts& counts) {
  std::vector<link::WorkerDurations> times = spread.times();
  counts.workers.resize(times.size());
  counts.input_bytes = spread.bytes();
  for (std::size_t i = 0; i < times.size(); ++i) {
    counts.workers[i].times = times[i];
    counts.workers[i].records_given = spread.given(i);
    counts.records_read += counts.workers[i].records_given;
  }
  counts.records_settled = counts.records_read;
}

// Where the stage's output takes nothing, a worker whose input is full is held back too.
void add_gather_counts(const link::RecordGather& gather, JobStageCounts& counts) {
  std::vector<link::WorkerDurations> times = gather.times();
  counts.workers.resize(times.size());
  counts.output_bytes = gather.bytes();
  for (std::size_t i = 0; i < times.size(); ++i) {
    JobStageCounts::Worker& worker = counts.workers[i];
    const Duration total = times[i].total(), held_back = times[i].held_back;
    const Duration busy = std::min(worker.times.busy, total - held_back);
    worker.times = {.busy = busy, .idle = total - held_back - busy, .held_back = held_back};
    worker.records_written = gather.taken(i);
    counts.records_out += worker.records_written;
  }
}

}  // namespace

struct RecordStreams::Impl {
  Impl(const flow::Plan& to_plan, RecordSettings to_settings, std::string to_flow)
      : plan(to_plan), settings(std::move(to_settings)), flow(std::move(to_flow)) {}

  void tell() const {
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }

  std::uint32_t retries_of(std::size_t stage) const { return plan.stages[stage].retries.value_or(settings.retries); }

  // The tap is the first stage that takes records. A link leads on to a later stage.
  std::optional<double> rate_of(std::size_t stage) const {
    if (plan.stages[stage].records_per_second) return plan.stages[stage].records_per_second;
    if (!settings.rate) return std::nullopt;
    std::vector<bool> leads_here(plan.stages.size());
    leads_here[stage] = true;
    for (std::size_t before = stage + 1; before-- > 0;) {
      if (!leads_here[before]) continue;
      if (before != stage && plan.stages[before].workers > 0) return std::nullopt;
      for (const flow::PlannedLink& planned : plan.links)
        if (planned.link.to == before) leads_here[planned.link.from] = true;
    }
    return settings.rate;
  }

  link::RecordCutter::Options cut_of(std::size_t stage) const {
    return {.framing = plan.stages[stage].framing, .record_max = settings.record_max};
  }

  void start_workers(std::size_t index) {
    WorkerStream& stream = workers[index];
    auto on_end = [this, index](link::RecordStreamEnd end) {
      worker_ends.put(index, std::move(end));
      tell();
    };
    int error = 0;
    if (stream.into) {
      link::RecordSpreadOptions options{
          .cut = cut_of(stream.stage), .from_is_ours = stream.one.ours, .rate = rate_of(stream.stage)};
      if (const flow::PlannedStage& planned = plan.stages[stream.stage]; planned.by)
        options.lane_of = [key = *planned.by, count = planned.workers](std::string_view record) {
          return key.worker_for(record, count);
        };
      auto spread = link::RecordSpread::start(std::move(stream.one.stream), std::move(stream.many), options, on_end);
      if (spread) return static_cast<void>(stream.spread.emplace(*std::move(spread)));
      error = spread.error();
    } else {
      link::RecordGatherOptions options{.cut = cut_of(stream.stage), .into_is_ours = stream.one.ours};
      auto gather = link::RecordGather::start(std::move(stream.many), std::move(stream.one.stream), options, on_end);
      if (gather) return static_cast<void>(stream.gather.emplace(*std::move(gather)));
      error = gather.error();
    }
    // Nobody reads stdout: the workers, whose output is closed now, learn it as in a shell.
    if (error == EPIPE) return on_end({.kind = link::RecordStreamEnd::Kind::reader_gone, .why = {}});
    on_end({.kind = link::RecordStreamEnd::Kind::failed, .why = cannot_move(error)});
  }

  void start_jobs(std::size_t index) {
    JobStream& stream = jobs[index];
    const flow::PlannedStage& planned = plan.stages[stream.stage];
    stream.wanted_workers = planned.workers;
    auto on_end = [this, index](JobStageEnd end) {
      job_ends.put(index, std::move(end));
      tell();
    };
    auto start_stage = [&] {
      switch (planned.mode) {
        case flow::RecordMode::each:
          return start_each(stream, on_end);
        case flow::RecordMode::map:
          return start_map(stream, on_end);
        case flow::RecordMode::worker:
          return start_worker(stream, on_end);
        case flow::RecordMode::none:
        case flow::RecordMode::spread:
          break;
      }
      return start_spread(stream, on_end);
    };
    auto error = start_stage();
    if (!error) return;
    if (*error == EPIPE)
      return on_end({.kind = JobStageEnd::Kind::reader_gone, .status = exec::ProcessStatus::ended_by(SIGPIPE)});
    on_end({.kind = JobStageEnd::Kind::broken, .status = exec::ProcessStatus::exited(125), .why = cannot_move(*error)});
  }

  JobStageOptions options_of(std::size_t stage) {
    return {.flow = flow,
            .stage = plan.stages[stage].number + 1,
            .text = plan.stages[stage].command,
            .cut = cut_of(stage),
            .by = plan.stages[stage].by,
            .rate = rate_of(stage),
            .letters = letters ? &*letters : nullptr,
            .log = log ? &*log : nullptr};
  }

  // Errors: errno.
  std::optional<int> start_each(JobStream& stream, std::function<void(JobStageEnd)> on_end) {
    const flow::PlannedStage& planned = plan.stages[stream.stage];
    EachStageOptions options{
        .stage = options_of(stream.stage),
        .work = {.workers = flow::own_workers(planned),
                 .joins = !planned.role.empty(),
                 .ordered = planned.ordered,
                 .retries = retries_of(stream.stage),
                 .buries = letters.has_value(),
                 .held_max = planned.ordered ? kOrderedHeldMax : std::max<std::size_t>(4 * planned.workers, 64)},
        .records = planned.records_a_process,
        .command = planned.record_command};
    options.stage.hosts = stream.hosts;
    auto running = start_each_stage(std::move(stream.streams), std::move(options), std::move(on_end));
    if (!running) return running.error();
    stream.running = *std::move(running);
    return std::nullopt;
  }

  std::optional<int> start_map(JobStream& stream, std::function<void(JobStageEnd)> on_end) {
    const flow::PlannedStage& planned = plan.stages[stream.stage];
    MapStageOptions options{.stage = options_of(stream.stage),
                            .work = {.workers = flow::own_workers(planned),
                                     .joins = !planned.role.empty(),
                                     .lanes = planned.by.has_value(),
                                     .retries = retries_of(stream.stage),
                                     .buries = letters.has_value()},
                            .ordered = planned.ordered};
    auto running = start_map_stage(std::move(stream.streams), std::move(options), std::move(on_end));
    if (!running) return running.error();
    stream.running = *std::move(running);
    return std::nullopt;
  }

  std::optional<int> start_spread(JobStream& stream, std::function<void(JobStageEnd)> on_end) {
    SpreadJobsOptions options{.text = plan.stages[stream.stage].command, .losses_allowed = plan.losses_allowed};
    auto running = start_spread_jobs(std::move(stream.streams.jobs), std::exchange(stream.workers, {}),
                                     std::move(options), std::move(on_end));
    if (!running) return running.error();
    stream.running = *std::move(running);
    return std::nullopt;
  }

  std::optional<int> start_worker(JobStream& stream, std::function<void(JobStageEnd)> on_end) {
    const flow::PlannedStage& planned = plan.stages[stream.stage];
    WorkerStageOptions options{
        .stage = options_of(stream.stage),
        .work = {.workers = flow::own_workers(planned),
                 .joins = !planned.role.empty(),
                 .lanes = planned.by.has_value(),
                 .links = static_cast<std::uint32_t>(stream.streams.from.size()),
                 .ahead_max =
                     flow::records_ahead_max(plan, stream.stage).value_or(std::numeric_limits<std::uint32_t>::max()),
                 .concurrency = planned.concurrency,
                 .retries = retries_of(stream.stage),
                 .buries = letters.has_value(),
                 .restart = planned.restart},
        .ordered = planned.ordered};
    auto running = start_worker_stage(std::move(stream.streams), std::move(options), std::move(on_end));
    if (!running) return running.error();
    stream.running = *std::move(running);
    return std::nullopt;
  }

  std::optional<int> start_far() {
    for (StageSeats& seats : seats_to_start) {
      auto started = FarSeats::start(std::move(seats.ends), !plan.stages[seats.stage].role.empty());
      if (!started) return started.error();
      far.emplace(seats.stage, *std::move(started));
    }
    seats_to_start.clear();
    return std::nullopt;
  }

  void on_end(WorkerStream& stream, link::RecordStreamEnd end) {
    stream.over = true;
    stream.failed = end.kind == link::RecordStreamEnd::Kind::failed;
    if (stream.failed)
      return static_cast<void>(events.push_back(RecordsFailed{.stage = stream.stage, .why = std::move(end.why)}));
    for (exec::ProgramIndex reader : stream.readers) events.push_back(InputOver{reader});
  }

  void on_end(JobStream& stream, JobStageEnd end) {
    stream.over = true;
    stream.status = end.status;
    stream.failed = end.kind == JobStageEnd::Kind::broken;
    if (stream.failed)
      return static_cast<void>(events.push_back(
          RecordsFailed{.stage = stream.stage, .status = end.status.shell_status(), .why = std::move(end.why)}));
    if (stream.reader) events.push_back(InputOver{*stream.reader});
  }

  void count(const WorkerStream& stream, flow::FlowSummary& summary, bool exact) const {
    auto& summaries = summary.stages[stream.stage].workers;
    for (std::size_t i = 0; i < summaries.size(); ++i) {
      if (stream.spread) summaries[i].records_given = stream.spread->given(i);
      if (stream.gather) summaries[i].records_written = stream.gather->taken(i);
    }
    if (!exact) return;
    if (stream.gather) summary.stages[stream.stage].output_bytes = stream.gather->bytes();
    if (stream.spread) count_source(stream.one.writer, stream.spread->bytes(), summary);
  }

  void count(const JobStream& stream, flow::FlowSummary& summary, bool exact) const {
    if (!stream.running) return;
    JobStageCounts counts = stream.running->counts();
    flow::StageSummary& stage = summary.stages[stream.stage];
    stage.cpu_us = counts.cpu_us;
    stage.peak_memory_bytes = counts.peak_memory_bytes;
    if (!flow::runs_by_job(plan.stages[stream.stage])) {  // its records are counted by those who move them
      for (std::size_t i = 0; i < std::min(stage.workers.size(), counts.workers.size()); ++i)
        if (counts.workers[i].lost)
          stage.workers[i].end = flow::StageEnd{.status = exec::ProcessStatus::ended_by(SIGKILL)};
      return;
    }
    for (std::size_t i = stage.workers.size(); i < counts.workers.size(); ++i)
      stage.workers.push_back({.number = static_cast<std::uint32_t>(i + 1)});
    for (std::size_t i = 0; i < counts.workers.size(); ++i) {
      stage.workers[i].records_given = counts.workers[i].records_given;
      stage.workers[i].records_written = counts.workers[i].records_written;
    }
    stage.jobs = flow::JobSummary{
        .started = counts.jobs, .retried = counts.retried, .dead_letters = counts.dead, .skipped = counts.skipped};
    count_links(stream, counts, summary);
    if (!exact) return;
    stage.output_bytes = counts.output_bytes;
    for (std::size_t i = 0; i < stream.writers.size(); ++i)
      count_source(stream.writers[i], counts.links[i].bytes, summary);
  }

  // What a stage has read is what the one before it has written, if that is not counted itself.
  void count_source(std::optional<std::size_t> writer, std::uint64_t bytes, flow::FlowSummary& summary) const {
    if (writer && plan.stages[*writer].workers == 0) summary.stages[*writer].output_bytes = bytes;
  }

  // Those that meet others in their stage; those that come from a junction are counted there.
  void count_links(const JobStream& stream, const JobStageCounts& counts, flow::FlowSummary& summary) const {
    if (stream.writers.size() < 2) return;
    for (std::size_t i = 0; i < stream.writers.size(); ++i) {
      if (!stream.writers[i]) continue;
      flow::LinkSummary& link = summary.links.emplace_back();
      link.from = label_of(plan, *stream.writers[i]);
      link.to = label_of(plan, stream.stage);
      link.bytes = counts.links[i].bytes;
      link.records = counts.links[i].records_read;
    }
  }

  // How far the output of @ordered may run ahead of its slowest record.
  static constexpr std::size_t kOrderedHeldMax = 1024;

  const flow::Plan& plan;
  RecordSettings settings;
  std::string flow;
  std::optional<DeadLetters> letters;
  std::optional<JobLog> log;
  UniqueFd wake;
  Notices<link::RecordStreamEnd> worker_ends;
  Notices<JobStageEnd> job_ends;
  std::deque<std::variant<InputOver, RecordsFailed>> events;
  std::vector<StageSeats> seats_to_start;
  std::map<std::size_t, FarSeats> far;                // by stage
  std::map<std::size_t, JobStageCounts> last_counts;  // likewise, when it was stopped
  std::vector<WorkerStream> workers;                  // their threads leave notices: they go first
  std::vector<JobStream> jobs;
};

RecordStreams::RecordStreams(const flow::Plan& plan, RecordSettings settings, std::string flow)
    : impl_(std::make_unique<Impl>(plan, std::move(settings), std::move(flow))) {}
RecordStreams::~RecordStreams() = default;

std::expected<void, std::string> RecordStreams::open_files() {
  if (!impl_->settings.dead_letters.empty()) {
    auto letters = DeadLetters::open(impl_->settings.dead_letters);
    if (!letters) return std::unexpected(letters.error());
    impl_->letters.emplace(*std::move(letters));
  }
  if (impl_->settings.job_log.empty()) return {};
  auto log = JobLog::open(impl_->settings.job_log, impl_->settings.resume);
  if (!log) return std::unexpected(log.error());
  impl_->log.emplace(*std::move(log));
  return {};
}

void RecordStreams::add_spread(std::size_t stage, End from, std::vector<UniqueFd> into,
                               std::vector<exec::ProgramIndex> readers) {
  impl_->workers.push_back(
      {.stage = stage, .into = true, .many = std::move(into), .one = std::move(from), .readers = std::move(readers)});
}

void RecordStreams::add_gather(std::size_t stage, std::vector<UniqueFd> from, End into,
                               std::optional<exec::ProgramIndex> reader) {
  WorkerStream& stream = impl_->workers.emplace_back();
  stream.stage = stage;
  stream.many = std::move(from);
  stream.one = std::move(into);
  if (reader) stream.readers.push_back(*reader);
}

std::expected<UniqueFd, int> RecordStreams::add_jobs(std::size_t stage, std::vector<End> from, End into, UniqueFd error,
                                                     std::optional<exec::ProgramIndex> reader) {
  auto socket = exec::JobClient::make();
  if (!socket) return std::unexpected(socket.error());
  JobStream& stream = impl_->jobs.emplace_back();
  stream.stage = stage;
  stream.reader = reader;
  stream.streams.error = std::move(error);
  stream.streams.jobs = StageJobs(std::move(socket->first));
  connect(stream, std::move(from), std::move(into));
  return std::move(socket->second);
}

std::expected<void, int> RecordStreams::add_far(std::size_t stage, std::vector<End> from, End into, UniqueFd error,
                                                std::optional<exec::ProgramIndex> reader,
                                                std::vector<SeatPipes> seats) {
  std::vector<exec::JobClient> clients;
  std::vector<FarSeatEnds> ends;
  std::vector<std::string> hosts;
  bool joins = !impl_->plan.stages[stage].role.empty();
  for (SeatPipes& seat : seats) {
    auto socket = exec::JobClient::make();
    if (!socket) return std::unexpected(socket.error());
    clients.push_back(std::move(socket->first));
    hosts.push_back(std::move(seat.host));
    ends.push_back(
        {.requests = std::move(seat.requests), .replies = std::move(seat.replies), .jobs = std::move(socket->second)});
  }
  auto jobs = StageJobs::in_seats(std::move(clients), joins);
  if (!jobs) return std::unexpected(jobs.error());
  impl_->seats_to_start.push_back({.stage = stage, .ends = std::move(ends)});
  JobStream stream{.stage = stage, .reader = reader, .hosts = std::move(hosts)};
  stream.streams.jobs = *std::move(jobs);
  stream.streams.error = std::move(error);
  if (flow::runs_by_job(impl_->plan.stages[stage])) {
    connect(stream, std::move(from), std::move(into));
  } else {
    std::vector<UniqueFd> inputs, outputs;
    for (std::size_t i = 0; i < seats.size(); ++i) {
      auto input = make_pipe(), output = make_pipe();
      if (!input || !output) return std::unexpected(input ? output.error() : input.error());
      stream.workers.push_back({.input = std::move(input->read_end), .output = std::move(output->write_end)});
      inputs.push_back(std::move(input->write_end));
      outputs.push_back(std::move(output->read_end));
    }
    add_spread(stage, std::move(from.front()), std::move(inputs), {});
    add_gather(stage, std::move(outputs), std::move(into), std::exchange(stream.reader, std::nullopt));
  }
  impl_->jobs.push_back(std::move(stream));
  return {};
}

// A stage that has ended wants nobody: the pipes close, and with them the links of the seat.
std::expected<void, int> RecordStreams::add_seat(std::size_t stage, SeatPipes pipes) {
  auto stream = std::ranges::find(impl_->jobs, stage, &JobStream::stage);
  auto far = impl_->far.find(stage);
  bool wanted = stream != impl_->jobs.end() && stream->running && !stream->over && far != impl_->far.end();
  if (!wanted || impl_->plan.stages[stage].role.empty()) return {};
  auto socket = exec::JobClient::make();
  if (!socket) return std::unexpected(socket.error());
  far->second.add(
      {.requests = std::move(pipes.requests), .replies = std::move(pipes.replies), .jobs = std::move(socket->second)});
  stream->running->add_seat(std::move(socket->first));
  return {};
}

std::expected<void, int> RecordStreams::prepare() {
  if (impl_->workers.empty() && impl_->jobs.empty()) return {};
  impl_->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl_->wake) return std::unexpected(errno);
  return {};
}

void RecordStreams::start() {
  if (auto error = impl_->start_far())
    impl_->events.push_back(RecordsFailed{.stage = impl_->jobs.front().stage, .why = cannot_move(*error)});
  for (std::size_t i = 0; i < impl_->workers.size(); ++i) impl_->start_workers(i);
  for (std::size_t i = 0; i < impl_->jobs.size(); ++i) impl_->start_jobs(i);
}

void RecordStreams::take_notices() {
  if (!impl_->wake) return;
  std::uint64_t count = 0;
  (void)!::read(impl_->wake.get(), &count, sizeof count);
  for (auto& [index, end] : impl_->worker_ends.take()) impl_->on_end(impl_->workers[index], std::move(end));
  for (auto& [index, end] : impl_->job_ends.take()) impl_->on_end(impl_->jobs[index], std::move(end));
}

std::optional<std::variant<InputOver, RecordsFailed>> RecordStreams::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  auto event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

bool RecordStreams::over() const {
  return std::ranges::all_of(impl_->workers, &WorkerStream::over) && std::ranges::all_of(impl_->jobs, &JobStream::over);
}

bool RecordStreams::output_over(std::size_t stage) const {
  for (const WorkerStream& stream : impl_->workers)
    if (stream.stage == stage && !stream.into) return stream.over && !stream.failed;
  for (const JobStream& stream : impl_->jobs)
    if (stream.stage == stage) return stream.over && !stream.failed;
  return false;
}

int RecordStreams::descriptor() const { return impl_->wake.get(); }

void RecordStreams::stop() {
  impl_->last_counts = stage_counts();
  for (JobStream& stream : impl_->jobs) {
    stream.running.reset();
    stream.streams = JobStageStreams();  // of one that has not started, as all that follows
    stream.workers.clear();
  }
  for (WorkerStream& stream : impl_->workers) {
    stream.spread.reset();
    stream.gather.reset();
    stream.many.clear();
    stream.one.stream.reset();
  }
  impl_->far.clear();
  impl_->seats_to_start.clear();
}

std::expected<std::uint32_t, std::string> RecordStreams::set_workers(std::size_t stage, std::uint32_t workers) {
  const flow::PlannedStage& planned = impl_->plan.stages[stage];
  if (planned.workers == 0) return std::unexpected("it takes no records, and has one process");
  if (!flow::runs_by_job(planned))
    return std::unexpected(
        "the workers of a plain @xN begin and end with it; those of @map, of @each and of the library can be more or "
        "fewer");
  if (!planned.role.empty()) return std::unexpected("workers join it by its role and leave it by themselves");
  if (planned.by) return std::unexpected("its keys are divided between the workers that it has (@by)");
  auto stream = std::ranges::find(impl_->jobs, stage, &JobStream::stage);
  if (stream == impl_->jobs.end() || !stream->running) return std::unexpected("it has not started yet");
  if (stream->over) return std::unexpected("it has ended");
  stream->running->set_workers(workers);
  return std::exchange(stream->wanted_workers, workers);
}

void RecordStreams::stop_jobs() {
  for (JobStream& stream : impl_->jobs)
    if (stream.running) stream.running->stop_starting();
}

std::optional<exec::ProcessStatus> RecordStreams::status_of(std::size_t stage) const {
  for (const JobStream& stream : impl_->jobs)
    if (stream.stage == stage) return stream.status;
  return std::nullopt;
}

std::map<std::size_t, JobStageCounts> RecordStreams::stage_counts() const {
  std::map<std::size_t, JobStageCounts> stages = impl_->last_counts;
  for (const JobStream& stream : impl_->jobs)
    if (stream.running) stages[stream.stage] = stream.running->counts();
  for (const WorkerStream& stream : impl_->workers)
    if (stream.spread) add_spread_counts(*stream.spread, stages[stream.stage]);
  for (const WorkerStream& stream : impl_->workers)
    if (stream.gather) add_gather_counts(*stream.gather, stages[stream.stage]);
  return stages;
}

void RecordStreams::count(flow::FlowSummary& summary, bool exact) const {
  for (const WorkerStream& stream : impl_->workers) impl_->count(stream, summary, exact);
  for (const JobStream& stream : impl_->jobs) impl_->count(stream, summary, exact);
}

}  // namespace sluice::node
