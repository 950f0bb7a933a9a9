#include "link/record_gather.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <utility>

#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/stoppable_thread.h"

namespace sluice::link {

namespace {

struct GatherCounts {
  explicit GatherCounts(std::size_t workers) : taken(workers), times(workers) {}

  std::vector<std::atomic<std::uint64_t>> taken;  // records, by worker
  std::atomic<std::uint64_t> bytes = 0;
  SharedWorkerTimes times;
};

}  // namespace

class RecordGatherer final {
 public:
  RecordGatherer(std::vector<LocalStream> from, LocalStream into, const RecordGatherOptions& options,
                 GatherCounts& counts)
      : framing_(options.cut.framing), into_(std::move(into)), counts_(counts) {
    for (LocalStream& stream : from)
      inputs_.push_back({.from = std::move(stream), .cutter = RecordCutter(options.cut)});
  }

  RecordStreamEnd run(int stop) {
    while (!end_) {
      if (!enlarged_ && counts_.bytes > kMuch) enlarge_pipes();
      bool moved = write();
      for (std::size_t i = 0; i < inputs_.size() && !end_; ++i) moved = read(i) || moved;
      if (!end_ && finished()) finish();
      if (!end_ && !moved && !wait(stop)) end_ = RecordStreamEnd{.kind = RecordStreamEnd::Kind::reader_gone, .why = {}};
    }
    return *end_;
  }

 private:
  struct Input {
    LocalStream from;
    RecordCutter cutter;
    RecordBatch batch;  // that waits to be written
  };

  static bool wants(const Input& input) { return input.from && input.batch.empty(); }

  bool read(std::size_t index) {
    Input& input = inputs_[index];
    if (!wants(input)) return false;
    auto outcome = input.from.read_some(input.cutter.room());
    if (outcome.status == LocalStream::Status::moved) return take(index, input.cutter.on_bytes(outcome.bytes));
    if (outcome.status == LocalStream::Status::ended) {
      input.from = LocalStream();
      return take(index, input.cutter.on_end());
    }
    if (outcome.status == LocalStream::Status::failed)
      return fail(fmt::format("reading what worker {} wrote failed: {}", index + 1, std::strerror(outcome.error)));
    return false;
  }

  bool take(std::size_t index, std::expected<RecordBatch, std::string> batch) {
    if (!batch) return fail(fmt::format("worker {}: {}", index + 1, batch.error()));
    inputs_[index].batch = *std::move(batch);
    return true;
  }

  bool fail(std::string why) {
    end_ = RecordStreamEnd{.kind = RecordStreamEnd::Kind::failed, .why = std::move(why)};
    return false;
  }

  // Writes what there is, one batch behind the other; they take turns.
  bool write() {
    bool moved = false;
    while (!end_ && (written_ < bytes().size() || begin())) {
      auto outcome = into_.write_some(std::as_bytes(std::span(bytes().substr(written_))));
      if (outcome.status == LocalStream::Status::would_block) break;
      if (outcome.status == LocalStream::Status::failed)
        return fail(fmt::format("writing the records failed: {}", std::strerror(outcome.error)));
      if (outcome.status != LocalStream::Status::moved) {
        lose_reader();
        break;
      }
      moved = true;
      written_ += outcome.bytes;
      counts_.bytes.fetch_add(outcome.bytes, std::memory_order_relaxed);
    }
    return moved;
  }

  std::string_view bytes() const { return framed_.empty() ? writing_.bytes() : std::string_view(framed_); }

  bool begin() {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      std::size_t index = (turn_ + i) % inputs_.size();
      Input& input = inputs_[index];
      if (input.batch.empty()) continue;
      turn_ = index + 1;
      writing_ = std::exchange(input.batch, RecordBatch());
      written_ = 0;
      framed_.clear();
      if (writing_.shape().layout == RecordLayout::sized) append_framed(writing_, framing_, framed_);
      counts_.taken[index].fetch_add(writing_.count(), std::memory_order_relaxed);
      return true;
    }
    writing_ = RecordBatch();
    framed_.clear();
    written_ = 0;
    return false;
  }

