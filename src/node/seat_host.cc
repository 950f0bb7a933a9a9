#include "node/seat_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "base/pipe.h"
#include "base/require.h"
#include "base/time.h"
#include "link/local_stream.h"
#include "link/stoppable_thread.h"
#include "node/job_input.h"
#include "node/pending_bytes.h"
#include "node/seat_messages.h"
#include "node/seat_window.h"

namespace sluice::node {
namespace {

using link::LocalStream;
using namespace std::chrono_literals;

// Replies that the link has not taken; behind that no process is heard.
constexpr std::size_t kOutgoingMax = std::size_t{128} << 10;
constexpr std::size_t kReadSize = kSeatPieceMax;
// Of an input that must be whole: the longest record that a flow may allow, and its framing.
constexpr std::size_t kWholeMax = std::size_t{1} << 31;
// An input that streams is bounded by the window of the other end.
constexpr std::size_t kStreamingMax = 2 * SeatWindow::kMost;
// After a process has ended, what it has left running may hold its output open for so long.
constexpr Duration kOutputLinger = 100ms;

struct Job {
  std::size_t seat = 0;
  SeatStart start;
  bool started = false;
  bool input_ended = false;  // no more of it comes
  PendingBytes input;        // until its process has taken it; of a whole one, until it starts
  std::string whole;
  LocalStream into;  // its process's stdin, if that streams
  std::size_t pipe = SeatWindow::kFirst;
  LocalStream output, error;  // empty: nothing more comes
  std::optional<exec::JobEnded> end;
  TimePoint ended{};
};

struct Seat {
  LocalStream requests, replies;
  SeatReader<SeatRequest> reader;
  PendingBytes outgoing;
  bool asks = true;  // more may be asked for

  void say(const SeatReply& reply) { outgoing.add(encode(reply)); }
  bool has_room() const { return outgoing.size() < kOutgoingMax; }
};

}  // namespace

struct SeatHost::Running {
  std::unique_ptr<exec::Jobs> jobs;
  UniqueFd error;
  bool own_program = false;
  UniqueFd wake;
  std::atomic<bool> leaving = false;
  bool told_leaving = false;
  std::vector<Seat> seats;
  // The numbers of the peer are those of one stage: no two seats have the same.
  std::map<exec::JobNumber, Job> running;
  std::string trouble;
  std::vector<pollfd> polled;
  std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(kReadSize);
  link::StoppableThread thread;  // goes first

  std::expected<void, int> add(HostedSeatEnds ends) {
    auto requests = LocalStream::open(std::move(ends.requests), LocalStream::Direction::from, true);
    if (!requests) return std::unexpected(requests.error());
    auto replies = LocalStream::open(std::move(ends.replies), LocalStream::Direction::into, true);
    if (!replies) return std::unexpected(replies.error());
    Seat& seat = seats.emplace_back();
    seat.requests = *std::move(requests);
    seat.replies = *std::move(replies);
    return {};
  }

  void run(int stop) {
    while (!over()) {
      if (leaving && !std::exchange(told_leaving, true))
        for (Seat& seat : seats)
          if (seat.replies) seat.say(SeatLeaving{});
      for (std::size_t i = 0; i < seats.size(); ++i) move(i);
      move_jobs();
      if (over() || !wait(stop)) break;
    }
    jobs->close();
    error.reset();
    for (Seat& seat : seats) seat.replies = LocalStream();
  }

  bool over() const {
    return !jobs->is_open() || (running.empty() && std::ranges::all_of(seats, [](const Seat& seat) {
                                  return !seat.replies || (!seat.asks && seat.outgoing.empty());
                                }));
  }

  // --- what is asked ------------------------------------------------------------------------------------------------

  // So much of a seat's input waits here that no more is taken from its link.
  std::size_t waiting(std::size_t index) const {
    std::size_t most = 0;
    for (const auto& [number, job] : running)
      if (job.seat == index && !job.start.whole) most = std::max(most, job.input.size());
    return most;
  }

  void move(std::size_t index) {
    Seat& seat = seats[index];
    if (seat.replies && (seat.replies.reader_gone() || !seat.outgoing.write_to(seat.replies))) return drop(seat);
    while (seat.asks && waiting(index) <= kStreamingMax) {
      auto outcome = seat.requests.read_some(std::as_writable_bytes(std::span(buffer.get(), kReadSize)));
      if (outcome.status == LocalStream::Status::would_block) return;
      if (outcome.status != LocalStream::Status::moved) return stop_asking(index);
      seat.reader.append({buffer.get(), outcome.bytes});
      if (auto taken = take_requests(index); !taken) {
        trouble = taken.error();
        return drop(seat);
      }
    }
  }

