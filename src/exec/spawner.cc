#include "exec/spawner.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/require.h"
#include "base/time.h"
#include "exec/launch_keeper.h"
#include "exec/launched_programs.h"
#include "exec/message_socket.h"
#include "exec/process_tree.h"
#include "exec/stray_patience.h"

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;

// While ending, children are looked for again this often even if none was seen to end: one that was born between the
// look and the signal shows up then.
constexpr Duration kEndingTick = 20ms;
// An end record that can't be written (a full disk without reserved room) is tried again this often, for ten minutes.
constexpr Duration kRecordInterval = 1s;
constexpr int kRecordTries = 600;
// Far above the events of the largest launch: an owner that does not read them is as good as dead.
constexpr std::size_t kUnsentMax = std::size_t{4} << 20;

int milliseconds_until(TimePoint due) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1'000'000));
}

class Spawner final {
 public:
  Spawner(UniqueFd socket, const EntryState& entry, SpawnerOptions options)
      : owner_(std::move(socket), MessageSocket::Sending::queues), options_(std::move(options)), programs_(entry) {}

  int run() {
    prepare();
    while (!finished_) {
      wait();
      reap();
      serve_owner();
      serve_jobs();
      serve_kept();
      if (ending_) kill_children();
      finish_if_childless();
      send_outgoing();
    }
    send_the_rest();
    return 0;
  }

 private:
  bool pooled() const { return options_.life == SpawnerOptions::Life::pooled; }

  void prepare() {
    ::prctl(PR_SET_NAME, "sluice-spawner");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    // Blocked like all others, it still wakes a spawner that a stage has stopped. The kernel would do so only if our
    // process group became orphaned, which depends on who inherits us.
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    ::setpgid(0, 0);
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    child_signal_.reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    // Without it a spawner could not learn that a child has ended; the owner sees the closed socket and says so.
    if (!child_signal_) ::_exit(1);
    if (pooled()) greet();
    send_outgoing();
  }

  void greet() { send(Hello{.version = kSpawnProtocolVersion, .pid = ::getpid(), .cgroup = options_.cgroup}); }

  // --- the loop ---------------------------------------------------------------------------------------------------

  void wait() {
    short owner_events = owner_.unsent_bytes() > 0 ? POLLIN | POLLOUT : POLLIN;
    polled_.clear();
    polled_.push_back({.fd = child_signal_.get(), .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = owner_gone_ ? -1 : owner_.descriptor(), .events = owner_events, .revents = 0});
    if (keeper_) keeper_->add_polled(polled_);
    first_jobs_polled_ = polled_.size();
    programs_.add_polled(polled_);
    ::poll(polled_.data(), polled_.size(), timeout_ms());
    signalfd_siginfo ignored;
    if (polled_[0].revents != 0)
      while (::read(child_signal_.get(), &ignored, sizeof ignored) > 0) {
      }
  }

  int timeout_ms() const {
    std::optional<TimePoint> due = patience_.poll_deadline();
    if (record_due_) due = due ? std::min(*due, *record_due_) : *record_due_;
    if (ending_ && !record_due_) due = Clock::now() + kEndingTick;
    return due ? milliseconds_until(*due) : -1;
  }

  void serve_owner() {
    if (owner_gone_ || polled_[1].revents == 0) return;
    bool open = owner_.flush();
    open = owner_.receive() && open;
    while (!finished_) {
      auto message = owner_.next(reader_);
      if (!message.has_value()) open = false;
      if (!message.has_value() || !message->has_value()) break;
      std::visit([this](auto& request) { obey(request); }, **message);
    }
    if (!open) lose_owner();
  }

  // What comes late, for a launch that has ended, is none of the next one's business.
  template <class Request>
  void obey(Request& request) {
    bool idle = pooled() && !launched_ && !ending_;
    if constexpr (!std::is_same_v<Request, Launch>)
      if (idle) return;
    handle(request);
  }

  void lose_owner() {
    owner_gone_ = true;
    owner_is_pool_ = false;
    owner_ = MessageSocket(UniqueFd());
    outgoing_.clear();
    if (detached_ || (keeper_ && keeper_->survives_owner())) return;
    if (!ending_) kept_end_ = KeptEnd::owner_lost;
    ending_ = true;
    programs_.end_all();
  }

  void send(const SpawnerMessage& message) {
    if (!owner_gone_) outgoing_ += encode(message);
  }

  // Once a turn of the loop: an end and the Childless behind it wake the owner once.
  void send_outgoing() {
    if (outgoing_.empty() || owner_gone_) return;
    bool sent = owner_.send(std::exchange(outgoing_, {}));
    if (!sent || owner_.unsent_bytes() > kUnsentMax) lose_owner();
  }

