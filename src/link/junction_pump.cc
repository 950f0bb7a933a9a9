#include "link/junction_pump.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/share_pace.h"
#include "link/stoppable_thread.h"

namespace sluice::link {
namespace {

using Kind = RecordStreamEnd::Kind;

// Written by one thread, read by others: `in` is written first and read last, so that what has come out is always seen to
// have gone in.
struct SharedBalance {
  std::atomic<std::uint64_t> in = 0, dropped = 0, out = 0;

  void store(const JunctionPump::Balance& balance) {
    in.store(balance.in, std::memory_order_release);
    dropped.store(balance.dropped, std::memory_order_release);
    out.store(balance.out, std::memory_order_release);
  }
  JunctionPump::Balance load() const {
    JunctionPump::Balance balance;
    balance.out = out.load(std::memory_order_acquire);
    balance.dropped = dropped.load(std::memory_order_acquire);
    balance.in = in.load(std::memory_order_acquire);
    return balance;
  }
};

struct PumpCounts {
  struct Link {
    SharedBalance bytes, records;
    std::atomic<std::uint64_t> dropped_by_rule = 0, spilled_most = 0;
  };
  std::vector<Link> links;
  std::vector<std::atomic<std::uint64_t>> read;  // bytes, by input
  std::vector<bool> records_known;               // by link; does not change

  mutable std::mutex standing_mutex;
  JunctionPump::Standing standing;
};

// What stands between a stream and the junction: records that are cut, or blocks as they come.
class InputBlocks final {
 public:
  InputBlocks(const RecordCutter::Options& options, bool whole_records) : block_size_(options.block_size) {
    if (whole_records) cutter_.emplace(options);
  }

  std::span<std::byte> room() {
    if (cutter_) return cutter_->room();
    if (!block_) block_ = std::make_unique_for_overwrite<std::byte[]>(block_size_);
    return {block_.get(), block_size_};
  }
  std::expected<RecordBatch, std::string> on_bytes(std::size_t size) {
    if (cutter_) return cutter_->on_bytes(size);
    std::vector<std::uint32_t> pieces(size / kPiece, kPiece);
    if (std::uint32_t rest = size % kPiece; rest > 0) pieces.push_back(rest);
    RecordId first = std::exchange(next_id_, next_id_ + pieces.size());
    return RecordBatch::of_sized(first, pieces, {reinterpret_cast<char*>(block_.get()), size});
  }
  std::expected<RecordBatch, std::string> on_end() {
    block_.reset();
    if (!cutter_) return RecordBatch();
    auto rest = cutter_->on_end();
    bool was_added = rest && !rest->empty() && rest->shape().layout == RecordLayout::delimited;
    if (was_added) unended_ = rest->last();
    return rest;
  }
  bool whole_records() const { return cutter_.has_value(); }
  /// The stream has ended before the delimiter of its last record.
  bool ended_within_record() const { return unended_.has_value(); }
  /// The stream ended before this one's delimiter.
  bool is_unended(RecordId record) const { return unended_ == record; }

 private:
  static constexpr std::uint32_t kPiece = 16 << 10;  // of a block, where a spill has room for a part of it only

