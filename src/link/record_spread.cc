#include "link/record_spread.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/rate_limit.h"
#include "link/record_producer.h"
#include "link/spread_pace.h"
#include "link/stoppable_thread.h"

namespace sluice::link {
namespace {

using Kind = RecordStreamEnd::Kind;

// How soon a terminal is looked at again that another process group reads now: nothing tells when we get it back.
constexpr int kBackgroundWaitMs = 200;
constexpr std::size_t kPendingMax = std::size_t{256} << 10, kLanePendingMin = std::size_t{16} << 10;

// What is being written to one worker.
struct Writing {
  std::size_t lane = 0;  // from which producer it came
  DeliveryNumber first = 0;
  RecordBatch batch;
  std::string framed;  // if the stream's bytes are others than the batch's
  std::size_t written = 0;

  std::string_view bytes() const { return framed.empty() ? batch.bytes() : std::string_view(framed); }
  DeliveryNumber last() const { return first + batch.count() - 1; }
};

struct Worker {
  LocalStream into;
  std::optional<Writing> writing;
  bool open = true;
  std::optional<SpreadPace> pace;  // none: its key decides what it is given
  bool one_page = false;           // its pipe: it takes more when it is empty
};

bool has_one_page(int pipe) { return ::fcntl(pipe, F_GETPIPE_SZ) == ::sysconf(_SC_PAGESIZE); }

bool is_empty(int pipe) {
  int unread = 0;
  return ::ioctl(pipe, FIONREAD, &unread) == 0 && unread == 0;
}

struct SpreadCounts {
  explicit SpreadCounts(std::size_t workers) : given(workers), times(workers) {}

  std::vector<std::atomic<std::uint64_t>> given;  // records, by worker
  std::atomic<std::uint64_t> bytes = 0;
  SharedWorkerTimes times;
};

}  // namespace

class RecordSpreader final {
 public:
  RecordSpreader(LocalStream from, std::vector<LocalStream> into, const RecordSpreadOptions& options,
                 SpreadCounts& counts)
      : options_(options), from_(std::move(from)), cutter_(options.cut), counts_(counts) {
    if (options_.rate) rate_.emplace(*options_.rate);
    for (LocalStream& stream : into) {
      Worker& worker = workers_.emplace_back(Worker{.into = std::move(stream), .writing = {}, .pace = {}});
      if (options_.lane_of || !worker.into.is_pipe()) continue;
      worker.pace.emplace();
      (void)::fcntl(worker.into.descriptor(), F_SETPIPE_SZ, static_cast<int>(SpreadPace::kLeastPipe));
      worker.one_page = has_one_page(worker.into.descriptor());
    }
    make_lanes();
  }

  RecordStreamEnd run(int stop) {
    while (!end_) {
      if (!enlarged_ && counts_.bytes > kMuch) enlarge_pipes();
      bool moved = feed();
      if (reads()) moved = read();
      for (ConsumerNumber number = 0; number < workers_.size(); ++number) moved = pump(number) || moved;
      if (std::ranges::all_of(lanes_, [](const Lane& lane) { return lane.producer.all_settled(); })) finish();
      if (!end_ && !moved && !wait(stop)) end_ = RecordStreamEnd{.kind = Kind::reader_gone, .why = {}};
    }
    return *end_;
  }

 private:
  // Without keys all workers share one; with them each has records of its own, and takes over those of one that has left.
  struct Lane {
    RecordProducer producer;
    ConsumerNumber owner = 0;  // with keys
  };

