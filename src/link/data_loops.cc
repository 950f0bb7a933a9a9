#include "link/data_loops.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/require.h"
#include "base/signals_blocked.h"

namespace sluice::link {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kSpareBuffersMax = 8;  // of one loop: as many links as are likely to have bytes in hand at once

}  // namespace

// What is posted captures the loop as a plain pointer: it is destroyed with the loop if it never runs, and an owning pointer
// would keep the loop for ever.
class DataLoops::Loop final {
 public:
  explicit Loop(Duration idle_time) : idle_time_(idle_time) {}

  asio::io_context& context() { return context_; }
  std::size_t seats() const {
    std::scoped_lock lock(mutex_);
    return seats_;
  }
  bool running() const {
    std::scoped_lock lock(mutex_);
    return running_;
  }

  bool take_seat();
  void drop_seat();
  void begin_close();
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  void enter(std::shared_ptr<LoopResident> resident);
  void leave(const LoopResident* resident);
  const std::shared_ptr<BatchBuffer::Pool>& pool() const { return pool_; }
  const std::shared_ptr<RecordBlocks>& record_blocks() const { return record_blocks_; }

 private:
  bool start_thread();
  void run();
  void await_idleness();
  void stop_if_idle();

  const Duration idle_time_;
  asio::io_context context_{1};
  std::thread thread_;  // the owner's

  // Of the loop.
  asio::steady_timer idle_timer_{context_};
  std::map<const LoopResident*, std::shared_ptr<LoopResident>> residents_;
  std::shared_ptr<BatchBuffer::Pool> pool_ = std::make_shared<BatchBuffer::Pool>();
  const std::shared_ptr<RecordBlocks> record_blocks_ = RecordBlocks::make();  // with the batches

  mutable std::mutex mutex_;  // guards what follows
  std::size_t seats_ = 0;
  bool running_ = false;
  bool closing_ = false;
};

bool DataLoops::Loop::take_seat() {
  std::scoped_lock lock(mutex_);
  REQUIRE(!closing_);
  if (!running_ && !start_thread()) return false;
  running_ = true;
  ++seats_;
  return true;
}

bool DataLoops::Loop::start_thread() {
  join();  // it gave up `running_` last of all, and needs this lock no more
  SignalsBlocked blocked;
  try {
    context_.restart();
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    return false;  // the limit of processes (RLIMIT_NPROC, a cgroup) is reached
  }
  return true;
}

void DataLoops::Loop::run() {
  ::pthread_setname_np(::pthread_self(), "sluice-data");
  auto work = asio::make_work_guard(context_);
  context_.run();
}

void DataLoops::Loop::drop_seat() {
  {
    std::scoped_lock lock(mutex_);
    INVARIANT(seats_ > 0);
    if (--seats_ > 0) return;
  }
  asio::post(context_, [this] { await_idleness(); });
}

void DataLoops::Loop::await_idleness() {
  bool closing = false;
  {
    std::scoped_lock lock(mutex_);
    if (seats_ > 0) return;
    closing = closing_;
  }
  if (closing) return stop_if_idle();
  idle_timer_.expires_after(idle_time_);
  idle_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) stop_if_idle();
  });
}

void DataLoops::Loop::stop_if_idle() {
  std::scoped_lock lock(mutex_);
  if (seats_ > 0) return;
  pool_->clear();
  record_blocks_->clear();
  running_ = false;
  context_.stop();
}

void DataLoops::Loop::begin_close() {
  std::scoped_lock lock(mutex_);
  closing_ = true;
  if (!running_) return;
  asio::post(context_, [this] {
    auto residents = residents_;  // each leaves while it is told
    for (auto& [key, resident] : residents) resident->on_loop_closing();
    await_idleness();
  });
}

void DataLoops::Loop::enter(std::shared_ptr<LoopResident> resident) {
  bool closing = false;
  {
    std::scoped_lock lock(mutex_);
    closing = closing_;
  }
  residents_.emplace(resident.get(), resident);
  if (closing) resident->on_loop_closing();
}

void DataLoops::Loop::leave(const LoopResident* resident) {
  auto node = residents_.extract(resident);  // destroyed at the end, when the map is whole again
}

bool PipeAllowance::take(std::size_t bytes) {
  std::size_t left = left_.load();
  while (left >= bytes)
    if (left_.compare_exchange_weak(left, left - bytes)) return true;
  return false;
}

