#include "sim/flow_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <utility>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using flow::AttemptEnd;
using link::RecordBatch;
using link::RecordId;

constexpr RecordId kNoLimit = ~RecordId{0};
constexpr std::uint32_t kExtraCredit = 4;  // that a worker grants beyond what it works on
constexpr std::size_t kRecordMax = 40;     // bytes of any record here
constexpr std::size_t kBlockRecords = 3;   // that are taken from a pipe at once
constexpr Duration kStandstill = 10s;
constexpr std::size_t kAnswersKept = 4;

std::uint64_t number_of(const std::string& text) { return std::stoull(text); }

std::string without_end(std::string_view record) { return std::string(record.substr(0, record.size() - 1)); }

}  // namespace

// Where a link spills to.
class FlowWorld::Store final : public link::SpillStore {
 public:
  explicit Store(std::uint64_t capacity) : capacity_(capacity) {}
  std::uint64_t capacity() const override { return capacity_; }
  std::uint64_t size() const override { return bytes_.size(); }
  std::expected<void, std::string> append(std::string_view bytes) override {
    if (bytes.size() > room()) return std::unexpected("more was spilled than there is room for");
    bytes_.append(bytes);
    return {};
  }
  std::expected<void, std::string> take(std::span<char> into) override {
    if (into.size() > bytes_.size()) return std::unexpected("more was taken than was spilled");
    std::ranges::copy_n(bytes_.begin(), static_cast<std::ptrdiff_t>(into.size()), into.begin());
    bytes_.erase(0, into.size());
    return {};
  }

 private:
  std::uint64_t capacity_;
  std::string bytes_;
};

FlowWorldOptions flow_swarm_options(std::uint64_t seed) {
  SeededRandom random(seed ^ 0xf10e);
  auto maybe = [&](double value) { return random.below(2) == 0 ? 0.0 : value * random.fraction(); };
  FlowWorldOptions options{.seed = seed, .records = 1 + random.below(100), .stages = {}, .links = {}, .junction = {}};
  options.pipe_bytes = 1 + random.below(100);
  options.junction = {.window_bytes = 1 + random.below(600),
                      .drop_window_bytes = 200 + random.below(600),
                      .shared_bytes_max = 1 + random.below(100)};
  std::size_t between = 1 + random.below(4), sinks = 1 + random.below(2), count = 1 + between + sinks;
  for (std::size_t i = 0; i < count; ++i) {
    SimStage stage{.name = fmt::format("s{}", i)};
    stage.role = i == 0                 ? Role::tap
                 : i > between          ? Role::sink
                 : random.below(3) == 0 ? Role::map
                 : random.below(2) == 0 ? Role::each
                                        : Role::worker;
    stage.shares = random.below(3) == 0;
    stage.workers = static_cast<std::uint32_t>(1 + random.below(3));
    stage.concurrency = static_cast<std::uint32_t>(1 + random.below(4));
    stage.batch = static_cast<std::uint32_t>(1 + random.below(3));
    stage.ordered = random.below(2) == 0;
    stage.keeps_answers = random.below(3) == 0;
    stage.service_time_max = std::chrono::microseconds(1 + random.below(5000));
    if (stage.role == Role::sink && random.below(4) == 0) stage.leaves_after = 1 + random.below(options.records);
    stage.deaths = maybe(0.1);
    stage.statuses = maybe(0.05);
    stage.failures = maybe(0.1);
    stage.garbage = maybe(0.03);
    stage.leaves = maybe(0.1);
    stage.scalings = maybe(0.2);
    options.stages.push_back(std::move(stage));
  }
  // Everything is read by something behind it, and everything but the tap reads.
  auto add = [&](std::size_t from, std::size_t to) {
    for (const SimLink& link : options.links)
      if (link.from == from && link.to == to) return;
    auto slow = static_cast<link::SlowRule>(options.stages[from].shares ? 0 : random.below(3));
    options.links.push_back({.from = from, .to = to, .slow = slow, .spill_bytes = 1 + random.below(2000)});
  };
  for (std::size_t i = 1; i < count; ++i) add(random.below(std::min(i, between + 1)), i);
  for (std::size_t i = 0; i <= between; ++i) {
    std::uint64_t more = 1 + random.below(2);
    for (std::uint64_t link = 0; link < more; ++link) add(i, i + 1 + random.below(count - i - 1));
  }
  return options;
}