  void send_the_rest() {
    send_outgoing();
    while (!owner_gone_ && owner_.unsent_bytes() > 0) {
      pollfd writable{.fd = owner_.descriptor(), .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
      if (!owner_.flush()) return;
    }
  }

  // --- starting -------------------------------------------------------------------------------------------------

  void handle(Launch& launch) {
    REQUIRE(!launched_);
    launched_ = true;
    auto failure = start(launch);
    owner_.drop_descriptors();
    // Nobody must find the outside's streams open here: a reader outside waits for the last writer to close.
    if (!pooled()) release_standard_streams();
    if (failure) {
      keeper_.reset();
      send(*failure);
      kept_end_ = KeptEnd::completed;
      ending_ = true;
      return;
    }
    announce(launch);
  }

  std::optional<LaunchFailed> start(const Launch& launch) {
    bool passes = std::ranges::any_of(launch.programs, [](const Program& program) {
      return program.input == Stream::passed || program.output == Stream::passed || program.error == Stream::passed;
    });
    if (!launch.captures.empty() && !launch.keep) return LaunchFailed{0, EINVAL, "capture, without keeping,"};
    if (launch.keep) {
      passes = passes || !launch.captures.empty();
      if (passes && launch.keep->survives_owner) return LaunchFailed{0, EINVAL, "keep, with streams of its owner,"};
      auto keeper = LaunchKeeper::open(launch, options_.cgroup);
      if (!keeper) return LaunchFailed{0, keeper.error().error, keeper.error().action};
      keeper_ = std::move(*keeper);
    }
    if (auto failed = programs_.start(launch, owner_, keeper_.get())) return failed;
    if (!keeper_) return std::nullopt;
    for (OutputName name : launch.captures) {
      UniqueFd read_end = owner_.take_descriptor();
      if (!read_end) return LaunchFailed{0, EMFILE, "receive the streams of"};
      keeper_->capture_from(name, std::move(read_end));
    }
    auto written = keeper_->on_started(programs_.pids());
    if (!written) return LaunchFailed{0, written.error().error, written.error().action};
    return std::nullopt;
  }

  void announce(const Launch& launch) {
    Started started{.pids = programs_.pids(), .observers = 0};
    std::vector<int> observers = launch.observe_links ? programs_.observers() : std::vector<int>();
    started.observers = static_cast<std::uint32_t>(observers.size());
    // They only help to estimate; a user who has too many descriptors under way does without.
    if (!observers.empty()) {
      send_outgoing();
      if (owner_gone_ || owner_.send_with(encode(SpawnerMessage(started)), observers)) return;
      started.observers = 0;
    }
    send(started);
  }

  static void release_standard_streams() {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int stream : {0, 1, 2}) {
      if (null)
        ::dup3(null.get(), stream, O_CLOEXEC);
      else
        ::close(stream);  // out of descriptors: no program is started any more, so the numbers are not reused
    }
  }

  // --- requests ---------------------------------------------------------------------------------------------------

  void handle(SendSignal& request) { programs_.signal(request); }
  void handle(ReleaseInput& request) { programs_.release_input(request.program); }
  void handle(RequestSurvey&) { send(programs_.survey()); }
  void handle(EndAll&) {
    ending_ = true;
    programs_.end_all();
  }
  // What the stages have left may go on. A spawner of its owner's own just goes; in a node it would leave that to the
  // zygote, which ends what has lost its spawner, so there it stays as long as that runs.
  void handle(Detach&) {
    if (pooled())
      detached_ = true;
    else
      finished_ = true;
  }
  void handle(WatchOutput& watch) {
    if (keeper_) keeper_->on_watch(watch);
  }

  void serve_jobs() {
    programs_.serve_jobs(std::span(polled_).subspan(first_jobs_polled_));
    programs_.send_job_events();
    while (auto exited = programs_.poll_jobs_over()) {
      if (keeper_) keeper_->on_exited(*exited);
      send(*exited);
    }
  }

  // Each round's orphans become our children and are found by the next.
  static void kill_children() {
    for (pid_t child : children_of(::getpid())) ::kill(child, SIGKILL);
  }

  // --- a kept launch ------------------------------------------------------------------------------------------------

  void serve_kept() {
    if (!keeper_) return;
    constexpr std::size_t kOwn = 2;  // descriptors of our own that come first
    if (first_jobs_polled_ > kOwn) {
      bool connecting = polled_[kOwn].revents != 0;
      keeper_->on_polled(std::span(polled_).subspan(kOwn, first_jobs_polled_ - kOwn), Clock::now());
      if (connecting) accept_owners();
    }
    pass_on_news();
    if (owner_gone_ && !ending_ && !detached_ && programs_.all_ended())
      be_patient();
    else
      patience_.stop();
  }