  std::size_t block_size_;
  std::optional<RecordCutter> cutter_;
  std::unique_ptr<std::byte[]> block_;
  RecordId next_id_ = 1;
  std::optional<RecordId> unended_;
};

// By input: whether somebody could see where one of its records ends.
std::vector<bool> need_whole_records(const PumpPlan& plan) {
  std::vector<std::size_t> arriving(plan.outputs.size());
  for (const PumpLink& link : plan.links) ++arriving[link.link.output];
  std::vector<bool> need;
  for (const PumpInput& input : plan.inputs) need.push_back(input.shares);
  for (const PumpLink& link : plan.links)
    if (link.link.slow == SlowRule::drop || arriving[link.link.output] > 1) need[link.link.input] = true;
  return need;
}

JunctionShape shape_of(PumpPlan& plan) {
  JunctionShape shape{.inputs = {}, .outputs = plan.outputs.size(), .links = {}};
  for (const PumpInput& input : plan.inputs) shape.inputs.push_back({.shares = input.shares});
  for (PumpLink& link : plan.links) shape.links.push_back(std::move(link.link));
  return shape;
}

struct Streams {
  std::vector<LocalStream> from;
  std::vector<std::optional<LocalStream>> into;  // nothing: its reader has gone before we began
};

std::expected<Streams, int> open_streams(PumpPlan& plan) {
  Streams streams;
  for (PumpInput& input : plan.inputs) {
    auto stream = LocalStream::open(std::move(input.from), LocalStream::Direction::from, true);
    if (!stream) return std::unexpected(stream.error());
    streams.from.push_back(*std::move(stream));
  }
  for (PumpOutput& output : plan.outputs) {
    auto stream = LocalStream::open(std::move(output.into), LocalStream::Direction::into, output.is_ours);
    if (!stream && stream.error() != EPIPE) return std::unexpected(stream.error());
    streams.into.push_back(stream ? std::optional(*std::move(stream)) : std::nullopt);
  }
  return streams;
}

}  // namespace

class JunctionPumper final {
 public:
  JunctionPumper(PumpPlan plan, Streams streams, std::function<void(std::size_t)> on_over, PumpCounts& counts)
      : pipes_(std::max(plan.pipes_of_flow, plan.inputs.size() + plan.outputs.size())),
        on_over_(std::move(on_over)),
        counts_(counts) {
    std::vector<bool> whole_records = need_whole_records(plan);
    for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
      PumpInput& input = plan.inputs[i];
      RecordCutter::Options cut = input.cut;
      cut.block_size = large_block(pipes_);
      inputs_.push_back({.from = std::move(streams.from[i]),
                         .name = std::move(input.name),
                         .framing = cut.framing,
                         .blocks = InputBlocks(cut, whole_records[i]),
                         .links = {},
                         .shares = input.shares});
    }
    for (std::size_t i = 0; i < plan.outputs.size(); ++i)
      outputs_.push_back({.into = {}, .name = std::move(plan.outputs[i].name), .links = {}, .framed = {}});
    for (const PumpLink& link : plan.links) {
      if (plan.inputs[link.link.input].shares) outputs_[link.link.output].pace.emplace();
      inputs_[link.link.input].links.push_back(links_.size());
      outputs_[link.link.output].links.push_back(links_.size());
      links_.push_back({.input = link.link.input, .output = link.link.output, .name = link.name});
    }
    junction_.emplace(shape_of(plan));
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (streams.into[i])
        outputs_[i].into = *std::move(streams.into[i]);
      else
        junction_->on_reader_gone(i, 0);
      if (outputs_[i].pace) follow_pace(i);
    }
  }

  std::vector<bool> records_known() const {
    std::vector<bool> known(links_.size());
    for (const Input& input : inputs_)
      for (std::size_t link : input.links) known[link] = input.blocks.whole_records();
    return known;
  }

  RecordStreamEnd run(int stop) {
    while (!end_) {
      if (!enlarged_ && moved_bytes_ > kMuch) enlarge_pipes();
      bool moved = false;
      for (std::size_t i = 0; i < outputs_.size() && !end_; ++i) moved = write(i) || moved;
      for (std::size_t i = 0; i < inputs_.size() && !end_; ++i) moved = read(i) || moved;
      if (!end_) close_what_is_over();
      if (!end_ && junction_->finished()) finish();
      if (!end_ && !(moved ? goes_on(stop) : wait(stop))) end_ = RecordStreamEnd{.kind = Kind::reader_gone, .why = {}};
    }
    return *end_;
  }

 private:
  struct Input {
    LocalStream from;
    std::string name;
    RecordFraming framing;
    InputBlocks blocks;
    std::vector<std::size_t> links;
    bool shares = false;
  };
  struct Link {
    std::size_t input = 0;
    std::size_t output = 0;
    std::string name;
    std::uint64_t written = 0;           // bytes
    std::uint64_t delimiters_added = 0;  // owed to other links, and paid before a record of this one
    bool ends_unended = false;           // the last that it was given had no delimiter
    bool dropped_unended = false;        // and was dropped
  };
  struct Output {
    LocalStream into;
    std::string name;
    std::vector<std::size_t> links;
    std::string framed;  // of the delivery, if the stream's bytes are others than the batch's
    std::size_t written = 0;
    std::optional<char> owed;       // the delimiter of a record that had none, if anything comes behind it
    std::optional<SharePace> pace;  // of one that shares
    bool told_over = false;
  };
  using Delivery = RecordJunction::Delivery;
  static constexpr std::uint64_t kTurnsUnasked = 64;

  bool fail(std::string why) {
    end_ = RecordStreamEnd{.kind = Kind::failed, .why = std::move(why)};
    return false;
  }
  bool fail(const JunctionError& error) { return fail(fmt::format("{}: {}", links_[error.link].name, error.why)); }

  // --- reading: true if something was moved ---

  bool reads(std::size_t index) const { return inputs_[index].from && junction_->wants(index); }

  bool read(std::size_t index) {
    if (!reads(index)) return false;
    Input& input = inputs_[index];
    auto outcome = input.from.read_some(input.blocks.room());
    switch (outcome.status) {
      case LocalStream::Status::moved:
        counts_.read[index].fetch_add(outcome.bytes, std::memory_order_relaxed);
        moved_bytes_ += outcome.bytes;
        return take(index, input.blocks.on_bytes(outcome.bytes));
      case LocalStream::Status::ended:
        input.from = LocalStream();
        if (!take_rest(index)) return false;
        junction_->on_end(index);
        return true;
      case LocalStream::Status::failed:
        return fail(fmt::format("reading {} failed: {}", input.name, std::strerror(outcome.error)));
      case LocalStream::Status::would_block:
      case LocalStream::Status::in_background:
      case LocalStream::Status::reader_gone:
        break;
    }
    return false;
  }

  bool take(std::size_t index, std::expected<RecordBatch, std::string> batch) {
    if (!batch) return fail(fmt::format("{}: {}", inputs_[index].name, batch.error()));
    if (auto taken = junction_->on_batch(index, *std::move(batch)); !taken) return fail(taken.error());
    for (std::size_t link : inputs_[index].links) publish(link);
    return true;
  }

  // What it was given as its delimiter has not come in.
  bool take_rest(std::size_t index) {
    Input& input = inputs_[index];
    auto rest = input.blocks.on_end();
    std::vector<std::uint64_t> dropped;
    for (std::size_t number : input.links) {
      Link& link = links_[number];
      link.ends_unended = input.blocks.ended_within_record() && !junction_->reader_gone(link.output);
      dropped.push_back(junction_->counts(number).dropped.records);
    }
    if (!take(index, std::move(rest))) return false;
    for (std::size_t i = 0; i < input.links.size(); ++i) {
      Link& link = links_[input.links[i]];
      link.dropped_unended = link.ends_unended && junction_->counts(input.links[i]).dropped.records > dropped[i];
      publish(input.links[i]);
    }
    return true;
  }

  // --- writing ---

  bool write(std::size_t index) {
    Output& output = outputs_[index];
    bool moved = false;
    while (output.into) {
      bool begins = output.written == 0 && output.framed.empty();
      auto delivery = junction_->delivery(index);
      if (!delivery) return fail(delivery.error());
      if (*delivery == nullptr) break;
      if (begins) frame(**delivery, output);
      std::string_view bytes = bytes_of(**delivery, output);
      auto outcome = write_some(output, bytes);
      if (outcome.status == LocalStream::Status::would_block) break;
      if (outcome.status == LocalStream::Status::failed)
        return fail(fmt::format("writing to {} failed: {}", output.name, std::strerror(outcome.error)));
      moved = true;
      if (outcome.status != LocalStream::Status::moved) {
        lose_reader(index);
        break;
      }
      output.written += outcome.bytes;
      links_[(*delivery)->link].written += outcome.bytes;
      publish((*delivery)->link);
      if (output.written < bytes.size()) continue;
      if (ends_unended(**delivery)) output.owed = (*delivery)->batch.shape().delimiter;
      complete(index, (*delivery)->link);
    }
    return moved;
  }

  void frame(const Delivery& delivery, Output& output) {
    const Input& input = inputs_[delivery.input];
    bool is_sized = input.blocks.whole_records() && delivery.batch.shape().layout == RecordLayout::sized;
    if (!is_sized && !output.owed) return;
    if (output.owed) {
      output.framed.push_back(*output.owed);
      ++links_[delivery.link].delimiters_added;
    }
    if (is_sized)
      append_framed(delivery.batch, input.framing, output.framed);
    else
      output.framed.append(delivery.batch.bytes());
    output.owed.reset();
  }
  // A stream that ends within a line is passed on so, as long as it is the last: an archive may be one.
  bool ends_unended(const Delivery& delivery) const {
    return inputs_[delivery.input].blocks.is_unended(delivery.batch.last());
  }
  std::string_view bytes_of(const Delivery& delivery, const Output& output) const {
    std::string_view bytes = output.framed.empty() ? delivery.batch.bytes() : std::string_view(output.framed);
    if (ends_unended(delivery)) bytes.remove_suffix(1);
    return bytes;
  }
  static LocalStream::Outcome write_some(Output& output, std::string_view bytes) {
    std::string_view rest = bytes.substr(output.written);
    if (rest.empty()) return {.status = LocalStream::Status::moved};
    return output.into.write_some(std::as_bytes(std::span(rest)));
  }

  void complete(std::size_t index, std::size_t link) {
    Output& output = outputs_[index];
    junction_->on_written(index);
    if (output.pace && output.pace->on_written(output.written, Clock::now())) follow_pace(index);
    output.framed.clear();
    output.written = 0;
    publish(link);
  }

  // Where the pipe can't be made smaller or larger it stays as it is.
  void follow_pace(std::size_t index) {
    Output& output = outputs_[index];
    junction_->set_shared_delivery_max(index, output.pace->delivery_bytes_max());
    if (output.into) (void)::fcntl(output.into.descriptor(), F_SETPIPE_SZ, static_cast<int>(output.pace->pipe_bytes()));
  }

  // Records of which it may have seen a byte are its own.
  std::uint32_t records_begun(const Delivery& delivery, const Output& output) const {
    std::uint32_t begun = 0;
    std::size_t size = 0;
    std::string framed;
    for (RecordBatch rest = delivery.batch; !rest.empty() && size < output.written; ++begun) {
      RecordBatch record = rest.take_front(1);
      framed.clear();
      append_framed(record, inputs_[delivery.input].framing, framed);
      size += framed.size();
    }
    return begun;
  }

  void lose_reader(std::size_t index) {
    Output& output = outputs_[index];
    auto delivery = junction_->delivery(index);
    std::uint32_t begun = delivery && *delivery != nullptr ? records_begun(**delivery, output) : 0;
    junction_->on_reader_gone(index, begun);
    for (std::size_t link : output.links) publish(link);
    output.into = LocalStream();
  }

  // --- ends ---

  void close_what_is_over() {
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (junction_->unread(i)) inputs_[i].from = LocalStream();
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      Output& output = outputs_[i];
      if (output.told_over || !(junction_->over(i) || junction_->reader_gone(i))) continue;
      output.into = LocalStream();
      output.told_over = true;
      on_over_(i);
    }
  }

  void finish() {
    bool all_gone = true;
    for (std::size_t i = 0; i < outputs_.size(); ++i) all_gone = all_gone && junction_->reader_gone(i);
    end_ = RecordStreamEnd{.kind = all_gone ? Kind::reader_gone : Kind::ended, .why = {}};
  }

  void publish(std::size_t number) {
    JunctionCounts counted = junction_->counts(number);
    PumpCounts::Link& shown = counts_.links[number];
    shown.bytes.store(bytes_of(links_[number], counted));
    shown.records.store({.in = counted.accepted.records,
                         .out = counted.delivered.records,
                         .dropped = counted.dropped.records + counted.forgotten.records});
    shown.dropped_by_rule.store(counted.dropped.records, std::memory_order_relaxed);
    shown.spilled_most.store(counted.spilled_most, std::memory_order_relaxed);
  }

  // A reader that goes may leave a part of a record, which has come out.
  JunctionPump::Balance bytes_of(const Link& link, const JunctionCounts& counted) const {
    const Input& input = inputs_[link.input];
    JunctionPump::Balance bytes{.out = link.written};
    if (input.shares) {
      bytes.in = bytes.out;
      return bytes;
    }
    bytes.in = stream_bytes(counted.accepted, input) + link.delimiters_added - (link.ends_unended ? 1 : 0);
    bytes.dropped = junction_->reader_gone(link.output)
                        ? bytes.in - bytes.out
                        : stream_bytes(counted.dropped, input) - (link.dropped_unended ? 1 : 0);
    return bytes;
  }
  static std::uint64_t stream_bytes(const RecordAmount& amount, const Input& input) {
    return amount.bytes + (input.blocks.whole_records() ? amount.records * framing_bytes(input.framing) : 0);
  }

  void show_standing() {
    std::lock_guard lock(counts_.standing_mutex);
    JunctionPump::Standing& shown = counts_.standing;
    shown.reads.resize(inputs_.size());
    shown.blocks.resize(links_.size());
    shown.idle.resize(links_.size());
    for (std::size_t i = 0; i < inputs_.size(); ++i) shown.reads[i] = reads(i);
    for (std::size_t link = 0; link < links_.size(); ++link) {
      shown.blocks[link] = junction_->blocks(link);
      shown.idle[link] = junction_->idle(link);
    }
  }

  void enlarge_pipes() {
    enlarged_ = true;
    std::size_t size = large_pipe(pipes_);
    for (Input& input : inputs_)
      if (input.from) input.from.enlarge(size);
    for (Output& output : outputs_)
      if (output.into && (!output.pace || output.pace->is_quick())) output.into.enlarge(size);
  }

  // Without waiting, asked now and then. False: told to stop.
  bool goes_on(int stop) {
    if (++turns_ % kTurnsUnasked != 0) return true;
    pollfd look{.fd = stop, .events = POLLIN, .revents = 0};
    return ::poll(&look, 1, 0) == 0;
  }

  // False: told to stop. What has nothing to write is watched for the end of its reader.
  bool wait(int stop) {
    show_standing();
    polled_.assign(1, {.fd = stop, .events = POLLIN, .revents = 0});
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (reads(i)) polled_.push_back({.fd = inputs_[i].from.descriptor(), .events = POLLIN, .revents = 0});
    std::size_t first_output = polled_.size();
    std::vector<std::size_t> watched;
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (!outputs_[i].into) continue;
      auto delivery = junction_->delivery(i);
      if (!delivery) {
        fail(delivery.error());
        return true;
      }
      watched.push_back(i);
      polled_.push_back({.fd = outputs_[i].into.descriptor(),
                         .events = static_cast<short>(*delivery != nullptr ? POLLOUT : 0),
                         .revents = 0});
    }
    ::poll(polled_.data(), polled_.size(), -1);
    if (polled_[0].revents != 0) return false;
    for (std::size_t i = 0; i < watched.size(); ++i)
      if ((polled_[first_output + i].revents & (POLLERR | POLLHUP)) != 0 && outputs_[watched[i]].into.reader_gone())
        lose_reader(watched[i]);
    return true;
  }

  std::size_t pipes_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  std::vector<Link> links_;
  std::optional<RecordJunction> junction_;
  std::function<void(std::size_t)> on_over_;
  PumpCounts& counts_;
  std::uint64_t moved_bytes_ = 0;
  std::uint64_t turns_ = 0;
  bool enlarged_ = false;
  std::vector<pollfd> polled_;
  std::optional<RecordStreamEnd> end_;
};