FlowWorld::FlowWorld(FlowWorldOptions options)
    : options_(std::move(options)), random_(options_.seed), stages_(options_.stages.size()) {
  input_of_.resize(stages_.size());
  output_of_.resize(stages_.size());
  delivered_.resize(options_.links.size());
  link::JunctionShape shape;
  for (const SimLink& link : options_.links) {
    if (!input_of_[link.from]) {
      input_of_[link.from] = shape.inputs.size();
      shape.inputs.push_back({.shares = options_.stages[link.from].shares});
    }
    if (!output_of_[link.to]) output_of_[link.to] = shape.outputs++;
    link::JunctionLink made{.input = *input_of_[link.from], .output = *output_of_[link.to], .slow = link.slow};
    if (link.slow == link::SlowRule::spill) made.store = std::make_unique<Store>(link.spill_bytes);
    shape.links.push_back(std::move(made));
  }
  junction_ = std::make_unique<link::RecordJunction>(std::move(shape), options_.junction);
  for (std::size_t index = 0; index < stages_.size(); ++index) {
    const SimStage& plan = options_.stages[index];
    Stage& stage = stages_[index];
    stage.processes.resize(plan.workers);
    if (output_of_[index]) junction_->set_shared_delivery_max(*output_of_[index], 1 + random_.below(60));
    auto retries = static_cast<std::uint32_t>(random_.below(3));
    auto part_max = static_cast<std::uint32_t>(1 + random_.below(4));
    if (plan.role == Role::worker)
      stage.worker = std::make_unique<flow::WorkerWork>(
          flow::WorkerWorkOptions{.workers = plan.workers,
                                  .retries = retries,
                                  .buries = true,
                                  .restart = plan.leaves > 0 ? flow::Restart::always : flow::Restart::on_failure,
                                  .waiting_bytes_max = options_.pipe_bytes,
                                  .part_max = part_max,
                                  .endings_max = 1'000'000,
                                  .backoff_first = 2ms,
                                  .backoff_max = 50ms});
    if (plan.role == Role::map)
      stage.map = std::make_unique<flow::MapWork>(flow::MapWorkOptions{.workers = plan.workers,
                                                                       .retries = retries,
                                                                       .buries = true,
                                                                       .waiting_bytes_max = options_.pipe_bytes,
                                                                       .window_bytes = 300,
                                                                       .part_max = part_max,
                                                                       .backoff_first = 2ms,
                                                                       .backoff_max = 50ms});
    if (plan.role == Role::each)
      stage.each = std::make_unique<flow::EachWork>(flow::EachWorkOptions{.workers = plan.workers,
                                                                          .ordered = plan.ordered,
                                                                          .retries = retries,
                                                                          .buries = true,
                                                                          .held_max = 8,
                                                                          .backoff_first = 2ms,
                                                                          .backoff_max = 50ms});
  }
  moved_at_ = queue_.now();
  settle_world();
}

FlowWorld::~FlowWorld() = default;

// --- time ---------------------------------------------------------------------------------------------------------

void FlowWorld::run_for(Duration duration) {
  TimePoint until = queue_.now() + duration;
  Event event;
  while (!finished() && queue_.take(until, event)) process(event);
}

void FlowWorld::run() {
  Event event;
  while (!finished() && standstill_.empty()) {
    if (queue_.take(moved_at_ + kStandstill, event))
      process(event);
    else
      standstill_ = find_cycle();
  }
}

void FlowWorld::process(const Event& event) {
  trace_.add(static_cast<std::uint64_t>(event.kind) << 32 | event.stage << 8 | event.worker);
  trace_.add(static_cast<std::uint64_t>(queue_.now().time_since_epoch().count()));
  trace_.add(event.text);
  Stage& stage = stage_of(event);
  Process& process = stage.processes[event.worker];
  bool lives = process.runs && process.life == event.life && !process.end;
  switch (event.kind) {
    case Kind::go_on:
      if (!stage.busy || event.text.empty()) break;  // only so that the stage is asked again
      stage.busy = false;
      if (plan_of(event).role == Role::tap) {
        emit(event.stage, event.text);
      } else if (plan_of(event).leaves_after > 0 && stage.taken.size() >= plan_of(event).leaves_after) {
        leave_stage(event.stage);
      }
      break;
    case Kind::hello:
      if (lives) process.said.push_back({.what = Said::What::hello, .id = 0, .text = {}});
      break;
    case Kind::done_with:
      if (lives) done_with(event);
      break;
    case Kind::look:
      if (lives) look(event);
      break;
  }
  settle_world();
  check();
}

void FlowWorld::settle_world() {
  bool any = true;
  while (any) {
    any = false;
    for (std::size_t index = 0; index < stages_.size(); ++index) {
      if (output_of_[index]) any = pump_output(index) || any;
      if (!stages_[index].over) any = work(index) || any;
      if (input_of_[index]) {
        any = flush(index) || any;
        any = pump_input(index) || any;
      }
    }
    if (any) moved_at_ = queue_.now();
  }
}

bool FlowWorld::finished() const {
  return std::ranges::all_of(stages_, [](const Stage& stage) { return stage.over && stage.queue.empty(); });
}

void FlowWorld::go_on_at(std::size_t index, std::optional<TimePoint> when) {
  if (!when || when == stages_[index].deadline) return;
  stages_[index].deadline = when;
  queue_.at(*when, {.kind = Kind::go_on, .stage = index, .text = {}});
}

// --- pipes and the junction ---------------------------------------------------------------------------------------

std::optional<std::string> FlowWorld::take(Pipe& pipe) {
  if (pipe.records.empty()) return std::nullopt;
  std::string text = std::move(pipe.records.front());
  pipe.records.pop_front();
  pipe.bytes -= text.size();
  return text;
}

