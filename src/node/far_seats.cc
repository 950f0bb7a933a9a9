#include "node/far_seats.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/require.h"
#include "exec/message_socket.h"
#include "link/local_stream.h"
#include "link/stoppable_thread.h"
#include "node/pending_bytes.h"
#include "node/seat_messages.h"
#include "node/seat_window.h"

namespace sluice::node {
namespace {

using link::LocalStream;

// Requests that the link has not taken; behind that no input is read.
constexpr std::size_t kOutgoingMax = std::size_t{128} << 10;
// What a process has answered and nobody has read yet; behind that its seat is not heard.
constexpr std::size_t kUnreadMax = std::size_t{64} << 10;
constexpr std::size_t kReadSize = std::size_t{64} << 10;

struct Job {
  LocalStream input;     // empty: all of it was sent
  UniqueFd input_guard;  // who keeps it says when the input ends
  bool whole = false;
  SeatWindow window;
  LocalStream output, error;
  bool output_ends = false;  // it has closed the socket that it answers on
  PendingBytes unread_output, unread_error;
  std::optional<exec::JobEvent> end;  // to be told when all that it wrote has been passed on
};

struct Seat {
  explicit Seat(FarSeatEnds ends) : jobs(std::move(ends.jobs), exec::MessageSocket::Sending::queues) {}

  exec::MessageSocket jobs;
  exec::MessageReader<exec::JobRequest> asked;
  LocalStream requests, replies;
  PendingBytes outgoing;
  SeatReader<SeatReply> reader;
  std::map<exec::JobNumber, Job> running;

  bool open() const { return jobs.is_open(); }
  std::size_t unread() const {
    std::size_t most = 0;
    for (const auto& [number, job] : running)
      most = std::max({most, job.unread_output.size(), job.unread_error.size()});
    return most;
  }
};

}  // namespace

struct FarSeats::Running {
  std::vector<Seat> seats;
  UniqueFd wake;  // if others may come
  std::mutex comers_mutex;
  std::vector<FarSeatEnds> comers;  // not taken yet
  std::vector<pollfd> polled;
  std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(kReadSize);
  link::StoppableThread thread;  // goes first

  // Errors: errno.
  std::expected<void, int> add(FarSeatEnds ends) {
    auto requests = LocalStream::open(std::move(ends.requests), LocalStream::Direction::into, true);
    if (!requests) return std::unexpected(requests.error());
    auto replies = LocalStream::open(std::move(ends.replies), LocalStream::Direction::from, true);
    if (!replies) return std::unexpected(replies.error());
    Seat& seat = seats.emplace_back(std::move(ends));
    seat.requests = *std::move(requests);
    seat.replies = *std::move(replies);
    return {};
  }

  void run(int stop) {
    while (wake || std::ranges::any_of(seats, &Seat::open)) {
      if (wake) take_comers();
      for (Seat& seat : seats)
        if (seat.open()) move(seat);
      if (!wait(stop)) return;
    }
  }

  // Whose streams can't be opened never came: its socket closes.
  void take_comers() {
    std::vector<FarSeatEnds> taken;
    {
      std::lock_guard lock(comers_mutex);
      taken.swap(comers);
    }
    std::erase_if(seats, [](const Seat& seat) { return !seat.open(); });
    for (FarSeatEnds& ends : taken) (void)add(std::move(ends));
  }

  // --- one seat -----------------------------------------------------------------------------------------------------

  // Whoever asked sees the socket close, and takes what ran here for lost.
  static void lose(Seat& seat) {
    seat.jobs = exec::MessageSocket(UniqueFd());
    seat.requests = LocalStream();
    seat.replies = LocalStream();
    seat.running.clear();
  }

  void move(Seat& seat) {
    bool wanted = seat.jobs.flush() && seat.jobs.receive();
    hear_requests(seat);
    if (!wanted) return lose(seat);  // nobody wants it any more: its program ends with the requests
    for (auto& [number, job] : seat.running) send_input(seat, number, job);
    if (seat.requests.reader_gone() || !seat.outgoing.write_to(seat.requests)) return lose(seat);
    if (!hear_replies(seat)) return lose(seat);
    pass_on(seat);
  }

  void hear_requests(Seat& seat) {
    while (true) {
      auto request = seat.jobs.next(seat.asked);
      REQUIRE(request.has_value());  // both ends are one program
      if (!*request) return;
      std::visit([&](auto& what) { handle(seat, what); }, **request);
    }
  }