  void make_lanes() {
    bool keyed = static_cast<bool>(options_.lane_of);
    std::size_t count = keyed ? workers_.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      RecordProducerOptions options{.pending_bytes_max = std::max(kPendingMax / count, kLanePendingMin),
                                    .flight_bytes_max = options_.flight_bytes_max,
                                    .outbox_bytes_max = options_.flight_bytes_max};
      Lane& lane =
          lanes_.emplace_back(Lane{.producer = RecordProducer(options), .owner = static_cast<ConsumerNumber>(i)});
      for (ConsumerNumber number = 0; number < workers_.size(); ++number)
        if (!keyed || number == i) attach(lane, number);
    }
  }
  void attach(Lane& lane, ConsumerNumber number) {
    if (workers_[number].pace)
      lane.producer.attach_local(number, workers_[number].pace->burst());
    else
      lane.producer.attach_local(number);
  }
  bool keyed() const { return lanes_.size() > 1 || options_.lane_of; }

  bool reads() const {
    return !end_ && from_ && incoming_.empty() &&
           std::ranges::all_of(lanes_, [](const Lane& lane) { return lane.producer.wants_input(); });
  }

  // True: something was moved.
  bool read() {
    auto outcome = from_.read_some(cutter_.room());
    in_background_ = outcome.status == LocalStream::Status::in_background;
    switch (outcome.status) {
      case LocalStream::Status::moved:
        counts_.bytes.fetch_add(outcome.bytes, std::memory_order_relaxed);
        return take(cutter_.on_bytes(outcome.bytes));
      case LocalStream::Status::ended:
        from_ = LocalStream();
        input_ended_ = true;
        return take(cutter_.on_end());
      case LocalStream::Status::failed:
        return fail(fmt::format("reading the records failed: {}", std::strerror(outcome.error)));
      case LocalStream::Status::would_block:
      case LocalStream::Status::in_background:
      case LocalStream::Status::reader_gone:
        return false;
    }
    return false;
  }

  bool take(std::expected<RecordBatch, std::string> batch) {
    if (!batch) return fail(std::move(batch.error()));
    incoming_ = *std::move(batch);
    feed();
    return true;
  }

  // As many as the rate allows. True: something was moved.
  bool feed() {
    bool moved = false;
    if (!incoming_.empty()) {
      TimePoint now = rate_ ? Clock::now() : TimePoint{};
      std::uint32_t count = rate_ ? std::min(rate_->allowed(now), incoming_.count()) : incoming_.count();
      if (rate_ && count > 0) rate_->take(now, count);
      if (count > 0) hand_over(incoming_.take_front(count));
      moved = count > 0;
    }
    if (!input_ended_ || !incoming_.empty() || told_end_) return moved;
    for (Lane& lane : lanes_) lane.producer.on_source_end();
    return told_end_ = true;
  }

  void hand_over(RecordBatch batch) {
    if (!options_.lane_of) return lanes_.front().producer.on_batch(std::move(batch));
    while (!batch.empty()) {
      RecordBatch record = batch.take_front(1);
      std::string_view bytes = record.bytes();
      if (record.shape().layout == RecordLayout::delimited) bytes.remove_suffix(1);
      lanes_[options_.lane_of(bytes)].producer.on_batch(std::move(record));
    }
  }

  bool fail(std::string why) {
    end_ = RecordStreamEnd{.kind = Kind::failed, .why = std::move(why)};
    return false;
  }

  bool pump(ConsumerNumber number) {
    Worker& worker = workers_[number];
    bool moved = false;
    while (worker.open && !end_) {
      if (!worker.writing && !begin(number)) break;
      Writing& writing = *worker.writing;
      auto rest = std::as_bytes(std::span(writing.bytes().substr(writing.written)));
      auto outcome =
          rest.empty() ? LocalStream::Outcome{.status = LocalStream::Status::moved} : worker.into.write_some(rest);
      if (outcome.status == LocalStream::Status::would_block) break;
      if (outcome.status != LocalStream::Status::moved) {
        close_early(number);
        return true;
      }
      moved = true;
      writing.written += outcome.bytes;
      if (writing.written < writing.bytes().size()) continue;
      count(number, writing.batch.count());
      if (worker.pace) follow_pace(worker);
      lanes_[writing.lane].producer.settle(number, {.first = writing.first, .last = writing.last()});
      worker.writing.reset();
    }
    return moved;
  }