DataLoops::DataLoops(Options options)
    : options_(options), pipe_allowance_(std::make_shared<PipeAllowance>(options.pipe_room)) {
  if (options_.threads_max == 0) options_.threads_max = std::max(1U, std::thread::hardware_concurrency());
}

DataLoops::~DataLoops() { close(); }

std::expected<std::shared_ptr<DataLoops::Loop>, int> DataLoops::choose() {
  auto fewest = std::ranges::min_element(loops_, {}, [](const auto& loop) { return loop->seats(); });
  bool has_free = fewest != loops_.end() && (*fewest)->seats() == 0;
  if (has_free || loops_.size() == options_.threads_max) return *fewest;
  try {
    return loops_.emplace_back(std::make_shared<Loop>(options_.idle_time));
  } catch (const boost::system::system_error& error) {  // Asio throws what epoll_create(2) and its kind say
    return std::unexpected(error.code().value());
  }
}

std::expected<DataLoops::Seat, int> DataLoops::take_seat() {
  if (closed_) return std::unexpected(ECANCELED);
  auto chosen = choose();
  if (chosen && (*chosen)->take_seat()) return Seat(*std::move(chosen), pipe_allowance_);
  // No further thread or loop: one that runs takes the link as well.
  for (auto& other : loops_)
    if (other->running() && other->take_seat()) return Seat(other, pipe_allowance_);
  return std::unexpected(chosen ? EAGAIN : chosen.error());
}

std::string why_no_seat(int error) {
  if (error == EAGAIN) return "no thread for the bytes of a link; is the limit of processes reached?";
  return fmt::format("no loop for the bytes of a link: {}; raise the limit of open files (ulimit -n)",
                     std::strerror(error));
}

void DataLoops::close() {
  closed_ = true;
  for (auto& loop : loops_) loop->begin_close();
  for (auto& loop : loops_) loop->join();
  loops_.clear();
}

std::size_t DataLoops::threads() const {
  return static_cast<std::size_t>(std::ranges::count_if(loops_, [](const auto& loop) { return loop->running(); }));
}

LoopMailbox::LoopMailbox(std::shared_ptr<DataLoops::Loop> loop) : loop_(std::move(loop)) {}

void LoopMailbox::post(std::move_only_function<void()> work) const {
  asio::post(loop_->context(), [work = std::move(work)]() mutable { work(); });
}

BatchBuffer::BatchBuffer(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {
  if (pool_->empty()) {
    storage_ = std::make_unique_for_overwrite<std::byte[]>(kBufferSize);
  } else {
    storage_ = std::move(pool_->back());
    pool_->pop_back();
  }
}

BatchBuffer& BatchBuffer::operator=(BatchBuffer&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  pool_ = std::move(other.pool_);
  storage_ = std::move(other.storage_);
  return *this;
}

void BatchBuffer::give_back() {
  if (storage_ && pool_->size() < kSpareBuffersMax) pool_->push_back(std::move(storage_));
  storage_.reset();
}

DataLoops::Seat::Seat(std::shared_ptr<Loop> loop, std::shared_ptr<PipeAllowance> pipe_allowance)
    : loop_(std::move(loop)), pipe_allowance_(std::move(pipe_allowance)) {}

DataLoops::Seat::Seat(Seat&& other) noexcept
    : loop_(std::move(other.loop_)),
      pipe_allowance_(std::move(other.pipe_allowance_)),
      pipe_room_(std::exchange(other.pipe_room_, 0)) {}

DataLoops::Seat::~Seat() {
  if (!loop_) return;
  pipe_allowance_->give_back(pipe_room_);
  loop_->drop_seat();
}

bool DataLoops::Seat::take_pipe_room(std::size_t bytes) {
  if (!pipe_allowance_->take(bytes)) return false;
  pipe_room_ += bytes;
  return true;
}

net::asio::any_io_executor DataLoops::Seat::executor() const { return loop_->context().get_executor(); }
LoopMailbox DataLoops::Seat::mailbox() const { return LoopMailbox(loop_); }
void DataLoops::Seat::enter(std::shared_ptr<LoopResident> resident) const { loop_->enter(std::move(resident)); }
void DataLoops::Seat::leave(const LoopResident* resident) const { loop_->leave(resident); }
const std::shared_ptr<RecordBlocks>& DataLoops::Seat::record_blocks() const { return loop_->record_blocks(); }
BatchBuffer DataLoops::Seat::take_buffer() const { return BatchBuffer(loop_->pool()); }

}  // namespace sluice::link
