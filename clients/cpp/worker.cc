// The worker's end of the protocol of docs/protocol-workers.md. It needs nothing but C++17 and POSIX.
//
// What is written is gathered and sent when the records that came together were worked off, when there is much of it,
// when a handler returns and the last sending was some time ago, or when another thread than that of run() has written
// it. Within one sending outputs go first, then what is done, then everything else: so an output is always before its
// record is done.
#include "sluice/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
#include <sys/single_threaded.h>
#define SLUICE_SINGLE_THREADED __libc_single_threaded
#else
#define SLUICE_SINGLE_THREADED 0
#endif

namespace sluice {
namespace {

constexpr std::uint16_t kMajor = 1, kMinor = 0;
constexpr char kMagic[] = "SLWK";
constexpr std::size_t kHeaderSize = 8;
constexpr std::size_t kBatchMax = std::size_t{1} << 20;  // of a frame with several records
constexpr std::size_t kBodyMax = std::size_t{64} << 10;  // of one with none
constexpr std::size_t kTextMax = 4096;
constexpr std::size_t kFlushAt = std::size_t{64} << 10;
constexpr std::size_t kDoneMax = 4096;  // ranges of a frame
constexpr std::size_t kReadAtOnce = std::size_t{256} << 10;
// Records that may wait here for the handler. The stage gives far fewer to a worker that is slow.
constexpr std::uint32_t kAhead = 8192;
constexpr std::uint64_t kAheadBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kRecordMax = std::uint64_t{64} << 20;  // until the stage says it
// Nothing that was written or settled waits for longer, unless for a handler that has not returned.
constexpr std::chrono::milliseconds kSendWithin{20};

enum Kind : std::uint8_t {
  kHello = 1,
  kCredit = 2,
  kOutputs = 3,
  kDone = 4,
  kFail = 5,
  kLeave = 6,
  kFinished = 7,
  kRefuse = 8,
  kWelcome = 16,
  kRecords = 17,
  kEnd = 18,
  kCancel = 19,
};

void put(char* to, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) to[i] = static_cast<char>(value >> (8 * (width - 1 - i)));
}
void append(std::string& to, std::uint64_t value, std::size_t width) {
  char bytes[8];
  put(bytes, value, width);
  to.append(bytes, width);
}
std::uint64_t read_number(const char* from, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value = value << 8 | static_cast<std::uint8_t>(from[i]);
  return value;
}
void append_frame(std::string& to, Kind kind, std::string_view body) {
  append(to, body.size(), 4);
  append(to, kind, 1);
  append(to, 0, 3);
  to.append(body);
}

// Read behind each record: where there is a clock that costs a few nanoseconds, and is some milliseconds late, that one.
std::chrono::nanoseconds coarse_now() {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
#else
  return std::chrono::steady_clock::now().time_since_epoch();
#endif
}

[[noreturn]] void throw_too_long(std::uint64_t size, std::uint64_t most) {
  throw std::length_error("an output of " + std::to_string(size) + " bytes is longer than a record may be (" +
                          std::to_string(most) + " bytes, --max-record)");
}

void print(const std::string& message) { std::fprintf(stderr, "sluice: worker: %s\n", message.c_str()); }

// A mutex costs more than the rest of a record. A program of one thread needs none, and it can't become one of several
// while this is held.
class Guard {
 public:
  explicit Guard(std::mutex& mutex) : mutex_(SLUICE_SINGLE_THREADED ? nullptr : &mutex) {
    if (mutex_ != nullptr) mutex_->lock();
  }
  ~Guard() {
    if (mutex_ != nullptr) mutex_->unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  std::mutex* mutex_;
};

// Records that came in one frame and were not handed over yet.
struct Batch {
  std::string_view sizes, bytes;
  std::uint64_t id = 0;  // of the first that is left
  std::uint32_t attempt = 0;
  std::string kept;  // what the views show, if the buffer that was read into is used again