bool FlowWorld::pump_input(std::size_t index) {
  Stage& stage = stages_[index];
  std::size_t input = *input_of_[index];
  bool moved = false;
  while (junction_->wants(input) && !stage.out.records.empty()) {
    std::string block;
    for (std::size_t i = 0; i < kBlockRecords && !stage.out.records.empty(); ++i) block += *take(stage.out) + "\n";
    RecordBatch batch = RecordBatch::of_delimited(stage.junction_id, '\n', std::move(block)).value();
    stage.junction_id = batch.last() + 1;
    if (auto put = junction_->on_batch(input, std::move(batch)); !put) violate(put.error().why);
    moved = true;
  }
  if (junction_->unread(input) && !std::exchange(stage.out.no_reader, true)) moved = true;
  if (stage.out.ended && stage.out.records.empty() && !std::exchange(stage.told_junction_end, true)) {
    junction_->on_end(input);
    moved = true;
  }
  return moved;
}

bool FlowWorld::pump_output(std::size_t index) {
  Stage& stage = stages_[index];
  std::size_t output = *output_of_[index];
  if (junction_->reader_gone(output) || stage.in.ended) return false;
  bool moved = false;
  while (true) {
    auto delivery = junction_->delivery(output);
    if (!delivery) violate(delivery.error().why);
    if (!delivery || *delivery == nullptr) break;
    std::uint32_t at = 0;
    for_each_record((*delivery)->batch, [&](RecordId, std::string_view record) {
      if (at++ != stage.handed_over || stage.in.no_reader || !has_room(stage.in, record.size() - 1)) return;
      stage.in.records.push_back(without_end(record));
      stage.in.bytes += record.size() - 1;
      ++stage.handed_over;
      moved = true;
    });
    if (stage.handed_over < (*delivery)->batch.count()) break;
    std::size_t link = (*delivery)->link;
    RecordId before = std::exchange(delivered_[link], (*delivery)->batch.last());
    if ((*delivery)->batch.first() <= before && !options_.stages[options_.links[link].from].shares)
      violate(fmt::format("link {} leads records out of their order", link));
    junction_->on_written(output);
    stage.handed_over = 0;
  }
  if (stage.in.no_reader) {
    junction_->on_reader_gone(output, stage.handed_over);
    return true;
  }
  if (!junction_->over(output)) return moved;
  return stage.in.ended = true;
}

void FlowWorld::emit(std::size_t index, std::string text) {
  Stage& stage = stages_[index];
  text.push_back(mark(index));
  if (++stage.written[text] > 1) violate(fmt::format("{} wrote {} twice", options_.stages[index].name, text));
  stage.queue_bytes += text.size();
  stage.queue.push_back(std::move(text));
}

bool FlowWorld::flush(std::size_t index) {
  Stage& stage = stages_[index];
  if (stage.out.no_reader) {
    bool leaves = !stage.over || !stage.queue.empty();
    if (leaves) leave_stage(index);
    return leaves;
  }
  bool moved = false;
  while (!stage.queue.empty() && has_room(stage.out, stage.queue.front().size())) {
    stage.out.bytes += stage.queue.front().size();
    stage.queue_bytes -= stage.queue.front().size();
    stage.out.records.push_back(std::move(stage.queue.front()));
    stage.queue.pop_front();
    moved = true;
  }
  if (stage.over && stage.queue.empty() && !std::exchange(stage.out.ended, true)) moved = true;
  return moved;
}

// It reads and writes no more: a sink that has enough, or a stage whose output nobody reads.
void FlowWorld::leave_stage(std::size_t index) {
  Stage& stage = stages_[index];
  stage.over = stage.left = stage.in.no_reader = stage.out.ended = true;
  stage.queue.clear();
  stage.queue_bytes = 0;
  for (std::string& text : std::exchange(stage.in.records, {})) lost_with_readers_.insert(std::move(text));
  stage.in.bytes = 0;
  stage.processes.assign(stage.processes.size(), {});
  if (stage.worker) stage.worker->stop();
  if (stage.map) stage.map->stop();
  if (stage.each) stage.each->stop();
}

// --- stages -------------------------------------------------------------------------------------------------------

bool FlowWorld::work(std::size_t index) {
  switch (options_.stages[index].role) {
    case Role::tap:
      return work_tap(index);
    case Role::worker:
      return work_workers(index);
    case Role::map:
      return work_map(index);
    case Role::each:
      return work_each(index);
    case Role::merger:
      return work_merger(index);
    case Role::sink:
      return work_sink(index);
  }
  return false;
}

bool FlowWorld::end_if(std::size_t index, bool finished) {
  if (finished) stages_[index].over = true;
  return finished;
}

bool FlowWorld::work_tap(std::size_t index) {
  Stage& stage = stages_[index];
  if (stage.busy || !writable(stage)) return false;
  if (stage.next_id > options_.records) return end_if(index, true);
  stage.busy = true;
  queue_.at(queue_.now() + some(options_.stages[index].service_time_max),
            {.kind = Kind::go_on, .stage = index, .text = std::to_string(stage.next_id++) + ":"});
  return true;
}

bool FlowWorld::work_sink(std::size_t index) {
  Stage& stage = stages_[index];
  if (stage.busy) return false;
  auto text = take(stage.in);
  if (!text) return end_if(index, stage.in.ended);
  if (++stage.taken[*text] > 1) violate(fmt::format("{} was given {} twice", options_.stages[index].name, *text));
  stage.busy = true;
  queue_.at(queue_.now() + some(options_.stages[index].service_time_max),
            {.kind = Kind::go_on, .stage = index, .text = *std::move(text)});
  return true;
}