struct JunctionPump::Running {
  PumpCounts counts;
  std::unique_ptr<JunctionPumper> pumper;  // with what it keeps open
  StoppableThread thread;
};

std::expected<JunctionPump, int> JunctionPump::start(PumpPlan plan, std::function<void(std::size_t)> on_over,
                                                     std::function<void(RecordStreamEnd)> on_end) {
  auto streams = open_streams(plan);
  if (!streams) return std::unexpected(streams.error());
  auto running = std::make_unique<Running>();
  running->counts.links = std::vector<PumpCounts::Link>(plan.links.size());
  running->counts.read = std::vector<std::atomic<std::uint64_t>>(plan.inputs.size());
  running->pumper =
      std::make_unique<JunctionPumper>(std::move(plan), *std::move(streams), std::move(on_over), running->counts);
  running->counts.records_known = running->pumper->records_known();
  auto started = running->thread.start(
      [pumper = running->pumper.get(), on_end = std::move(on_end)](int stop) { on_end(pumper->run(stop)); });
  if (!started) return std::unexpected(started.error());
  return JunctionPump(std::move(running));
}

JunctionPump::JunctionPump(std::unique_ptr<Running> running) : running_(std::move(running)) {}
JunctionPump::JunctionPump(JunctionPump&&) noexcept = default;
JunctionPump::~JunctionPump() = default;

JunctionPump::Counts JunctionPump::counts(std::size_t link) const {
  const PumpCounts::Link& counted = running_->counts.links[link];
  bool known = running_->counts.records_known[link];
  return {.bytes = counted.bytes.load(),
          .records = known ? counted.records.load() : Balance(),
          .dropped_by_rule = counted.dropped_by_rule.load(std::memory_order_relaxed),
          .spilled_most = counted.spilled_most.load(std::memory_order_relaxed),
          .records_known = known};
}

JunctionPump::Standing JunctionPump::standing() const {
  std::lock_guard lock(running_->counts.standing_mutex);
  return running_->counts.standing;
}

std::uint64_t JunctionPump::bytes_read(std::size_t input) const {
  return running_->counts.read[input].load(std::memory_order_relaxed);
}

}  // namespace sluice::link
