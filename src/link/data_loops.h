#pragma once
// The loops of the data plane: threads that move the bytes of links, apart from the control loop, so that neither waits for
// the other.
//
// A link takes a seat on one loop and keeps it for its whole life, so that it needs no locks. A loop's thread starts with its first
// link and ends when the last has been gone for a while: an idle node has none. A new link goes to a loop of its own as long
// as there are fewer than `threads_max`, then to the one with the fewest.
// The threads take no signals: those belong to whoever runs the process. So a write to a pipe without a reader fails with
// EPIPE and nothing else, whatever the process does about SIGPIPE.
// Threading: `take_seat` and `close` belong to the owner's thread; a Seat says for itself.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "link/record_blocks.h"
#include "net/async.h"

namespace sluice::link {

/// What links move at once: eight full records of TLS.
inline constexpr std::size_t kBatchSize = std::size_t{128} << 10;
/// How long their buffers are: a batch and what TLS adds to it.
inline constexpr std::size_t kBufferSize = kBatchSize + (std::size_t{4} << 10);

/// Something that lives on a loop. Both functions are called on the loop.
class LoopResident {
 public:
  virtual ~LoopResident() = default;
  /// The loops close: it ends now, without waiting for anybody, and leaves.
  virtual void on_loop_closing() = 0;
};

/// What is left of the room for enlarged pipes. Any thread.
class PipeAllowance final {
 public:
  explicit PipeAllowance(std::size_t bytes) : left_(bytes) {}
  bool take(std::size_t bytes);
  void give_back(std::size_t bytes) { left_.fetch_add(bytes); }

 private:
  std::atomic<std::size_t> left_;
};

class DataLoops final {
 public:
  struct Options {
    std::size_t threads_max = 0;                    // 0: one for each core
    Duration idle_time = std::chrono::seconds(10);  // how long a loop without a link keeps its thread
    // Of the pipes that links with much to move enlarge, all together. An ordinary user has 64 MiB for all his pipes
    // (pipe(7)), and behind that even new ones are tiny.
    std::size_t pipe_room = std::size_t{16} << 20;
  };
  class Loop;
  class Seat;

  explicit DataLoops(Options options);
  DataLoops() : DataLoops(Options()) {}
  /// Closes.
  ~DataLoops();
  DataLoops(const DataLoops&) = delete;
  DataLoops& operator=(const DataLoops&) = delete;

  /// A place on a loop. Errors: errno; EAGAIN if no thread can be started, EMFILE or ENFILE if a loop can't have its
  /// descriptors, ECANCELED if the loops are closed.
  std::expected<Seat, int> take_seat();
  /// Ends every link that is left, and awaits the threads, which takes no longer than one turn of a link.
  void close();
  /// Threads that run now.
  std::size_t threads() const;

 private:
  std::expected<std::shared_ptr<Loop>, int> choose();

  Options options_;
  std::vector<std::shared_ptr<Loop>> loops_;       // with their seats
  std::shared_ptr<PipeAllowance> pipe_allowance_;  // with the links that have room of it
  bool closed_ = false;
};

/// For people: what an error of take_seat means to a link.
std::string why_no_seat(int error);

/// Reaches a loop without keeping its thread: what is posted to a loop that has stopped is never run.
class LoopMailbox final {
 public:
  explicit LoopMailbox(std::shared_ptr<DataLoops::Loop> loop);
  void post(std::move_only_function<void()> work) const;

 private:
  std::shared_ptr<DataLoops::Loop> loop_;
};

/// A buffer of kBufferSize bytes, given back to its loop when it goes.
class BatchBuffer final {
 public:
  using Storage = std::unique_ptr<std::byte[]>;
  using Pool = std::vector<Storage>;

  BatchBuffer() = default;
  explicit BatchBuffer(std::shared_ptr<Pool> pool);
  BatchBuffer(BatchBuffer&&) noexcept = default;
  BatchBuffer& operator=(BatchBuffer&& other) noexcept;
  ~BatchBuffer() { give_back(); }

  explicit operator bool() const { return storage_ != nullptr; }
  std::span<std::byte> bytes() const { return {storage_.get(), kBufferSize}; }
  void give_back();

 private:
  std::shared_ptr<Pool> pool_;
  Storage storage_;
};

/// A link's place on one loop, whose thread lives at least as long.
/// Threading: any thread may post, move and drop it; the rest is for the loop.
class DataLoops::Seat final {
 public:
  Seat(Seat&& other) noexcept;
  Seat& operator=(Seat&&) noexcept = delete;
  ~Seat();

  net::asio::any_io_executor executor() const;
  LoopMailbox mailbox() const;

  /// Keeps `resident` until it leaves; it is told at once if the loops are closing.
  void enter(std::shared_ptr<LoopResident> resident) const;
  /// Lets it go; it may be gone when this returns.
  void leave(const LoopResident* resident) const;
  /// Buffers are shared by the links of a loop: only a link that has bytes in hand holds one.
  BatchBuffer take_buffer() const;
  /// Memory for the batches of records of a loop's links.
  const std::shared_ptr<RecordBlocks>& record_blocks() const;
  /// Room for enlarged pipes, the link's until it gives it up with its seat. False: all is taken.
  bool take_pipe_room(std::size_t bytes);

 private:
  friend class DataLoops;
  Seat(std::shared_ptr<Loop> loop, std::shared_ptr<PipeAllowance> pipe_allowance);
  std::shared_ptr<Loop> loop_;
  std::shared_ptr<PipeAllowance> pipe_allowance_;
  std::size_t pipe_room_ = 0;
};

}  // namespace sluice::link