// It writes a record when it has come from every stage before it.
bool FlowWorld::work_merger(std::size_t index) {
  Stage& stage = stages_[index];
  std::size_t held = 0, copies = feeders(index).size();
  for (const auto& [record, marks] : stage.held) held += marks.size();
  if (held >= options_.stages[index].concurrency || !writable(stage)) return false;
  auto text = take(stage.in);
  if (!text) {
    if (stage.in.ended && !stage.held.empty()) violate("a merger lacks a copy of a record at its end");
    return end_if(index, stage.in.ended);
  }
  ++stage.taken[*text];
  std::string record = text->substr(0, text->find(':') + 1);
  std::string& marks = stage.held[record];
  marks.push_back(text->back());
  if (marks.size() < copies) return true;
  emit(index, record + marks);
  stage.held.erase(record);
  return true;
}

void FlowWorld::take_batch(std::size_t index, RecordBatch& batch) {
  Stage& stage = stages_[index];
  std::string block;
  for (std::size_t i = 0; i < kBlockRecords && !stage.in.records.empty(); ++i) {
    std::string text = *take(stage.in);
    if (++stage.taken[text] > 1) violate(fmt::format("{} was given {} twice", options_.stages[index].name, text));
    block += text + "\n";
    stage.texts[stage.next_id + i] = {std::move(text)};
  }
  batch = RecordBatch::of_delimited(stage.next_id, '\n', std::move(block)).value();
  stage.next_id = batch.last() + 1;
}

bool FlowWorld::work_workers(std::size_t index) {
  using Action = flow::WorkerWork::Action::Kind;
  Stage& stage = stages_[index];
  flow::WorkerWork& work = *stage.worker;
  bool moved = false;
  while (work.wants_input() && !stage.in.records.empty()) {
    RecordBatch batch;
    take_batch(index, batch);
    work.on_batch(std::move(batch));
    moved = true;
  }
  if (stage.in.ended && stage.in.records.empty() && !std::exchange(stage.told_source_end, true)) {
    work.on_source_end();
    moved = true;
  }
  for (std::uint32_t worker = 0; worker < stage.processes.size(); ++worker) {
    moved = hear_all(index, worker) || moved;
    while (true) {
      auto action = work.poll(worker, kNoLimit, queue_.now());
      if (action.kind == Action::nothing) break;
      moved = true;
      if (action.kind == Action::start) start_process(index, worker);
      if (action.kind == Action::give) give(index, worker, action.batch);
      if (action.kind == Action::end) stage.processes[worker].told_end = true;
      if (action.kind == Action::kill) {
        stage.processes[worker].said.clear();
        die(stage.processes[worker], AttemptEnd::Kind::lost);
        end_process(index, worker);
      }
      live(index, worker);
    }
  }
  while (auto dead = work.poll_dead()) {
    bury(index, without_end(dead->record.front()));
    stage.texts.erase(dead->record.first());
    work.on_buried();
    moved = true;
  }
  if (work.broken()) violate(fmt::format("{} broke", options_.stages[index].name));
  go_on_at(index, work.poll_deadline());
  return end_if(index, work.finished()) || moved;
}

bool FlowWorld::work_map(std::size_t index) {
  using Action = flow::MapWork::Action::Kind;
  Stage& stage = stages_[index];
  flow::MapWork& work = *stage.map;
  bool moved = false;
  while (work.wants_input() && !stage.in.records.empty()) {
    RecordBatch batch;
    take_batch(index, batch);
    work.on_batch(std::move(batch));
    moved = true;
  }
  if (stage.in.ended && stage.in.records.empty() && !std::exchange(stage.told_source_end, true)) {
    work.on_source_end();
    moved = true;
  }
  for (std::uint32_t worker = 0; worker < stage.processes.size(); ++worker) {
    moved = hear_all(index, worker) || moved;
    while (true) {
      auto action = work.poll(worker, kNoLimit, queue_.now());
      if (action.kind == Action::nothing) break;
      moved = true;
      if (action.kind == Action::start) start_process(index, worker);
      if (action.kind == Action::give) give(index, worker, action.batch);
      if (action.kind == Action::close || action.ends) stage.processes[worker].told_end = true;
      live(index, worker);
    }
  }
  while (auto dead = work.poll_dead()) {
    bury(index, without_end(dead->record.front()));
    stage.texts.erase(dead->record.first());
    work.on_buried();
    moved = true;
  }
  if (work.broken()) violate(fmt::format("{} broke", options_.stages[index].name));
  go_on_at(index, work.poll_deadline());
  return end_if(index, work.finished()) || moved;
}