  void keep() {
    if (!kept.empty() || sizes.empty()) return;
    kept.reserve(sizes.size() + bytes.size());
    kept.append(sizes).append(bytes);
    sizes = std::string_view(kept).substr(0, sizes.size());
    bytes = std::string_view(kept).substr(sizes.size());
  }
};

}  // namespace

struct Worker::Impl {
  explicit Impl(Worker& to_worker) : worker(to_worker) {
    outputs.reserve(kFlushAt / 2);
    bytes.reserve(kFlushAt * 2);
  }
  ~Impl() {
    for (int descriptor : {socket, wake[0], wake[1]})
      if (descriptor >= 0) ::close(descriptor);
  }

  // --- the beginning ----------------------------------------------------------------------------------------------

  // The socket that this program was started with.
  bool take_inherited() {
    const char* name = std::getenv("SLUICE_WORKER_FD");
    if (name == nullptr) {
      say("this program is started by a flow, as in 'stages: { got: { worker: ./got } }'");
      return false;
    }
    int given = std::atoi(name), type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(given, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
      say("SLUICE_WORKER_FD does not name the socket of a stage; was it inherited?");
      return false;
    }
    ::unsetenv("SLUICE_WORKER_FD");  // of this process alone
    socket = ::fcntl(given, F_DUPFD_CLOEXEC, 3);
    if (given == STDIN_FILENO) {  // so that no program that is started from here reads what is ours
      int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (null >= 0) {
        ::dup2(null, STDIN_FILENO);
        ::close(null);
      }
    } else {
      ::close(given);
    }
    if (socket < 0) say_no_descriptors();
    return socket >= 0;
  }
  void say_no_descriptors() { say(std::string("its descriptors can't be set up: ") + std::strerror(errno)); }

  // Which other threads wake it with.
  bool open_wake() {
    if (wake[0] >= 0) return true;
    if (::pipe(wake) != 0) {
      say_no_descriptors();
      return false;
    }
    for (int side : wake) {
      ::fcntl(side, F_SETFD, FD_CLOEXEC);
      ::fcntl(side, F_SETFL, O_NONBLOCK);
    }
    return true;
  }

  void say(const std::string& message) {
    if (stages)
      stages->say(message);
    else
      print(message);
  }

  bool is_served() const { return welcomed && !closed; }

  // Nothing is left of the stage before.
  void begin_stage(int its_socket) {
    Guard guard(mutex);
    socket = its_socket;
    ++stage;
    outputs.clear();
    bytes.clear();
    done.clear();
    control.clear();
    count = 0;
    concurrency = wished;
    in_work = 0;
    paused = closed = false;
    begin = end = 0;
    queue.clear();
    current = Input(&worker, 0, 0, stage);
    current_settled = ended = over = false;
    welcomed = false;
    status = 0;
    record_max = kRecordMax;
    worker_number = 0;
    steps = 0;
  }

  // What other threads still say of it is not heard.
  void end_stage() {
    Guard guard(mutex);
    closed = true;
    ::close(socket);
    socket = -1;
  }

  int serve(int its_socket, const std::function<int()>& work) {
    begin_stage(its_socket);
    struct End {
      Impl& impl;
      ~End() { impl.end_stage(); }
    } end_of_stage{*this};
    return work();
  }

  // The one that has started this program, or those that come.
  int serve_all(const std::function<int()>& work) {
    thread = std::this_thread::get_id();
    if (!stages && !take_inherited()) return 1;
    if (!open_wake()) return 1;
    if (!stages) return serve(socket, work);
    return stages->run([&](int its_socket) { return serve(its_socket, work); });
  }

  void say_hello() {
    std::string body(kMagic, 4);
    append(body, kMajor, 2);
    append(body, kMinor, 2);
    append(body, is_source ? 1 : 0, 2);
    append(body, concurrency, 4);
    append(body, 0, 2);
    constexpr std::string_view kLibrary = "sluice-cpp 0.1";
    append(body, kLibrary.size(), 2);
    body += kLibrary;
    Guard guard(mutex);
    append_frame(control, kHello, body);
    send_all();
  }

  // --- sending. All of it under the mutex --------------------------------------------------------------------------

