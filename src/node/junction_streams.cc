#include "node/junction_streams.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include "base/nameless_file.h"
#include "base/require.h"
#include "link/spill_file.h"

namespace sluice::node {
namespace {

using flow::Junction;
using flow::SlowPolicy;

link::SlowRule rule_of(const SlowPolicy& slow) {
  switch (slow.kind) {
    case SlowPolicy::Kind::block:
      return link::SlowRule::block;
    case SlowPolicy::Kind::drop:
      return link::SlowRule::drop;
    case SlowPolicy::Kind::spill:
      break;
  }
  return link::SlowRule::spill;
}

// A path of the junction, from one of the programs that write to it.
struct PathOfProgram {
  std::size_t path = 0;
  std::size_t pump_input = 0;
};

struct RunningJunction {
  const Junction* shape = nullptr;
  std::vector<std::vector<UniqueFd>> inputs;  // until it is started, as `outputs`
  std::vector<JunctionStreams::Output> outputs;
  std::vector<std::optional<exec::ProgramIndex>> readers;  // by output
  std::vector<bool> outputs_over;                          // likewise
  std::vector<PathOfProgram> paths;                        // by link of the pump
  std::optional<link::JunctionPump> pump;
  std::vector<JunctionStreams::PathCounts> last_counts;  // without a pump
  bool over = false;
};

struct OutputOver {
  std::size_t output = 0;
};
using Notice = std::variant<OutputOver, link::RecordStreamEnd>;

}  // namespace

struct JunctionStreams::Impl {
  Impl(const flow::Plan& to_plan, const RecordSettings& settings) : plan(to_plan), record_max(settings.record_max) {}

  void put(std::size_t junction, Notice notice) {
    {
      std::lock_guard lock(mutex);
      notices.emplace_back(junction, std::move(notice));
    }
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }

  std::string stream_of(const Junction::Input& input) const {
    std::string title = title_of(plan, input.stage);
    return input.of_errors ? "stderr of " + title : fmt::format("what {} writes", title);
  }
  std::string name_of(const Junction& junction, const Junction::Path& path) const {
    const auto& to = junction.outputs[path.output].stage;
    return fmt::format("link '{} -> {}'",
                       source_of(plan, junction.inputs[path.input].stage, junction.inputs[path.input].of_errors),
                       to ? label_of(plan, *to) : "stdout");
  }

  // How many programs write to that input: each of them may spill its part.
  std::size_t programs_at(const Junction::Input& input) const {
    const flow::PlannedStage& stage = plan.stages[input.stage];
    return input.of_errors && stage.mode == flow::RecordMode::spread ? stage.workers : 1;
  }

  std::expected<void, std::string> open_spills(const Junction& junction) {
    for (const Junction::Path& path : junction.paths) {
      if (path.slow.kind != SlowPolicy::Kind::spill) continue;
      std::size_t programs = programs_at(junction.inputs[path.input]);
      std::uint64_t capacity = std::max<std::uint64_t>(path.slow.spill_max.value / programs, 1);
      for (std::size_t i = 0; i < programs; ++i) {
        auto file = link::SpillFile::open(temporary_folder(), capacity);
        if (!file) return std::unexpected(fmt::format("{}: {}", name_of(junction, path), file.error()));
        spills.push_back(std::make_unique<link::SpillFile>(*std::move(file)));
      }
    }
    return {};
  }

  link::PumpPlan plan_of(RunningJunction& running) {
    const Junction& junction = *running.shape;
    link::PumpPlan pump;
    std::vector<std::vector<std::size_t>> pump_inputs(junction.inputs.size());
    for (std::size_t i = 0; i < junction.inputs.size(); ++i)
      for (UniqueFd& from : running.inputs[i]) {
        const Junction::Input& input = junction.inputs[i];
        pump_inputs[i].push_back(pump.inputs.size());
        pump.inputs.push_back({.from = std::move(from),
                               .name = stream_of(input),
                               .cut = {.framing = input.framing, .record_max = record_max},
                               .shares = input.share});
      }
    for (std::size_t i = 0; i < junction.outputs.size(); ++i) {
      auto stage = junction.outputs[i].stage;
      pump.outputs.push_back({.into = std::move(running.outputs[i].into.stream),
                              .name = stage ? title_of(plan, *stage) : "stdout",
                              .is_ours = running.outputs[i].into.ours});
    }
    for (std::size_t path = 0; path < junction.paths.size(); ++path)
      for (std::size_t input : pump_inputs[junction.paths[path].input]) {
        running.paths.push_back({.path = path, .pump_input = input});
        pump.links.push_back(link_of(junction, junction.paths[path], input));
      }
    pump.pipes_of_flow = pipes;
    return pump;
  }