  void handle(Seat& seat, exec::StartJob& start) {
    UniqueFd input = seat.jobs.take_descriptor(), output = seat.jobs.take_descriptor(), error, guard;
    if (start.error_passed) error = seat.jobs.take_descriptor();
    if (start.guarded_input) guard = seat.jobs.take_descriptor();
    bool complete = input && output && (error || !start.error_passed) && (guard || !start.guarded_input);
    struct stat kind {};
    bool duplex = input && ::fstat(input.get(), &kind) == 0 && S_ISSOCK(kind.st_mode);
    if (duplex) output.reset(::fcntl(input.get(), F_DUPFD_CLOEXEC, 3));
    complete = complete && output;
    Job job{.input_guard = std::move(guard), .whole = !start.guarded_input && !duplex};
    auto from = LocalStream::open(std::move(input), LocalStream::Direction::from, true);
    auto into = LocalStream::open(std::move(output), LocalStream::Direction::into, true);
    if (!complete || !from) return fail(seat, start.job, EMFILE, "receive the streams of");
    job.input = *std::move(from);
    if (into) job.output = *std::move(into);
    if (error)
      if (auto opened = LocalStream::open(std::move(error), LocalStream::Direction::into, true))
        job.error = *std::move(opened);
    seat.outgoing.add(encode(SeatRequest(SeatStart{.job = start.job,
                                                   .worker = start.seat,
                                                   .whole = job.whole,
                                                   .duplex = duplex,
                                                   .error_wanted = start.error_passed,
                                                   .arguments = std::move(start.arguments)})));
    seat.running.insert_or_assign(start.job, std::move(job));
  }

  void handle(Seat& seat, exec::ReleaseJobInput& release) {
    if (auto job = seat.running.find(release.job); job != seat.running.end()) job->second.input_guard.reset();
  }

  void handle(Seat& seat, exec::SignalJob& signal) {
    seat.outgoing.add(encode(SeatRequest(SeatSignal{signal.job, static_cast<std::uint32_t>(signal.signal)})));
  }

  static void fail(Seat& seat, exec::JobNumber job, int error, std::string action) {
    seat.jobs.send(encode(exec::JobEvent(exec::JobFailed{job, error, std::move(action)})));
  }

  void send_input(Seat& seat, exec::JobNumber number, Job& job) {
    while (job.input && seat.outgoing.size() < kOutgoingMax) {
      std::size_t most = std::min(kReadSize, job.whole ? kReadSize : job.window.room());
      if (most == 0) return;
      auto outcome = job.input.read_some(std::as_writable_bytes(std::span(buffer.get(), most)));
      if (outcome.status == LocalStream::Status::would_block) return;
      if (outcome.status != LocalStream::Status::moved) {
        job.input = LocalStream();
        seat.outgoing.add(encode(SeatRequest(SeatInputEnd{number})));
        return;
      }
      if (!job.whole) job.window.on_sent(outcome.bytes);
      seat.outgoing.add(encode(SeatRequest(SeatInput{number, std::string(buffer.get(), outcome.bytes)})));
    }
  }

  // --- replies ------------------------------------------------------------------------------------------------------

  // False: the seat is lost.
  bool hear_replies(Seat& seat) {
    while (seat.unread() <= kUnreadMax) {
      auto outcome = seat.replies.read_some(std::as_writable_bytes(std::span(buffer.get(), kReadSize)));
      if (outcome.status == LocalStream::Status::would_block) return true;
      if (outcome.status != LocalStream::Status::moved) return false;
      seat.reader.append({buffer.get(), outcome.bytes});
      if (!take_replies(seat)) return false;
    }
    return true;
  }

  bool take_replies(Seat& seat) {
    while (true) {
      auto reply = seat.reader.next();
      if (!reply) return false;
      if (!*reply) return true;
      std::visit([&](auto& what) { handle(seat, what); }, **reply);
    }
  }

  // A job that nobody knows has been given up already.
  static Job* find(Seat& seat, exec::JobNumber number) {
    auto place = seat.running.find(number);
    return place == seat.running.end() ? nullptr : &place->second;
  }