  void write(std::uint64_t id, std::string_view record) {
    if (closed) return;
    if (record.size() > record_max) throw_too_long(record.size(), record_max);
    std::size_t size = outputs.size() + bytes.size() + 12 + record.size();
    if (count > 0 && size > kBatchMax - kHeaderSize) send_all();
    if (count++ == 0) outputs.assign(kHeaderSize + 4, '\0');
    char entry[12];
    put(entry, id, 8);
    put(entry + 8, record.size(), 4);
    outputs.append(entry, sizeof entry);
    bytes.append(record);
    if (bytes.size() >= kFlushAt) send_all();
  }

  void settle(std::uint64_t id) {
    if (closed) return;
    if (!done.empty() && done_first + done_count == id) {
      ++done_count;
      return;
    }
    close_range();
    if (done.size() >= kDoneMax * 12) send_all();
    if (done.empty()) done.assign(kHeaderSize, '\0');
    done.append(12, '\0');
    done_first = id;
    done_count = 1;
  }

  void close_range() {
    if (done.empty()) return;
    put(done.data() + done.size() - 12, done_first, 8);
    put(done.data() + done.size() - 4, done_count, 4);
  }

  void grant() {
    std::string body;
    append(body, concurrency, 4);
    append(body, paused || leaving ? 0 : concurrency + kAhead, 4);
    append(body, kAheadBytes, 8);
    append_frame(control, kCredit, body);
  }

  void send_all() {
    iovec parts[4];
    int used = 0;
    auto add = [&](std::string& part) {
      if (!part.empty()) parts[used++] = {part.data(), part.size()};
    };
    if (count > 0) {
      std::size_t body = outputs.size() - kHeaderSize + bytes.size();
      put(outputs.data(), body, 4);
      outputs[4] = static_cast<char>(kOutputs);
      put(outputs.data() + kHeaderSize, count, 4);
      add(outputs);
      add(bytes);
    }
    if (!done.empty()) {
      close_range();
      put(done.data(), done.size() - kHeaderSize, 4);
      done[4] = static_cast<char>(kDone);
      add(done);
    }
    add(control);
    send_parts(parts, used);
    outputs.clear();
    bytes.clear();
    if (bytes.capacity() > 8 * kFlushAt) bytes.shrink_to_fit();  // a long record's memory
    done.clear();
    control.clear();
    count = 0;
  }

  void send_parts(iovec* parts, int used) {
    while (used > 0 && !closed) {
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(used);
      ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) {
        closed = true;  // why, the next reading will say
        return;
      }
      auto left = static_cast<std::size_t>(sent);
      while (used > 0 && left >= parts->iov_len) {
        left -= parts->iov_len;
        ++parts;
        --used;
      }
      if (used > 0) {
        parts->iov_base = static_cast<char*>(parts->iov_base) + left;
        parts->iov_len -= left;
      }
    }
  }

  // Behind something that a handler has said, on whatever thread.
  void after_change() {
    if (on_own_thread()) return;
    send_all();
    if (waiting.load()) {
      char byte = 0;
      (void)!::write(wake[1], &byte, 1);
    }
  }
  bool on_own_thread() const { return std::this_thread::get_id() == thread; }

  // --- receiving --------------------------------------------------------------------------------------------------