bool FlowWorld::work_each(std::size_t index) {
  Stage& stage = stages_[index];
  flow::EachWork& work = *stage.each;
  bool moved = false;
  while (work.wants_batch() && !stage.in.records.empty()) {
    std::vector<std::string>& batch = stage.texts[stage.next_id];
    while (batch.size() < options_.stages[index].batch && !stage.in.records.empty()) {
      batch.push_back(*take(stage.in));
      ++stage.taken[batch.back()];
    }
    work.on_batch(stage.next_id++, std::nullopt);
    moved = true;
  }
  if (stage.in.ended && stage.in.records.empty() && !std::exchange(stage.told_source_end, true)) {
    work.on_source_end();
    moved = true;
  }
  while (auto start = work.poll_start(queue_.now())) {
    if (stage.processes[start->worker].runs) violate("a worker of @each was given a second process");
    start_process(index, start->worker);
    Process& process = stage.processes[start->worker];
    process.hand = {start->batch};
    queue_.at(queue_.now() + some(options_.stages[index].service_time_max), {.kind = Kind::done_with,
                                                                             .stage = index,
                                                                             .worker = start->worker,
                                                                             .life = process.life,
                                                                             .number = start->batch,
                                                                             .text = {}});
    moved = true;
  }
  while (writable(stage)) {
    auto batch = work.poll_write();
    if (!batch) break;
    if (options_.stages[index].ordered && *batch <= stage.last_written) violate("@each @ordered wrote out of order");
    stage.last_written = *batch;
    for (const std::string& text : stage.texts.at(*batch)) emit(index, text);
    stage.texts.erase(*batch);
    work.on_written(*batch);
    moved = true;
  }
  while (auto dead = work.poll_dead()) {
    for (const std::string& text : stage.texts.at(dead->batch)) bury(index, text);
    stage.texts.erase(dead->batch);
    work.on_buried(dead->batch);
    moved = true;
  }
  if (work.broken()) violate(fmt::format("{} broke", options_.stages[index].name));
  go_on_at(index, work.poll_deadline());
  return end_if(index, work.finished()) || moved;
}

void FlowWorld::bury(std::size_t index, const std::string& text) {
  buried_.insert(number_of(text));
  if (!stages_[index].buried.insert(text).second) violate(fmt::format("{} was buried twice", text));
}

// --- processes ----------------------------------------------------------------------------------------------------

void FlowWorld::start_process(std::size_t index, std::size_t worker) {
  Process& process = stages_[index].processes[worker];
  if (process.runs) violate("a process was started beside another of its worker");
  std::uint64_t life = process.life + 1;
  process = Process();
  process.life = life;
  process.runs = true;
  Event event{.stage = index, .worker = worker, .life = life, .text = {}};
  if (options_.stages[index].role == Role::worker) {
    event.kind = Kind::hello;
    queue_.at(queue_.now() + some(3ms), event);
  }
  if (options_.stages[index].role == Role::map) {
    event.kind = Kind::look;
    queue_.at(queue_.now() + 20ms, event);
  }
}

void FlowWorld::give(std::size_t index, std::size_t worker, const RecordBatch& batch) {
  Stage& stage = stages_[index];
  Process& process = stage.processes[worker];
  if (!process.runs || process.told_end) violate("records were given to a process that takes none");
  for_each_record(batch, [&](RecordId id, std::string_view record) {
    for (const Process& other : stage.processes)
      if (other.hand.contains(id)) violate(fmt::format("record {} is in two hands", id));
    if (!stage.texts.contains(id)) violate(fmt::format("record {} was given, and is settled", id));
    process.hand.insert(id);
    process.inbox.emplace_back(id, without_end(record));
  });
  if (stage.worker && process.hand.size() > options_.stages[index].concurrency + kExtraCredit)
    violate("a worker was given more than it has granted");
}

// What a process does by itself: takes from its input, and ends when that has ended.
void FlowWorld::live(std::size_t index, std::size_t worker) {
  const SimStage& plan = options_.stages[index];
  Process& process = stages_[index].processes[worker];
  if (!process.runs || process.end) return;
  std::size_t at_a_time = plan.role == Role::worker ? plan.concurrency : 1;
  while (process.busy < at_a_time && !process.inbox.empty()) {
    auto [id, text] = std::move(process.inbox.front());
    process.inbox.pop_front();
    ++process.busy;
    queue_.at(queue_.now() + some(plan.service_time_max), {.kind = Kind::done_with,
                                                           .stage = index,
                                                           .worker = worker,
                                                           .life = process.life,
                                                           .number = id,
                                                           .text = std::move(text)});
  }
  if (!process.told_end || process.busy > 0 || !process.inbox.empty()) return;
  for (Said& answer : std::exchange(process.kept, {})) process.said.push_back(std::move(answer));
  if (plan.role == Role::worker) process.said.push_back({.what = Said::What::finished, .id = 0, .text = {}});
  process.end = AttemptEnd{.kind = AttemptEnd::Kind::succeeded, .status = exec::ProcessStatus::exited(0), .why = {}};
}

void FlowWorld::die(Process& process, AttemptEnd::Kind kind) {
  bool lost = kind == AttemptEnd::Kind::lost;
  process.inbox.clear();
  process.kept.clear();
  process.end = AttemptEnd{.kind = kind,
                           .status = lost ? exec::ProcessStatus::ended_by(SIGKILL) : exec::ProcessStatus::exited(1),
                           .why = {}};
}