  link::PumpLink link_of(const Junction& junction, const Junction::Path& path, std::size_t input) {
    link::PumpLink link{.link = {.input = input, .output = path.output, .slow = rule_of(path.slow)},
                        .name = name_of(junction, path)};
    if (path.slow.kind != SlowPolicy::Kind::spill) return link;
    INVARIANT(!spills.empty());  // one was opened for each
    link.link.store = std::move(spills.front());
    spills.pop_front();
    return link;
  }

  void start(std::size_t index) {
    RunningJunction& running = junctions[index];
    auto pump = link::JunctionPump::start(
        plan_of(running), [this, index](std::size_t output) { put(index, OutputOver{output}); },
        [this, index](link::RecordStreamEnd end) { put(index, std::move(end)); });
    if (pump) return static_cast<void>(running.pump.emplace(*std::move(pump)));
    put(index,
        link::RecordStreamEnd{
            .kind = link::RecordStreamEnd::Kind::failed,
            .why = fmt::format("records can't be moved between the stages: {}; raise the limit (ulimit -n, ulimit -u)",
                               std::strerror(pump.error()))});
  }

  void handle(RunningJunction& junction, const OutputOver& over) {
    junction.outputs_over[over.output] = true;
    if (auto reader = junction.readers[over.output]) events.push_back(InputOver{*reader});
  }
  void handle(RunningJunction& junction, link::RecordStreamEnd& end) {
    junction.over = true;
    if (end.kind == link::RecordStreamEnd::Kind::failed) events.push_back(JunctionFailed{std::move(end.why)});
  }

  void count(const RunningJunction& running, flow::FlowSummary& summary, bool exact) const {
    const Junction& junction = *running.shape;
    std::size_t first = summary.links.size();
    for (const Junction::Path& path : junction.paths) {
      const Junction::Input& input = junction.inputs[path.input];
      flow::LinkSummary& link = summary.links.emplace_back();
      link.from = label_of(plan, input.stage);
      link.of_errors = input.of_errors;
      if (auto to = junction.outputs[path.output].stage) link.to = label_of(plan, *to);
      link.slow = path.slow.kind;
    }
    if (!running.pump) return;
    for (std::size_t i = 0; i < running.paths.size(); ++i) {
      link::JunctionPump::Counts counted = running.pump->counts(i);
      flow::LinkSummary& link = summary.links[first + running.paths[i].path];
      link.bytes += counted.bytes.out;
      if (counted.records_known) link.records = link.records.value_or(0) + counted.records.out;
      link.dropped += counted.dropped_by_rule;
      link.spilled_most += counted.spilled_most;
      const Junction::Input& input = junction.inputs[junction.paths[running.paths[i].path].input];
      if (exact && !input.of_errors && plan.stages[input.stage].workers == 0)
        summary.stages[input.stage].output_bytes = running.pump->bytes_read(running.paths[i].pump_input);
    }
  }

  // Several programs may write to one input.
  static std::vector<PathCounts> path_counts(const RunningJunction& running) {
    if (!running.pump) return running.last_counts;
    const Junction& junction = *running.shape;
    std::vector<PathCounts> counts;
    for (const Junction::Path& path : junction.paths) {
      const Junction::Input& input = junction.inputs[path.input];
      counts.push_back({.from = input.stage, .of_errors = input.of_errors, .to = junction.outputs[path.output].stage});
    }
    for (std::size_t i = 0; i < running.paths.size(); ++i) {
      link::JunctionPump::Counts counted = running.pump->counts(i);
      PathCounts& path = counts[running.paths[i].path];
      add(counted.bytes, path.bytes);
      if (!counted.records_known) continue;
      if (!path.records) path.records.emplace();
      add(counted.records, *path.records);
    }
    return counts;
  }
  static void add(const link::JunctionPump::Balance& more, link::JunctionPump::Balance& balance) {
    balance.in += more.in;
    balance.out += more.out;
    balance.dropped += more.dropped;
  }