  // Nobody hears it any more.
  static void drop(Seat& seat) {
    seat.asks = false;
    seat.requests = LocalStream();
    seat.replies = LocalStream();
    seat.outgoing.clear();
  }

  // What waits for the rest of its input never starts; a process that reads does not see an end of it.
  void stop_asking(std::size_t index) {
    seats[index].asks = false;
    seats[index].requests = LocalStream();
    std::erase_if(running, [&](const auto& each) { return each.second.seat == index && !each.second.started; });
  }

  std::expected<void, std::string> take_requests(std::size_t index) {
    while (true) {
      auto request = seats[index].reader.next();
      if (!request) return std::unexpected(std::move(request.error()));
      if (!*request) return {};
      auto handled = std::visit([&](auto& what) { return handle(index, what); }, **request);
      if (!handled) return handled;
    }
  }

  std::expected<void, std::string> handle(std::size_t index, SeatStart& start) {
    exec::JobNumber number = start.job;
    if (own_program && !start.arguments.empty())
      return std::unexpected("a command of the flow was to be run, and here only the one that was given runs");
    Job job{.seat = index, .start = std::move(start)};
    bool streams = !job.start.whole;
    auto [place, fresh] = running.try_emplace(number, std::move(job));
    if (!fresh) return std::unexpected(fmt::format("job {} was asked for twice", number));
    if (streams) start_job(number, place->second);
    return {};
  }

  std::expected<void, std::string> handle(std::size_t index, SeatInput& input) {
    auto place = running.find(input.job);
    if (place == running.end()) return {};  // it has ended without reading all
    Job& job = place->second;
    if (job.seat != index || job.input_ended)
      return std::unexpected(fmt::format("input for job {} came behind its end", input.job));
    if (!job.start.whole) {
      job.input.add(input.bytes);
      return {};
    }
    if (job.whole.size() + input.bytes.size() > kWholeMax)
      return std::unexpected(fmt::format("the input of job {} is longer than {} bytes", input.job, kWholeMax));
    job.whole += input.bytes;
    return {};
  }

  std::expected<void, std::string> handle(std::size_t index, SeatInputEnd& end) {
    auto place = running.find(end.job);
    if (place == running.end()) return {};
    Job& job = place->second;
    if (job.seat != index || std::exchange(job.input_ended, true))
      return std::unexpected(fmt::format("the input of job {} ended twice", end.job));
    if (job.start.whole) start_job(end.job, job);
    return {};
  }

  std::expected<void, std::string> handle(std::size_t index, SeatSignal& signal) {
    auto place = running.find(signal.job);
    if (place == running.end() || place->second.seat != index) return {};  // it has ended
    if (signal.signal == 0 || signal.signal >= static_cast<std::uint32_t>(SIGRTMAX))
      return std::unexpected(fmt::format("a signal {} for job {}", signal.signal, signal.job));
    if (place->second.started) jobs->signal(signal.job, static_cast<int>(signal.signal));
    return {};
  }

  // --- processes ----------------------------------------------------------------------------------------------------

  void start_job(exec::JobNumber number, Job& job) {
    auto started = connect(number, job);
    job.started = true;
    (void)std::exchange(job.whole, {});
    if (started) return;
    Seat& seat = seats[job.seat];
    seat.say(SeatFailed{{.job = number, .error = started.error(), .action = "make the pipes of"}});
    running.erase(number);
  }