  // Reads once. False: run() is over, with `status`.
  bool receive(int flags) {
    if (begin == end && queue.empty()) begin = end = 0;
    if (buffer.size() - end < kReadAtOnce / 2) make_room();
    ssize_t got = ::recv(socket, buffer.data() + end, buffer.size() - end, flags);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got <= 0) return fail("the stage is gone; what this worker had in hand runs again");
    end += static_cast<std::size_t>(got);
    return take_frames();
  }

  void make_room() {
    for (Batch& batch : queue) batch.keep();
    std::size_t carried = end - begin;
    if (begin > 0) std::memmove(buffer.data(), buffer.data() + begin, carried);
    begin = 0;
    end = carried;
    std::size_t wanted = std::max(kReadAtOnce, 2 * carried);
    if (buffer.size() < wanted || buffer.size() > 4 * wanted) buffer.resize(wanted);
  }

  bool take_frames() {
    while (end - begin >= kHeaderSize) {
      const char* header = buffer.data() + begin;
      std::size_t size = read_number(header, 4);
      auto kind = static_cast<std::uint8_t>(header[4]);
      if (header[5] != 0 || header[6] != 0 || header[7] != 0) return refuse("what it sent is no header of a frame");
      if (size > (kind == kRecords ? std::max(record_max + 64, std::uint64_t{kBatchMax}) : std::uint64_t{kBodyMax}))
        return refuse("it sent a frame that is too long");
      if (end - begin - kHeaderSize < size) return true;
      std::string_view body(header + kHeaderSize, size);
      begin += kHeaderSize + size;
      if (!take(kind, body)) return false;
    }
    return true;
  }

  bool take(std::uint8_t kind, std::string_view body) {
    if (!welcomed && kind != kWelcome && kind != kRefuse && kind != kCancel)
      return refuse("it did not begin with a welcome");
    switch (kind) {
      case kWelcome:
        return take_welcome(body);
      case kRecords:
        return take_records(body);
      case kEnd:
        ended = true;
        return true;
      case kCancel:
        status = 0;
        return over = true, false;
      case kRefuse:
        return fail("the stage refuses it: " + std::string(body.substr(0, kTextMax)));
      default:
        return refuse("it sent a frame of kind " + std::to_string(kind) + ", which no stage sends");
    }
  }

  bool take_welcome(std::string_view body) {
    if (welcomed || body.size() < 24 || body.substr(0, 4) != kMagic) return refuse("its welcome is none");
    std::uint64_t major = read_number(body.data() + 4, 2);
    if (major != kMajor)
      return refuse("it speaks version " + std::to_string(major) + " of the protocol of workers, and this library " +
                    std::to_string(kMajor));
    {
      Guard guard(mutex);
      if (std::uint64_t said = read_number(body.data() + 8, 4); said > 0)
        concurrency = static_cast<std::uint32_t>(said);
      worker_number = static_cast<std::uint32_t>(read_number(body.data() + 12, 4));
      record_max = read_number(body.data() + 16, 8);
      welcomed = true;
    }
    if (on_start) on_start();
    if (is_source) return true;
    Guard guard(mutex);
    grant();
    if (leaving) append_frame(control, kLeave, {});
    return true;
  }

  bool take_records(std::string_view body) {
    if (ended) return refuse("it gave records behind the end");
    if (body.size() < 16) return refuse("its records end within a field");
    std::uint64_t records = read_number(body.data() + 12, 4);
    if (records == 0 || 16 + 4 * records > body.size()) return refuse("its records are shorter than their table");
    Batch batch;
    batch.id = read_number(body.data(), 8);
    batch.attempt = static_cast<std::uint32_t>(read_number(body.data() + 8, 4));
    batch.sizes = body.substr(16, 4 * records);
    batch.bytes = body.substr(16 + 4 * records);
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < batch.sizes.size(); at += 4) sum += read_number(batch.sizes.data() + at, 4);
    if (sum != batch.bytes.size()) return refuse("its records are not as long as their sizes say");
    queue.push_back(std::move(batch));
    hand_over();
    return !over;
  }

  bool fail(const std::string& why) {
    if (over) return false;
    say(why);
    status = 1;
    over = true;
    return false;
  }

  bool refuse(const std::string& why) {
    {
      Guard guard(mutex);
      append_frame(control, kRefuse, why);
      send_all();
    }
    return fail("the stage does not keep to the protocol of workers: " + why);
  }

  // --- working ----------------------------------------------------------------------------------------------------

  bool may_hand_over() const {
    return !queue.empty() && !paused && !over && in_work.load() < concurrency && !(stages && stages->is_cut());
  }

  void hand_over() {
    while (may_hand_over()) {
      Batch& batch = queue.front();
      auto size = static_cast<std::size_t>(read_number(batch.sizes.data(), 4));
      std::string_view record = batch.bytes.substr(0, size);
      current = Input(&worker, batch.id, batch.attempt, stage);
      current_settled = false;
      batch.sizes.remove_prefix(4);
      batch.bytes.remove_prefix(size);
      ++batch.id;
      in_work.fetch_add(1);
      call(record);
      send_in_time();
      if (batch.sizes.empty()) queue.pop_front();
    }
  }

  void call(std::string_view record) {
    Input input = current;
    try {
      on_data(record, input);
    } catch (const std::exception& error) {
      if (!current_settled) input.fail(error.what());
    }
  }

  // What one handler has written and settled does not wait for the records behind it, which may take seconds.
  void send_in_time() {
    std::chrono::nanoseconds now = coarse_now();
    if (now - sent_at < kSendWithin) return;
    sent_at = now;
    Guard guard(mutex);
    send_all();
  }

  void note_settled(std::uint64_t id) {
    in_work.fetch_sub(1);
    if (on_own_thread() && id == current.id()) current_settled = true;
  }

  int run() {
    say_hello();
    while (!over) {
      hand_over();
      while (on_idle && !over && in_work.load() > 0) {
        on_idle();
        if (!may_hand_over()) break;
        hand_over();
      }
      if (over || (ended && queue.empty() && in_work.load() == 0)) break;
      {
        Guard guard(mutex);
        send_all();
      }
      if (!wait()) break;
    }
    return over ? status : finish();
  }

  // Until something came, or another thread has settled a record.
  bool wait() {
    waiting.store(true);
    bool ready = may_hand_over() || (ended && queue.empty() && in_work.load() == 0);
    pollfd polled[2] = {{socket, POLLIN, 0}, {wake[0], POLLIN, 0}};
    if (!ready) ::poll(polled, 2, -1);
    waiting.store(false);
    sent_at = coarse_now();  // all that there was
    if (polled[1].revents != 0) {
      char bytes_read[64];
      (void)!::read(wake[0], bytes_read, sizeof bytes_read);
    }
    return polled[0].revents == 0 || receive(MSG_DONTWAIT);
  }

  int finish() {
    {
      Guard guard(mutex);
      send_all();  // what was said up to here goes before the last words
    }
    if (on_end) on_end();
    Guard guard(mutex);
    append_frame(control, kFinished, {});
    send_all();
    ::shutdown(socket, SHUT_WR);
    return 0;
  }

  void write_all(const std::function<bool(Worker&)>& next) {
    while (!over && !closed && !leaving && next(worker)) {
      if (++steps % 256 == 0 && !receive(MSG_DONTWAIT)) break;  // it may have been cancelled
    }
  }

  int source(const std::function<bool(Worker&)>& next) {
    say_hello();
    while (!welcomed && !over) receive(0);
    std::mutex stop_mutex;
    std::condition_variable stop;
    bool stopped = false;
    // A record must not wait here because the next one is slow to come.
    std::thread flusher([&] {
      std::unique_lock lock(stop_mutex);
      while (!stop.wait_for(lock, kSendWithin, [&] { return stopped; })) {
        Guard guard(mutex);
        send_all();
      }
    });
    auto stop_flusher = [&] {
      {
        std::lock_guard lock(stop_mutex);
        stopped = true;
      }
      stop.notify_one();
      flusher.join();
    };
    try {
      write_all(next);
    } catch (...) {
      stop_flusher();
      throw;
    }
    stop_flusher();
    while (closed && !over) receive(0);  // which says why
    return over ? status : finish();
  }

  Worker& worker;
  std::function<void(std::string_view, Input)> on_data;
  std::function<void()> on_start, on_idle, on_end;
  std::unique_ptr<Stages> stages;  // none: whoever has started this program is the only one
  int socket = -1;
  int wake[2] = {-1, -1};
  std::thread::id thread;

  std::mutex mutex;  // what follows, up to the next line
  std::string outputs, bytes, done, control;
  std::uint32_t stage = 0;   // counts those that were served
  std::uint32_t wished = 1;  // the concurrency that the program has said
  std::uint32_t count = 0;
  std::uint64_t done_first = 0;
  std::uint32_t done_count = 0;

  std::atomic<std::uint32_t> concurrency{1};
  std::atomic<std::uint32_t> in_work{0};
  std::atomic<bool> paused{false};
  std::atomic<bool> waiting{false};
  std::atomic<bool> closed{false};  // nobody takes what is sent
  std::atomic<bool> leaving{false};

  // Of the thread of run().
  std::vector<char> buffer;
  std::size_t begin = 0, end = 0;
  std::deque<Batch> queue;
  Input current{nullptr, 0, 0, 0};
  bool current_settled = false;
  std::chrono::nanoseconds sent_at{0};  // nothing that waits was said before
  std::atomic<bool> welcomed{false};
  bool is_source = false;
  bool ended = false;  // the input has
  bool over = false;   // run() returns `status`
  int status = 0;
  std::uint64_t record_max = kRecordMax;
  std::uint32_t worker_number = 0;
  std::uint64_t steps = 0;
};