  void pass_on_news() {
    while (auto message = keeper_->poll_message()) send(*message);
  }

  // The newest wins: a node has one daemon, and the one before it has gone, or should have.
  void accept_owners() {
    while (UniqueFd socket = keeper_->accept()) {
      owner_ = MessageSocket(std::move(socket), MessageSocket::Sending::queues);
      reader_ = MessageReader<OwnerMessage>();
      outgoing_.clear();
      owner_gone_ = false;
      owner_is_pool_ = false;
      greet();
      for (const SpawnerMessage& message : keeper_->story_so_far()) send(message);
    }
  }

  void be_patient() {
    TimePoint now = Clock::now();
    patience_.start(now);
    while (true) {
      switch (patience_.poll_step(now)) {
        case StrayPatience::Step::none:
          return;
        case StrayPatience::Step::look:
          patience_.on_look(std::ranges::any_of(programs_.survey().strays, &Stray::drains_pipe), now);
          break;
        case StrayPatience::Step::terminate:
          programs_.signal({.signal = SIGTERM, .programs = {}, .strays_too = true, .then_continue = true});
          break;
        case StrayPatience::Step::kill:
          ending_ = true;
          return;
      }
    }
  }

  // False: to be tried again.
  bool write_end() {
    TimePoint now = Clock::now();
    if (record_due_ && now < *record_due_) return false;
    auto written = keeper_->write_end(kept_end_, now);
    // Whoever removed the folder does not want to know.
    bool over = written || written.error() == ENOENT || ++record_tries_ >= kRecordTries;
    record_due_ = over ? std::nullopt : std::optional(now + kRecordInterval);
    return over;
  }

  // --- the end --------------------------------------------------------------------------------------------------

  void reap() {
    while (true) {
      siginfo_t info{};
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
      if (programs_.reap_job(info.si_pid)) continue;
      auto exited = programs_.reap(info.si_pid);
      if (!exited) ::waitpid(info.si_pid, nullptr, 0);
      if (exited && keeper_) keeper_->on_exited(*exited);
      if (exited) send(*exited);
    }
  }

  void finish_if_childless() {
    if (!programs_.all_ended() || (!launched_ && !ending_)) return;
    siginfo_t info{};
    bool childless = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
    if (guarding_) {
      finished_ = childless;
      return;
    }
    if (!childless && !detached_) return;
    // Of one that is gone nothing more comes; and what is spared may hold those pipes for as long as it likes.
    if (keeper_ && keeper_->captures_others() && !owner_gone_ && !detached_) return;
    if (keeper_) {
      if (!write_end()) return;
      keeper_->hide();
      accept_owners();
      pass_on_news();
    }
    send(Childless{});
    if (!childless)
      become_guardian();
    else if (pooled() && owner_is_pool_ && !detached_)
      become_idle();
    else
      finished_ = true;
  }

  // The owner is done with us, and nobody attaches any more.
  void become_guardian() {
    send_the_rest();
    owner_gone_ = true;
    owner_ = MessageSocket(UniqueFd());
    outgoing_.clear();
    keeper_.reset();
    patience_.stop();
    ending_ = false;
    guarding_ = true;
  }

  void become_idle() {
    programs_.clear();
    launched_ = false;
    keeper_.reset();
    patience_.stop();
    record_due_.reset();
    record_tries_ = 0;
    kept_end_ = KeptEnd::completed;
    ending_ = false;
  }

  MessageSocket owner_;
  MessageReader<OwnerMessage> reader_;
  SpawnerOptions options_;
  UniqueFd child_signal_;
  LaunchedPrograms programs_;
  std::unique_ptr<LaunchKeeper> keeper_;  // of a kept launch
  KeptEnd kept_end_ = KeptEnd::completed;
  StrayPatience patience_;
  std::optional<TimePoint> record_due_;  // the end record could not be written, and is tried again then
  int record_tries_ = 0;
  std::string outgoing_;
  std::vector<pollfd> polled_;
  std::size_t first_jobs_polled_ = 0;  // the sockets of jobs stand behind all else
  bool owner_gone_ = false;
  bool owner_is_pool_ = true;  // it is the one that we were made for, and takes us back
  bool launched_ = false;      // and not idle again
  bool ending_ = false;
  bool detached_ = false;  // what the stages leave running is spared
  bool guarding_ = false;  // the launch is over, and only what it has left is waited for
  bool finished_ = false;
};

}  // namespace

int run_spawner(UniqueFd socket, const EntryState& entry, SpawnerOptions options) {
  return Spawner(std::move(socket), entry, std::move(options)).run();
}

}  // namespace sluice::exec