bool FlowWorld::is_poison(std::size_t index, const std::string& text) const {
  std::uint64_t poison = options_.stages[index].poison;
  return poison > 0 && number_of(text) % poison == 0;
}

void FlowWorld::done_with(const Event& event) {
  Process& process = stage_of(event).processes[event.worker];
  process.moved = true;
  if (chance(plan_of(event).scalings)) scale(event);
  if (plan_of(event).role == Role::each) return do_each(event, process);
  --process.busy;
  if (plan_of(event).role == Role::worker)
    do_worker(event, process);
  else
    do_map(event, process);
  live(event.stage, event.worker);
}

void FlowWorld::scale(const Event& event) {
  Stage& stage = stage_of(event);
  auto workers = static_cast<std::uint32_t>(1 + random_.below(stage.processes.size()));
  if (stage.worker) stage.worker->set_workers(workers);
  if (stage.map) stage.map->set_workers(workers);
  if (stage.each) stage.each->set_workers(workers);
}

void FlowWorld::do_worker(const Event& event, Process& process) {
  using What = Said::What;
  const SimStage& plan = plan_of(event);
  Said output{.what = What::output, .id = event.number, .text = event.text};
  // What it wrote for a record that it does not settle must not go on.
  if (random_.below(2) == 0) {
    process.said.push_back(output);
    output.text.clear();
  }
  if (is_poison(event.stage, event.text) || chance(plan.deaths)) return die(process, AttemptEnd::Kind::lost);
  if (chance(plan.statuses)) return die(process, AttemptEnd::Kind::failed);
  if (chance(plan.garbage)) return process.said.push_back({.what = What::garbage, .id = 0, .text = {}});
  if (chance(plan.failures)) return process.said.push_back({.what = What::fail, .id = event.number, .text = {}});
  if (!output.text.empty()) process.said.push_back(std::move(output));
  process.said.push_back({.what = What::done, .id = event.number, .text = {}});
  if (!process.told_end && !process.left && chance(plan.leaves)) {
    process.left = true;
    process.said.push_back({.what = What::leave, .id = 0, .text = {}});
  }
}

void FlowWorld::do_map(const Event& event, Process& process) {
  const SimStage& plan = plan_of(event);
  if (is_poison(event.stage, event.text) || chance(plan.deaths)) return die(process, AttemptEnd::Kind::lost);
  if (chance(plan.statuses)) return die(process, AttemptEnd::Kind::failed);
  process.kept.push_back({.what = Said::What::answer, .id = 0, .text = event.text});
  if (plan.keeps_answers && process.kept.size() < kAnswersKept) return;
  for (Said& answer : std::exchange(process.kept, {})) process.said.push_back(std::move(answer));
}

void FlowWorld::do_each(const Event& event, Process& process) {
  using End = AttemptEnd::Kind;
  Stage& stage = stage_of(event);
  const SimStage& plan = plan_of(event);
  bool poisoned = std::ranges::any_of(stage.texts.at(event.number),
                                      [&](const std::string& text) { return is_poison(event.stage, text); });
  End kind = poisoned || chance(plan.deaths) ? End::lost : chance(plan.statuses) ? End::failed : End::succeeded;
  process.runs = false;
  process.hand.clear();
  ++processes_ended_;
  stage.each->on_ended(event.number, {.kind = kind, .status = {exec::ProcessStatus::exited(0)}, .why = {}},
                       queue_.now());
}

// As the shell of @map does it: one that has read everything and says nothing is given more, and at last its end.
void FlowWorld::look(const Event& event) {
  Stage& stage = stage_of(event);
  Process& process = stage.processes[event.worker];
  auto worker = static_cast<std::uint32_t>(event.worker);
  bool stalls = !process.moved && process.inbox.empty() && process.busy == 0 && !process.hand.empty();
  process.moved = false;
  process.stalls = stalls ? process.stalls + 1 : 0;
  if (stalls && !stage.map->on_stalled(worker) && process.stalls > 3 && stage.map->streaming(worker))
    stage.map->flush(worker);
  queue_.at(queue_.now() + 20ms, event);
}

bool FlowWorld::hear_all(std::size_t index, std::size_t worker) {
  Stage& stage = stages_[index];
  Process& process = stage.processes[worker];
  std::deque<Said> heard;  // outputs lie in it until they are kept
  while (process.runs && !process.said.empty() && writable(stage)) {
    heard.push_back(std::move(process.said.front()));
    process.said.pop_front();
    hear(index, worker, heard.back());
  }
  process.outputs.keep();
  bool ends = process.runs && process.end && process.said.empty();
  if (ends) end_process(index, worker);
  return ends || !heard.empty();
}