void Input::write(std::string_view record) const {
  Worker::Impl& impl = *worker_->impl_;
  Guard guard(impl.mutex);
  if (stage_ == impl.stage) impl.write(id_, record);
}

void Input::done() const {
  Worker::Impl& impl = *worker_->impl_;
  Guard guard(impl.mutex);
  if (stage_ != impl.stage) return;
  impl.settle(id_);
  impl.note_settled(id_);
  impl.after_change();
}

void Input::fail(std::string_view reason) const {
  Worker::Impl& impl = *worker_->impl_;
  std::string body;
  append(body, id_, 8);
  body += reason.substr(0, kTextMax);
  Guard guard(impl.mutex);
  if (stage_ != impl.stage) return;
  append_frame(impl.control, kFail, body);
  impl.note_settled(id_);
  impl.after_change();
}

Worker::Worker() : impl_(new Impl(*this)) {}
Worker::~Worker() = default;

void Worker::concurrency(std::uint32_t records) {
  Guard guard(impl_->mutex);
  impl_->concurrency = impl_->wished = std::max(records, std::uint32_t{1});
  if (!impl_->is_served()) return;
  impl_->grant();
  impl_->after_change();
}

void Worker::on_start(std::function<void()> handler) { impl_->on_start = std::move(handler); }
void Worker::on_data(std::function<void(std::string_view, Input)> handler) { impl_->on_data = std::move(handler); }
void Worker::on_idle(std::function<void()> handler) { impl_->on_idle = std::move(handler); }
void Worker::on_end(std::function<void()> handler) { impl_->on_end = std::move(handler); }