  void enlarge_pipes() {
    enlarged_ = true;
    std::size_t size = large_pipe(inputs_.size() + 1);
    into_.enlarge(size);
    for (Input& input : inputs_)
      if (input.from) input.from.enlarge(size);
  }

  bool finished() const {
    return written_ == bytes().size() &&
           std::ranges::all_of(inputs_, [](const Input& input) { return !input.from && input.batch.empty(); });
  }

  void finish() {
    into_ = LocalStream();
    end_ = RecordStreamEnd{};
  }

  void lose_reader() {
    for (Input& input : inputs_) input.from = LocalStream();
    into_ = LocalStream();
    end_ = RecordStreamEnd{.kind = RecordStreamEnd::Kind::reader_gone, .why = {}};
  }

  // False: told to stop.
  bool wait(int stop) {
    bool writes = written_ < bytes().size();
    counts_.times.enter([&](std::size_t worker) {
      bool has_more = inputs_[worker].from || !inputs_[worker].batch.empty();
      return writes && has_more ? WorkerState::held_back : WorkerState::idle;
    });
    polled_.assign(1, {.fd = stop, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = into_.descriptor(), .events = static_cast<short>(writes ? POLLOUT : 0), .revents = 0});
    for (const Input& input : inputs_)
      if (wants(input)) polled_.push_back({.fd = input.from.descriptor(), .events = POLLIN, .revents = 0});
    ::poll(polled_.data(), polled_.size(), -1);
    if (polled_[0].revents != 0) return false;
    if (into_.reader_gone()) lose_reader();
    return true;
  }

  RecordFraming framing_;
  std::vector<Input> inputs_;
  LocalStream into_;
  GatherCounts& counts_;
  RecordBatch writing_;
  std::string framed_;  // if the stream's bytes are others than the batch's
  std::size_t written_ = 0;
  std::size_t turn_ = 0;
  bool enlarged_ = false;
  std::vector<pollfd> polled_;
  std::optional<RecordStreamEnd> end_;
};

struct RecordGather::Running {
  explicit Running(std::size_t workers) : counts(workers) {}

  GatherCounts counts;
  std::unique_ptr<RecordGatherer> gatherer;  // with what it keeps open
  StoppableThread thread;
};

std::expected<RecordGather, int> RecordGather::start(std::vector<UniqueFd> from, UniqueFd into,
                                                     const RecordGatherOptions& options,
                                                     std::function<void(RecordStreamEnd)> on_end) {
  auto sink = LocalStream::open(std::move(into), LocalStream::Direction::into, options.into_is_ours);
  if (!sink) return std::unexpected(sink.error());
  std::vector<LocalStream> sources;
  for (UniqueFd& pipe : from) {
    auto source = LocalStream::open(std::move(pipe), LocalStream::Direction::from, true);
    if (!source) return std::unexpected(source.error());
    sources.push_back(*std::move(source));
  }
  RecordGatherOptions sized = options;
  sized.cut.block_size = large_block(sources.size() + 1);
  auto running = std::make_unique<Running>(sources.size());
  running->gatherer = std::make_unique<RecordGatherer>(std::move(sources), *std::move(sink), sized, running->counts);
  auto started = running->thread.start(
      [gatherer = running->gatherer.get(), on_end = std::move(on_end)](int stop) { on_end(gatherer->run(stop)); });
  if (!started) return std::unexpected(started.error());
  return RecordGather(std::move(running));
}

RecordGather::RecordGather(std::unique_ptr<Running> running) : running_(std::move(running)) {}
RecordGather::RecordGather(RecordGather&&) noexcept = default;
RecordGather::~RecordGather() = default;

std::uint64_t RecordGather::taken(std::size_t worker) const {
  return running_->counts.taken[worker].load(std::memory_order_relaxed);
}
std::vector<WorkerDurations> RecordGather::times() const { return running_->counts.times.read(); }
std::uint64_t RecordGather::bytes() const { return running_->counts.bytes.load(std::memory_order_relaxed); }

}  // namespace sluice::link