  void handle(Seat& seat, SeatTaken& taken) {
    if (Job* job = find(seat, taken.job)) job->window.on_taken(taken.bytes, Clock::now());
  }
  void handle(Seat& seat, SeatOutput& output) {
    if (Job* job = find(seat, output.job); job != nullptr && job->output) job->unread_output.add(output.bytes);
  }
  void handle(Seat& seat, SeatOutputEnd& end) {
    if (Job* job = find(seat, end.job)) job->output_ends = true;
  }
  void handle(Seat& seat, SeatError& error) {
    if (Job* job = find(seat, error.job); job != nullptr && job->error) job->unread_error.add(error.bytes);
  }
  void handle(Seat& seat, SeatEnded& ended) {
    if (Job* job = find(seat, ended.how.job)) job->end = exec::JobEvent(ended.how);
  }
  void handle(Seat& seat, SeatLeaving&) { seat.jobs.send(encode(exec::JobEvent(exec::JobsRefused{}))); }
  void handle(Seat& seat, SeatFailed& failed) {
    if (Job* job = find(seat, failed.how.job)) job->end = exec::JobEvent(std::move(failed.how));
  }

  void pass_on(Seat& seat) {
    for (auto next = seat.running.begin(); next != seat.running.end();) {
      auto place = next++;
      Job& job = place->second;
      pass_on(job.unread_output, job.output);
      pass_on(job.unread_error, job.error);
      if (job.output_ends && job.output && job.unread_output.empty()) {
        ::shutdown(job.output.descriptor(), SHUT_WR);
        job.output = LocalStream();
      }
      if (!job.end || !job.unread_output.empty() || !job.unread_error.empty()) continue;
      job.output = LocalStream();  // before its end is told: all that it wrote is there then
      job.error = LocalStream();
      seat.jobs.send(encode(*job.end));
      seat.running.erase(place);
    }
  }

  static void pass_on(PendingBytes& bytes, LocalStream& stream) {
    if (!bytes.empty() && !bytes.write_to(stream)) {
      bytes.clear();
      stream = LocalStream();
    }
  }

  // --- waiting ------------------------------------------------------------------------------------------------------

  // False: told to stop.
  bool wait(int stop) {
    polled.clear();
    polled.push_back({.fd = stop, .events = POLLIN, .revents = 0});
    polled.push_back({.fd = wake.get(), .events = POLLIN, .revents = 0});
    for (const Seat& seat : seats)
      if (seat.open()) add_waits(seat);
    ::poll(polled.data(), polled.size(), -1);
    std::uint64_t count = 0;
    if (polled[1].revents != 0) (void)!::read(wake.get(), &count, sizeof count);
    return polled[0].revents == 0;
  }

  void add_waits(const Seat& seat) {
    auto add = [this](int descriptor, bool when, short events) {
      if (when) polled.push_back({.fd = descriptor, .events = events, .revents = 0});
    };
    add(seat.jobs.descriptor(), true, static_cast<short>(seat.jobs.unsent_bytes() > 0 ? POLLIN | POLLOUT : POLLIN));
    // Without events: only that nobody reads any more.
    add(seat.requests.descriptor(), true, seat.outgoing.empty() ? 0 : POLLOUT);
    add(seat.replies.descriptor(), seat.unread() <= kUnreadMax, POLLIN);
    bool sends = seat.outgoing.size() < kOutgoingMax;
    for (const auto& [number, job] : seat.running) {
      add(job.input.descriptor(), sends && job.input && (job.whole || job.window.room() > 0), POLLIN);
      add(job.output.descriptor(), !job.unread_output.empty(), POLLOUT);
      add(job.error.descriptor(), !job.unread_error.empty(), POLLOUT);
    }
  }
};

FarSeats::FarSeats(std::unique_ptr<Running> running) : running_(std::move(running)) {}
FarSeats::FarSeats(FarSeats&&) noexcept = default;
FarSeats::~FarSeats() = default;

std::expected<FarSeats, int> FarSeats::start(std::vector<FarSeatEnds> seats, bool joins) {
  auto running = std::make_unique<Running>();
  if (joins) {
    running->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!running->wake) return std::unexpected(errno);
  }
  running->seats.reserve(seats.size());
  for (FarSeatEnds& ends : seats)
    if (auto added = running->add(std::move(ends)); !added) return std::unexpected(added.error());
  auto started = running->thread.start([far = running.get()](int stop) { far->run(stop); });
  if (!started) return std::unexpected(started.error());
  return FarSeats(std::move(running));
}

void FarSeats::add(FarSeatEnds seat) {
  REQUIRE(running_->wake);
  {
    std::lock_guard lock(running_->comers_mutex);
    running_->comers.push_back(std::move(seat));
  }
  std::uint64_t one = 1;
  (void)!::write(running_->wake.get(), &one, sizeof one);
}

}  // namespace sluice::node