int Worker::run() {
  if (!impl_->on_data) {
    impl_->say("it has no handler for its records; call on_data() before run()");
    return 1;
  }
  return impl_->serve_all([this] { return impl_->run(); });
}

int Worker::source(std::function<bool(Worker&)> next) {
  impl_->is_source = true;
  return impl_->serve_all([&] { return impl_->source(next); });
}

void Worker::write(std::string_view record) {
  Guard guard(impl_->mutex);
  if (!impl_->welcomed) return;  // it is of a stage before
  impl_->write(0, record);
  impl_->after_change();
}

void Worker::flush() {
  Guard guard(impl_->mutex);
  impl_->send_all();
}

void Worker::pause() {
  Guard guard(impl_->mutex);
  if (!impl_->is_served()) return;
  impl_->paused = true;
  impl_->grant();
  impl_->after_change();
}

void Worker::resume() {
  Guard guard(impl_->mutex);
  if (!impl_->is_served()) return;
  impl_->paused = false;
  impl_->grant();
  impl_->after_change();
}

void Worker::end() {
  Guard guard(impl_->mutex);
  if (impl_->leaving.exchange(true)) return;
  if (impl_->stages) impl_->stages->end();
  if (impl_->is_source || !impl_->is_served()) return;
  impl_->grant();
  append_frame(impl_->control, kLeave, {});
  impl_->after_change();
}

void Worker::take_stages(std::unique_ptr<Stages> stages) { impl_->stages = std::move(stages); }

std::uint32_t Worker::number() const { return impl_->worker_number; }

}  // namespace sluice