void FlowWorld::hear(std::size_t index, std::size_t number, const Said& said) {
  using What = Said::What;
  Stage& stage = stages_[index];
  Process& process = stage.processes[number];
  auto worker = static_cast<std::uint32_t>(number);
  std::uint32_t concurrency = options_.stages[index].concurrency;
  TimePoint now = queue_.now();
  flow::WorkerWork::Outcome outcome;
  link::WorkerRange range{.first = said.id, .count = 1};
  switch (said.what) {
    case What::hello:
      outcome = stage.worker->on_hello(worker, {.concurrency = concurrency, .role = {}, .library = {}});
      if (outcome)
        outcome = stage.worker->on_credit(
            worker, {.concurrency = concurrency, .records = concurrency + kExtraCredit, .bytes = 1 << 20});
      break;
    case What::output:
      outcome = stage.worker->may_write(worker, said.id);
      if (outcome) process.outputs.put(said.id, said.text);
      break;
    case What::done:
      outcome = stage.worker->on_done(worker, range, now);
      process.outputs.settle(std::span(&range, 1),
                             [&](RecordId, std::string_view text) { emit(index, std::string(text)); });
      process.hand.erase(said.id);
      stage.texts.erase(said.id);
      break;
    case What::fail:
      process.outputs.drop(said.id);
      outcome = stage.worker->on_failed(worker, {.record = said.id, .reason = "drawn"}, now);
      process.hand.erase(said.id);
      break;
    case What::leave:
      outcome = stage.worker->on_leave(worker);
      break;
    case What::finished:
      outcome = stage.worker->on_finished(worker);
      break;
    case What::garbage:
      stage.worker->doom(worker, "it wrote garbage");
      process.said.clear();
      break;
    case What::answer: {
      auto answered = stage.map->on_answers(worker, 1, now);
      if (!answered) return violate(answered.error());
      RecordId id = answered->front().first;
      if (!process.hand.erase(id)) violate("an answer belongs to a record that its process does not have");
      auto text = stage.texts.extract(id);
      if (text.empty() || text.mapped().front() != said.text)
        return violate(fmt::format("the answer to {} was taken for that of another", said.text));
      emit(index, said.text);
      break;
    }
  }
  if (!outcome) violate(outcome.error());
}

void FlowWorld::end_process(std::size_t index, std::size_t worker) {
  Stage& stage = stages_[index];
  Process& process = stage.processes[worker];
  AttemptEnd end = *std::exchange(process.end, std::nullopt);
  std::uint64_t life = process.life;
  process = Process();
  process.life = life;
  ++processes_ended_;
  if (stage.worker)
    stage.worker->on_ended(static_cast<std::uint32_t>(worker), std::move(end), queue_.now());
  else
    stage.map->on_ended(static_cast<std::uint32_t>(worker), std::move(end), queue_.now());
}

// --- checks -------------------------------------------------------------------------------------------------------

void FlowWorld::check() {
  for (std::size_t index = 0; index < stages_.size(); ++index) {
    const SimStage& plan = options_.stages[index];
    const Stage& stage = stages_[index];
    for (const Pipe* pipe : {&stage.in, &stage.out})
      if (pipe->bytes > options_.pipe_bytes && pipe->records.size() > 1) violate("a pipe holds more than it can");
    if (stage.over) continue;
    if (stage.queue_bytes > options_.pipe_bytes + std::max(plan.batch, 1u) * kRecordMax)
      violate(fmt::format("{} hoards what it has written", plan.name));
    std::size_t in_hands = 0, window = 0;
    for (std::uint32_t worker = 0; worker < stage.processes.size(); ++worker) {
      const Process& process = stage.processes[worker];
      in_hands += process.hand.size();
      if (stage.worker && process.runs && stage.worker->in_hand(worker) != process.hand.size())
        violate(fmt::format("{} miscounts what its worker {} has in hand", plan.name, worker));
      if (stage.map && process.runs && stage.map->unanswered(worker) != process.hand.size())
        violate(fmt::format("{} miscounts what its worker {} has not answered", plan.name, worker));
    }
    if (in_hands > stage.texts.size()) violate(fmt::format("more is in the hands of {} than it has taken", plan.name));
    if (stage.worker) window = plan.workers * (plan.concurrency + kExtraCredit) * kRecordMax;
    if (stage.map) window = plan.workers * 600;
    std::size_t bytes = 0;
    for (const auto& [id, texts] : stage.texts) bytes += texts.front().size();
    if (!stage.each && bytes > options_.pipe_bytes + kBlockRecords * kRecordMax + window)
      violate(fmt::format("{} holds more than its windows", plan.name));
    if (stage.each && stage.texts.size() > 8) violate(fmt::format("{} holds more batches than it may", plan.name));
  }
}