  void follow_pace(Worker& worker) {
    std::size_t most = enlarged_ ? large_pipe(workers_.size() + 1) : SpreadPace::kUsualPipe;
    const Writing& writing = *worker.writing;
    std::size_t pipe = worker.pace->on_written(writing.batch.count(), writing.bytes().size(), most, Clock::now());
    if (pipe == 0) return;
    worker.into.enlarge(pipe);
    worker.one_page = has_one_page(worker.into.descriptor());
  }

  // False: it has not taken what it was given.
  bool begin_burst(ConsumerNumber number) {
    Worker& worker = workers_[number];
    if (worker.one_page && !is_empty(worker.into.descriptor())) return false;
    worker.pace->on_taken(Clock::now());
    lanes_.front().producer.grant(number, worker.pace->burst());
    return true;
  }

  bool begin(ConsumerNumber number) {
    Worker& worker = workers_[number];
    if (worker.pace && worker.pace->is_given() && !begin_burst(number)) return false;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane)
      if ((!keyed() || lanes_[lane].owner == number) && begin_from(lane, number)) return true;
    return false;
  }

  bool begin_from(std::size_t lane, ConsumerNumber number) {
    auto delivery = lanes_[lane].producer.poll_delivery(number);
    if (!delivery) return false;
    Writing writing{.lane = lane, .first = delivery->first, .batch = std::move(delivery->batch)};
    if (writing.batch.shape().layout == RecordLayout::sized)
      append_framed(writing.batch, options_.cut.framing, writing.framed);
    workers_[number].writing = std::move(writing);
    if (workers_[number].pace) workers_[number].pace->on_begun(Clock::now());
    return true;
  }

  // The worker reads no more. Records of which it may have seen a byte are its own; the others go to those that read.
  void close_early(ConsumerNumber number) {
    Worker& worker = workers_[number];
    worker.open = false;
    if (worker.writing) {
      std::uint32_t begun = records_begun(*worker.writing);
      count(number, begun);
      if (begun > 0)
        lanes_[worker.writing->lane].producer.settle(
            number, {.first = worker.writing->first, .last = worker.writing->first + begun - 1});
      worker.writing.reset();
    }
    worker.into = LocalStream();
    auto next = std::ranges::find_if(workers_, &Worker::open);
    if (next == workers_.end()) {
      from_ = LocalStream();
      end_ = RecordStreamEnd{.kind = Kind::reader_gone, .why = {}};
      return;
    }
    for (Lane& lane : lanes_) {
      if (keyed() && lane.owner != number) continue;
      lane.producer.on_lost(number, "it reads no more");
      if (!keyed()) continue;
      lane.owner = static_cast<ConsumerNumber>(next - workers_.begin());
      attach(lane, lane.owner);
    }
  }

  std::uint32_t records_begun(const Writing& writing) const {
    std::uint32_t begun = 0;
    std::string framed;
    std::size_t size = 0;
    for (RecordBatch rest = writing.batch; !rest.empty() && size < writing.written; ++begun) {
      framed.clear();
      append_framed(rest.take_front(1), options_.cut.framing, framed);
      size += framed.size();
    }
    return begun;
  }

  void count(ConsumerNumber number, std::uint64_t records) {
    counts_.given[number].fetch_add(records, std::memory_order_relaxed);
  }

  void enlarge_pipes() {
    enlarged_ = true;
    std::size_t size = large_pipe(workers_.size() + 1);
    if (from_) from_.enlarge(size);
    for (Worker& worker : workers_)
      if (worker.open && (!worker.pace || worker.pace->is_quick())) worker.into.enlarge(size);
  }

  void finish() {
    for (Worker& worker : workers_) worker.into = LocalStream();
    end_ = RecordStreamEnd{};
  }

  // False: told to stop.
  bool wait(int stop) {
    counts_.times.enter(
        [this](std::size_t worker) { return workers_[worker].writing ? WorkerState::busy : WorkerState::idle; });
    polled_.assign(1, {.fd = stop, .events = POLLIN, .revents = 0});
    if (reads() && !in_background_) polled_.push_back({.fd = from_.descriptor(), .events = POLLIN, .revents = 0});
    std::size_t first_worker = polled_.size();
    for (const Worker& worker : workers_) {
      if (!worker.open) continue;
      // Without events: only that nobody reads any more.
      bool waits = worker.writing || (worker.one_page && worker.pace->is_given());
      polled_.push_back(
          {.fd = worker.into.descriptor(), .events = static_cast<short>(waits ? POLLOUT : 0), .revents = 0});
    }
    ::poll(polled_.data(), polled_.size(), timeout_ms());
    if (polled_[0].revents != 0) return false;
    std::size_t at = first_worker;
    for (ConsumerNumber number = 0; number < workers_.size(); ++number) {
      if (!workers_[number].open || at == polled_.size()) continue;
      if ((polled_[at++].revents & POLLERR) != 0) close_early(number);
    }
    return true;
  }

  int timeout_ms() const {
    if (!incoming_.empty() && rate_) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(rate_->next() - Clock::now()).count();
      return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
    }
    return reads() && in_background_ ? kBackgroundWaitMs : -1;
  }

  RecordSpreadOptions options_;
  LocalStream from_;
  RecordCutter cutter_;
  std::vector<Lane> lanes_;
  std::vector<Worker> workers_;
  SpreadCounts& counts_;
  std::vector<pollfd> polled_;
  RecordBatch incoming_;  // cut, and not the producer's yet: the rate holds it back
  std::optional<RateLimit> rate_;
  bool input_ended_ = false;
  bool told_end_ = false;
  bool in_background_ = false;
  bool enlarged_ = false;
  std::optional<RecordStreamEnd> end_;
};