  // Likewise.
  static Standing standing(const RunningJunction& running) {
    Standing standing;
    standing.inputs.resize(running.shape->inputs.size());
    standing.paths.resize(running.shape->paths.size());
    if (!running.pump || running.over) return standing;
    link::JunctionPump::Standing pump = running.pump->standing();
    for (std::size_t i = 0; i < std::min(running.paths.size(), pump.blocks.size()); ++i) {
      const auto& [number, pump_input] = running.paths[i];
      Standing::Path& path = standing.paths[number];
      Standing::Input& input = standing.inputs[running.shape->paths[number].input];
      path.blocks = path.blocks || pump.blocks[i];
      path.idle = path.idle && pump.idle[i];
      path.moved += running.pump->counts(i).bytes.out;
      input.reads = input.reads || pump.reads[pump_input];
      input.moved += running.pump->bytes_read(pump_input);
    }
    return standing;
  }

  const flow::Plan& plan;
  std::size_t record_max;
  std::size_t pipes = 0;                                // of all junctions
  std::deque<std::unique_ptr<link::SpillFile>> spills;  // in the order of the plan's paths, until they are given away
  UniqueFd wake;
  std::mutex mutex;
  std::vector<std::pair<std::size_t, Notice>> notices;  // what the threads leave for the loop
  std::deque<std::variant<InputOver, JunctionFailed>> events;
  std::deque<RunningJunction> junctions;  // their threads leave notices: they go first
};

JunctionStreams::JunctionStreams(const flow::Plan& plan, const RecordSettings& settings)
    : impl_(std::make_unique<Impl>(plan, settings)) {}
JunctionStreams::~JunctionStreams() = default;

std::expected<void, std::string> JunctionStreams::open_files() {
  for (const Junction& junction : impl_->plan.wiring.junctions)
    if (auto opened = impl_->open_spills(junction); !opened) return opened;
  return {};
}

void JunctionStreams::add(std::vector<std::vector<UniqueFd>> inputs, std::vector<Output> outputs) {
  RunningJunction& junction = impl_->junctions.emplace_back();
  junction.shape = &impl_->plan.wiring.junctions[impl_->junctions.size() - 1];
  for (const auto& programs : inputs) impl_->pipes += programs.size();
  impl_->pipes += outputs.size();
  for (const Output& output : outputs) junction.readers.push_back(output.reader);
  junction.outputs_over.resize(outputs.size());
  junction.inputs = std::move(inputs);
  junction.outputs = std::move(outputs);
}

std::expected<void, int> JunctionStreams::prepare() {
  if (impl_->junctions.empty()) return {};
  impl_->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl_->wake) return std::unexpected(errno);
  return {};
}

void JunctionStreams::start() {
  for (std::size_t i = 0; i < impl_->junctions.size(); ++i) impl_->start(i);
}

void JunctionStreams::take_notices() {
  if (!impl_->wake) return;
  std::uint64_t count = 0;
  (void)!::read(impl_->wake.get(), &count, sizeof count);
  std::vector<std::pair<std::size_t, Notice>> notices;
  {
    std::lock_guard lock(impl_->mutex);
    notices.swap(impl_->notices);
  }
  for (auto& [index, notice] : notices)
    std::visit([&, junction = index](auto& what) { impl_->handle(impl_->junctions[junction], what); }, notice);
}

std::optional<std::variant<InputOver, JunctionFailed>> JunctionStreams::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  auto event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

bool JunctionStreams::over() const { return std::ranges::all_of(impl_->junctions, &RunningJunction::over); }

void JunctionStreams::stop() {
  for (RunningJunction& junction : impl_->junctions) {
    junction.last_counts = Impl::path_counts(junction);
    junction.pump.reset();
    junction.inputs.clear();  // of one that has not started
    junction.outputs.clear();
  }
}

bool JunctionStreams::output_over(std::size_t stage) const {
  for (const RunningJunction& junction : impl_->junctions)
    for (std::size_t i = 0; i < junction.shape->outputs.size(); ++i)
      if (junction.shape->outputs[i].stage == stage) return junction.outputs_over[i];
  return false;
}

int JunctionStreams::descriptor() const { return impl_->wake.get(); }

std::vector<JunctionStreams::Standing> JunctionStreams::standing() const {
  std::vector<Standing> all;
  for (const RunningJunction& junction : impl_->junctions) all.push_back(Impl::standing(junction));
  return all;
}

std::vector<JunctionStreams::PathCounts> JunctionStreams::path_counts() const {
  std::vector<PathCounts> all;
  for (const RunningJunction& junction : impl_->junctions)
    std::ranges::move(Impl::path_counts(junction), std::back_inserter(all));
  return all;
}

void JunctionStreams::count(flow::FlowSummary& summary, bool exact) const {
  for (const RunningJunction& junction : impl_->junctions) impl_->count(junction, summary, exact);
}

}  // namespace sluice::node