std::vector<std::string> FlowWorld::unaccounted() const {
  std::vector<std::string> found;
  for (std::size_t index = 0; index < stages_.size(); ++index) {
    const SimStage& plan = options_.stages[index];
    const Stage& stage = stages_[index];
    if (stage.left) continue;
    if (plan.role == Role::tap && stage.written.size() != options_.records)
      found.push_back(fmt::format("{} wrote {} of {} records", plan.name, stage.written.size(), options_.records));
    for (const auto& [text, times] : stage.taken) {
      bool on = plan.role == Role::sink || plan.role == Role::merger || stage.written.contains(text + mark(index));
      if (on == stage.buried.contains(text))
        found.push_back(fmt::format("{} in {} was {}", text, plan.name, on ? "written, and buried" : "lost"));
    }
    for (const auto& [text, times] : stage.written) {
      std::uint64_t took = 0;
      bool somebody_stays = false;
      for (std::size_t number = 0; number < options_.links.size(); ++number) {
        const SimLink& link = options_.links[number];
        if (link.from != index) continue;
        bool has = stages_[link.to].taken.contains(text);
        took += has ? 1 : 0;
        somebody_stays = somebody_stays || !stages_[link.to].left;
        bool may_miss = plan.shares || stages_[link.to].left || counts(number).dropped > 0;
        if (!has && !may_miss)
          found.push_back(fmt::format("{} never came from {} to {}", text, plan.name, options_.stages[link.to].name));
      }
      bool may_be_lost = lost_with_readers_.contains(text) || !somebody_stays;
      if (plan.shares && took != 1 && !(took == 0 && may_be_lost))
        found.push_back(fmt::format("{} of {} went to {} readers", text, plan.name, took));
    }
  }
  // Of links that drop: what is missing was counted.
  for (std::size_t number = 0; number < options_.links.size(); ++number) {
    const SimLink& link = options_.links[number];
    const Stage& from = stages_[link.from];
    const Stage& to = stages_[link.to];
    if (options_.stages[link.from].shares || from.left || to.left) continue;
    link::JunctionCounts counted = counts(number);
    if (counted.delivered.records + counted.dropped.records != from.written.size())
      found.push_back(fmt::format("of {} records on link {} {} were delivered and {} dropped", from.written.size(),
                                  number, counted.delivered.records, counted.dropped.records));
  }
  return found;
}

std::vector<std::size_t> FlowWorld::feeders(std::size_t index) const {
  std::vector<std::size_t> found;
  for (const SimLink& link : options_.links)
    if (link.to == index) found.push_back(link.from);
  return found;
}

// Whom a stage that does nothing waits for.
std::vector<FlowWorld::Wait> FlowWorld::waits_of(std::size_t index) const {
  const SimStage& plan = options_.stages[index];
  const Stage& stage = stages_[index];
  std::vector<Wait> waits;
  if (!writable(stage) || !stage.queue.empty()) {
    for (const SimLink& link : options_.links) {
      if (link.from != index || link.slow == link::SlowRule::drop || stages_[link.to].left) continue;
      if (!stages_[link.to].in.records.empty())
        waits.push_back({link.to, fmt::format("the link {} -> {} is full", plan.name, options_.stages[link.to].name)});
    }
    return waits;
  }
  if (stage.over) return waits;
  std::size_t held = 0;
  for (const auto& [record, marks] : stage.held) held += marks.size();
  if (plan.role == Role::merger && held >= plan.concurrency) {
    for (std::size_t feeder : feeders(index)) {
      if (std::ranges::none_of(stage.held, [&](const auto& one) { return !one.second.contains(mark(feeder)); }))
        continue;
      // Of one that is over, they lie behind those of others on their way.
      bool is_over = stages_[feeder].over && stages_[feeder].queue.empty();
      waits.push_back(
          {is_over ? index : feeder, fmt::format("{} holds {} of {} records and waits for those of {}", plan.name, held,
                                                 plan.concurrency, options_.stages[feeder].name)});
    }
    return waits;
  }
  for (std::size_t feeder : feeders(index))
    waits.push_back({feeder, fmt::format("{} waits for {}", plan.name, options_.stages[feeder].name)});
  return waits;
}

std::string FlowWorld::find_cycle() const {
  std::vector<Wait> path;
  std::vector<bool> seen(stages_.size());
  std::function<std::string(std::size_t)> follow = [&](std::size_t index) -> std::string {
    auto begin = std::ranges::find(path, index, &Wait::stage);
    if (begin != path.end()) {
      std::string names, reasons;
      for (auto wait = begin; wait != path.end(); ++wait) {
        names += options_.stages[wait->stage].name + " -> ";
        reasons += "; " + wait->why;
      }
      return names + options_.stages[index].name + reasons;
    }
    if (seen[index]) return {};
    seen[index] = true;
    for (const Wait& wait : waits_of(index)) {
      path.push_back({index, wait.why});
      std::string found = follow(wait.stage);
      path.pop_back();
      if (!found.empty()) return found;
    }
    return {};
  };
  for (std::size_t index = 0; index < stages_.size(); ++index)
    if (std::string found = follow(index); !found.empty()) return found;
  return "nothing moves, and no stages wait for each other" + describe();
}

void FlowWorld::violate(std::string what) {
  if (violations_.size() < 20) violations_.push_back(std::move(what));
}

std::string FlowWorld::describe() const {
  std::string text;
  for (std::size_t index = 0; index < stages_.size(); ++index) {
    const Stage& stage = stages_[index];
    text +=
        fmt::format("\n  {} role {} over {} left {}: in {} (ended {}), taken {}, has {}, queue {}, out {}, written {}",
                    options_.stages[index].name, static_cast<int>(options_.stages[index].role), stage.over, stage.left,
                    stage.in.records.size(), stage.in.ended, stage.taken.size(), stage.texts.size(), stage.queue.size(),
                    stage.out.records.size(), stage.written.size());
    for (const Process& process : stage.processes)
      text +=
          fmt::format("; process runs {} inbox {} busy {} hand {} said {} end {}", process.runs, process.inbox.size(),
                      process.busy, process.hand.size(), process.said.size(), process.end.has_value());
  }
  return text;
}

}  // namespace sluice::sim