struct RecordSpread::Running {
  explicit Running(std::size_t workers) : counts(workers) {}

  SpreadCounts counts;
  std::unique_ptr<RecordSpreader> spreader;  // with what it keeps open
  StoppableThread thread;
};

std::expected<RecordSpread, int> RecordSpread::start(UniqueFd from, std::vector<UniqueFd> into,
                                                     const RecordSpreadOptions& options,
                                                     std::function<void(RecordStreamEnd)> on_end) {
  auto source = LocalStream::open(std::move(from), LocalStream::Direction::from, options.from_is_ours);
  if (!source) return std::unexpected(source.error());
  std::vector<LocalStream> sinks;
  for (UniqueFd& pipe : into) {
    auto sink = LocalStream::open(std::move(pipe), LocalStream::Direction::into, true);
    if (!sink) return std::unexpected(sink.error());
    sinks.push_back(*std::move(sink));
  }
  RecordSpreadOptions sized = options;
  sized.cut.block_size = large_block(sinks.size() + 1);
  auto running = std::make_unique<Running>(sinks.size());
  running->spreader = std::make_unique<RecordSpreader>(*std::move(source), std::move(sinks), sized, running->counts);
  auto started = running->thread.start(
      [spreader = running->spreader.get(), on_end = std::move(on_end)](int stop) { on_end(spreader->run(stop)); });
  if (!started) return std::unexpected(started.error());
  return RecordSpread(std::move(running));
}

RecordSpread::RecordSpread(std::unique_ptr<Running> running) : running_(std::move(running)) {}
RecordSpread::RecordSpread(RecordSpread&&) noexcept = default;
RecordSpread::~RecordSpread() = default;

std::uint64_t RecordSpread::given(std::size_t worker) const {
  return running_->counts.given[worker].load(std::memory_order_relaxed);
}
std::vector<WorkerDurations> RecordSpread::times() const { return running_->counts.times.read(); }
std::uint64_t RecordSpread::bytes() const { return running_->counts.bytes.load(std::memory_order_relaxed); }

}  // namespace sluice::link