  std::expected<void, int> connect(exec::JobNumber number, Job& job) {
    UniqueFd input, guard, wanted_error;
    if (job.start.duplex) {
      auto ends = connect_duplex(job);
      if (!ends) return std::unexpected(ends.error());
      input = *std::move(ends);
    } else if (job.start.whole) {
      auto whole = whole_input(job.whole);
      if (!whole) return std::unexpected(whole.error());
      input = *std::move(whole);
    } else {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      (void)::fcntl(pipe->write_end.get(), F_SETPIPE_SZ, static_cast<int>(SeatWindow::kFirst));
      input = std::move(pipe->read_end);
      guard.reset(::fcntl(pipe->write_end.get(), F_DUPFD_CLOEXEC, 3));
      if (!guard) return std::unexpected(errno);
      auto into = LocalStream::open(std::move(pipe->write_end), LocalStream::Direction::into, true);
      if (!into) return std::unexpected(into.error());
      job.into = *std::move(into);
    }
    std::expected<Pipe, int> output;
    if (!job.start.duplex) output = make_pipe();
    if (!output) return std::unexpected(output.error());
    if (job.start.error_wanted) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(pipe.error());
      wanted_error = std::move(pipe->write_end);
      auto from = LocalStream::open(std::move(pipe->read_end), LocalStream::Direction::from, true);
      if (!from) return std::unexpected(from.error());
      job.error = *std::move(from);
    }
    int said = wanted_error ? wanted_error.get() : error ? error.get() : -1;
    int printed = said >= 0 ? said : STDERR_FILENO;  // what one that answers on its stdin prints
    auto started = jobs->start(number, job.start.worker, std::move(job.start.arguments),
                               {.input = input.get(),
                                .output = job.start.duplex ? printed : output->write_end.get(),
                                .error = said,
                                .input_guard = guard ? guard.get() : -1});
    if (!started || job.start.duplex) return started;
    auto from = LocalStream::open(std::move(output->read_end), LocalStream::Direction::from, true);
    if (!from) return std::unexpected(from.error());
    job.output = *std::move(from);
    return {};
  }

  // Returns the process's end of the socket.
  static std::expected<UniqueFd, int> connect_duplex(Job& job) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
    UniqueFd ours(ends[0]), theirs(ends[1]);
    UniqueFd copy(::fcntl(ours.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy) return std::unexpected(errno);
    auto into = LocalStream::open(std::move(ours), LocalStream::Direction::into, true);
    if (!into) return std::unexpected(into.error());
    auto from = LocalStream::open(std::move(copy), LocalStream::Direction::from, true);
    if (!from) return std::unexpected(from.error());
    job.into = *std::move(into);
    job.output = *std::move(from);
    return theirs;
  }

  void hear_spawner() {
    bool open = jobs->receive();
    while (auto event = jobs->poll_event()) std::visit([this](auto& what) { handle_event(what); }, *event);
    if (!open) jobs->close();  // the part was ended, with every process
  }

  void handle_event(exec::JobStarted&) {}
  void handle_event(exec::JobsRefused&) {}  // a spawner takes any
  void handle_event(exec::JobFailed& failed) {
    auto place = running.find(failed.job);
    if (place == running.end()) return;
    if (own_program && failed.error != ECANCELED)  // whoever asks can't know what it was
      trouble = fmt::format("cannot {} the program: {}", failed.action, std::strerror(failed.error));
    seats[place->second.seat].say(SeatFailed{std::move(failed)});
    running.erase(place);
  }
  void handle_event(exec::JobEnded& ended) {
    auto place = running.find(ended.job);
    if (place == running.end()) return;
    place->second.end = ended;
    place->second.ended = Clock::now();
  }

  void move_jobs() {
    jobs->flush();
    if (jobs->is_open()) hear_spawner();
    for (auto next = running.begin(); next != running.end();) {
      auto place = next++;
      feed(place->first, place->second);
      hear(place->first, place->second);
      if (concluded(place->first, place->second)) running.erase(place);
    }
    for (Seat& seat : seats)
      if (seat.replies && !seat.outgoing.write_to(seat.replies)) drop(seat);
  }

  // Its guard goes only when its input is known to be over: a part is never taken for the whole.
  void feed(exec::JobNumber number, Job& job) {
    if (!job.into) return;
    std::size_t before = job.input.size();
    bool reads = job.input.write_to(job.into);
    if (!reads) job.input.clear();
    if (std::size_t taken = before - job.input.size(); taken > 0) {
      enlarge(job, taken);
      seats[job.seat].say(SeatTaken{number, static_cast<std::uint32_t>(taken)});
    }
    if (reads && !(job.input_ended && job.input.empty())) return;
    if (!reads) return;  // what it does not read it can't answer: its end decides
    if (job.start.duplex) ::shutdown(job.into.descriptor(), SHUT_WR);
    job.into = LocalStream();
    if (!job.start.duplex) jobs->release_input(number);
  }

  // As the window of the other end grows, so does the pipe.
  static void enlarge(Job& job, std::size_t taken) {
    if (taken <= job.pipe || job.pipe >= kReadSize) return;
    job.pipe = std::min(2 * job.pipe, kReadSize);
    job.into.enlarge(job.pipe);
  }

  void hear(exec::JobNumber number, Job& job) {
    Seat& seat = seats[job.seat];
    bool open = static_cast<bool>(job.output);
    hear_one(seat, job.output, [&](std::string bytes) { seat.say(SeatOutput{number, std::move(bytes)}); });
    if (open && !job.output && job.start.duplex) seat.say(SeatOutputEnd{number});
    hear_one(seat, job.error, [&](std::string bytes) { seat.say(SeatError{number, std::move(bytes)}); });
  }

  template <class Say>
  void hear_one(const Seat& seat, LocalStream& from, Say&& say) {
    while (from && seat.has_room()) {
      auto outcome = from.read_some(std::as_writable_bytes(std::span(buffer.get(), kReadSize)));
      if (outcome.status == LocalStream::Status::would_block) return;
      if (outcome.status != LocalStream::Status::moved) return static_cast<void>(from = LocalStream());
      say(std::string(buffer.get(), outcome.bytes));
    }
  }

  bool concluded(exec::JobNumber, Job& job) {
    if (!job.end) return false;
    Seat& seat = seats[job.seat];
    bool silent = !job.output && !job.error;
    if (seat.replies && !silent && (!seat.has_room() || Clock::now() < job.ended + kOutputLinger)) return false;
    if (seat.replies) seat.say(SeatEnded{*job.end});
    return true;
  }

  // --- waiting ------------------------------------------------------------------------------------------------------

  // False: told to stop.
  bool wait(int stop) {
    polled.clear();
    auto add = [this](int descriptor, bool when, short events) {
      if (when) polled.push_back({.fd = descriptor, .events = events, .revents = 0});
    };
    add(stop, true, POLLIN);
    add(wake.get(), !told_leaving, POLLIN);
    add(jobs->descriptor(), true, static_cast<short>(jobs->wants_write() ? POLLIN | POLLOUT : POLLIN));
    for (std::size_t i = 0; i < seats.size(); ++i) {
      add(seats[i].requests.descriptor(), seats[i].asks && waiting(i) <= kStreamingMax, POLLIN);
      add(seats[i].replies.descriptor(), static_cast<bool>(seats[i].replies), seats[i].outgoing.empty() ? 0 : POLLOUT);
    }
    for (const auto& [number, job] : running) {
      add(job.into.descriptor(), job.into && !job.input.empty(), POLLOUT);
      add(job.output.descriptor(), job.output && seats[job.seat].has_room(), POLLIN);
      add(job.error.descriptor(), job.error && seats[job.seat].has_room(), POLLIN);
    }
    ::poll(polled.data(), polled.size(), timeout_ms());
    return polled[0].revents == 0;
  }

  int timeout_ms() const {
    std::optional<TimePoint> due;
    for (const auto& [number, job] : running) {
      // One whose link is full is waited for by the link.
      if (!job.end || !seats[job.seat].has_room()) continue;
      TimePoint at = job.ended + kOutputLinger;
      due = due ? std::min(*due, at) : at;
    }
    if (!due) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1000));
  }
};

SeatHost::SeatHost(std::unique_ptr<Running> running) : running_(std::move(running)) {}
SeatHost::SeatHost(SeatHost&&) noexcept = default;
SeatHost::~SeatHost() = default;

std::expected<SeatHost, int> SeatHost::start(std::unique_ptr<exec::Jobs> jobs, std::vector<HostedSeatEnds> seats,
                                             UniqueFd error, std::function<void(std::string trouble)> on_end,
                                             bool own_program) {
  auto running = std::make_unique<Running>();
  running->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!running->wake) return std::unexpected(errno);
  running->own_program = own_program;
  running->jobs = std::move(jobs);
  running->error = std::move(error);
  running->seats.reserve(seats.size());
  for (HostedSeatEnds& ends : seats)
    if (auto added = running->add(std::move(ends)); !added) return std::unexpected(added.error());
  auto started = running->thread.start([host = running.get(), on_end = std::move(on_end)](int stop) {
    host->run(stop);
    on_end(host->trouble);
  });
  if (!started) return std::unexpected(started.error());
  return SeatHost(std::move(running));
}

void SeatHost::leave() {
  running_->leaving = true;
  std::uint64_t one = 1;
  (void)!::write(running_->wake.get(), &one, sizeof one);
}

}  // namespace sluice::node
