#include "exec/zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "exec/cgroup.h"
#include "exec/entry_state.h"
#include "exec/message_socket.h"
#include "exec/process_tree.h"
#include "exec/spawn_protocol.h"
#include "exec/spawner.h"

namespace sluice::exec {
namespace {

// What a killed spawner left, and the cgroups of those that have ended, are looked after this often until they are gone.
constexpr int kTickMs = 20;
// The kernel's list may miss a child while another one ends (proc(5)): it must be empty twice.
constexpr int kEmptyLooks = 2;
// A cgroup may hold a process that waits for a device; the next start of the node finds it again.
constexpr int kRemovalTries = 500;
constexpr int kNameTries = 64;

// As the kernel has it: the C library refuses to touch the two that it uses itself, which whoever started the node may
// have left ignored.
struct KernelAction {
  void (*handler)(int) = SIG_DFL;
  unsigned long flags = 0;
  void (*restorer)() = nullptr;
  std::uint64_t mask = 0;
};

void set_default_dispositions() {
  KernelAction action;
  for (int signal = 1; signal < NSIG; ++signal)  // those that can't be changed refuse
    ::syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof action.mask);
}

constexpr int kSocket = 3;  // behind the standard streams

// Nothing of the node's is left but the socket, at a number of its own.
bool release_surroundings(UniqueFd& socket) {
  UniqueFd high(::fcntl(socket.get(), F_DUPFD_CLOEXEC, kSocket + 1));
  if (!high || ::dup3(high.get(), kSocket, O_CLOEXEC) < 0) return false;
  socket.release();
  socket.reset(kSocket);
  ::syscall(SYS_close_range, kSocket + 1U, ~0U, 0U);
  high.release();
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null.get() <= kSocket) return false;
  for (int stream : {0, 1, 2}) ::dup2(null.get(), stream);  // without the flag: the programs inherit them
  // The file system of the node's folder must stay free to be unmounted; "/" is always there.
  return ::chdir("/") == 0;
}

class Zygote final {
 public:
  explicit Zygote(UniqueFd socket) : owner_(std::move(socket), MessageSocket::Sending::queues) {}

  int run() {
    prepare();
    while (!finished()) {
      wait();
      reap();
      serve_owner();
      if (born_) return be_spawner();
      sweep();
      remove_cgroups();
    }
    return 0;
  }

 private:
  // What the process that a fork has made of us is to be.
  struct Birth {
    UniqueFd socket;
    std::string cgroup;
    bool entered = false;
  };
  struct Removal {
    std::string cgroup;
    int tries = 0;
  };

  void prepare() {
    ::prctl(PR_SET_NAME, "sluice-zygote");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);  // it wakes a zygote that a program has stopped
    sigset_t signals;
    ::sigfillset(&signals);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    set_default_dispositions();
    ::setsid();
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGCHLD);
    child_signal_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!child_signal_) ::_exit(1);
    ::sigemptyset(&entry_.mask);  // for the programs
  }

  bool finished() const { return owner_gone_ && spawners_.empty() && !sweeping_ && removals_.empty(); }

  void wait() {
    short owner_events = owner_.unsent_bytes() > 0 ? POLLIN | POLLOUT : POLLIN;
    pollfd polled[] = {{.fd = child_signal_.get(), .events = POLLIN, .revents = 0},
                       {.fd = owner_gone_ ? -1 : owner_.descriptor(), .events = owner_events, .revents = 0}};
    ::poll(polled, 2, sweeping_ || !removals_.empty() ? kTickMs : -1);
    signalfd_siginfo ignored;
    while (::read(child_signal_.get(), &ignored, sizeof ignored) > 0) {
    }
  }

  void serve_owner() {
    if (owner_gone_) return;
    bool open = owner_.flush();
    open = owner_.receive() && open;
    while (!born_) {
      auto request = owner_.next(reader_);
      if (!request) open = false;
      if (!request || !request->has_value()) break;
      std::visit([this](auto& what) { handle(what); }, **request);
    }
    if (!open && !born_) lose_owner();
  }

  // The spawners see for themselves that their owner is gone, unless a program has stopped them.
  void lose_owner() {
    owner_gone_ = true;
    for (const auto& [pid, cgroup] : spawners_) ::kill(pid, SIGCONT);
  }

  void send(const ZygoteEvent& event) {
    if (!owner_gone_ && !owner_.send(encode(event))) lose_owner();
  }

  // --- forking ----------------------------------------------------------------------------------------------------

  void handle(ForkSpawner& request) {
    Birth birth{.socket = owner_.take_descriptor(), .cgroup = make_group(request.cgroup_home)};
    if (!birth.socket) return fail(request, birth, EMFILE);
    auto pid = fork_spawner(birth);
    if (!pid) return fail(request, birth, pid.error());
    if (*pid == 0) {
      born_.emplace(std::move(birth));
      return;
    }
    spawners_.emplace(*pid, birth.cgroup);
    send(SpawnerForked{.token = request.token, .pid = *pid});
  }

  void fail(const ForkSpawner& request, const Birth& birth, int error) {
    if (!birth.cgroup.empty()) (void)remove_cgroup(birth.cgroup);
    send(ForkFailed{.token = request.token, .error = error});
  }

  // A spawner of an earlier zygote may have the name.
  std::string make_group(const std::string& home) {
    for (int tries = 0; !home.empty() && tries < kNameTries; ++tries) {
      std::string group = home + "/" + std::to_string(::getpid()) + "-" + std::to_string(++groups_made_);
      auto made = make_cgroup(group);
      if (made) return group;
      if (made.error() != EEXIST) break;
    }
    return {};  // without a right, or without a home any more: it does without
  }

  static std::expected<pid_t, int> fork_spawner(Birth& birth) {
    if (!birth.cgroup.empty() && cgroup_version(birth.cgroup) == CgroupVersion::v2) {
      auto pid = fork_into_cgroup(birth.cgroup);
      birth.entered = pid.has_value();
      if (pid) return pid;
    }
    pid_t pid = ::fork();
    if (pid < 0) return std::unexpected(errno);
    return pid;
  }

  int be_spawner() {
    // Version 1, or a kernel before 5.7: entering waits for the kernel's readers, which is why nobody waits for us.
    if (!born_->cgroup.empty() && !born_->entered && !enter_cgroup(born_->cgroup)) born_->cgroup.clear();
    SpawnerOptions options{.life = SpawnerOptions::Life::pooled, .cgroup = std::move(born_->cgroup)};
    UniqueFd socket = std::move(born_->socket);
    owner_ = MessageSocket(UniqueFd());
    child_signal_.reset();
    return run_spawner(std::move(socket), entry_, std::move(options));
  }

  void handle(SignalSpawner& request) {
    auto spawner = spawners_.find(request.pid);
    if (spawner == spawners_.end()) return;
    ::kill(request.pid, request.signal);
    if (request.signal == SIGKILL && !spawner->second.empty()) (void)kill_cgroup(spawner->second);
  }

  // --- the ends of spawners ---------------------------------------------------------------------------------------

  void reap() {
    while (true) {
      int status = 0;
      pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid < 0 && errno == EINTR) continue;
      if (pid <= 0) return;
      auto spawner = spawners_.extract(pid);
      if (spawner.empty()) continue;
      if (!spawner.mapped().empty()) {
        if (status != 0) (void)kill_cgroup(spawner.mapped());
        removals_.push_back({std::move(spawner.mapped())});
      }
      sweeping_ = true;
      empty_looks_ = 0;
      send(SpawnerEnded{.pid = pid, .wait_status = status});
    }
  }

  // What is a child of ours and no spawner has lost its own.
  void sweep() {
    if (!sweeping_) return;
    bool found = false;
    for (pid_t child : children_of(::getpid())) {
      if (spawners_.contains(child)) continue;
      found = true;
      ::kill(child, SIGKILL);
    }
    empty_looks_ = found ? 0 : empty_looks_ + 1;
    if (empty_looks_ >= kEmptyLooks) sweeping_ = false;
  }

  void remove_cgroups() {
    std::erase_if(removals_, [](Removal& removal) {
      auto removed = remove_cgroup(removal.cgroup);
      if (!removed && removed.error() == EBUSY) (void)kill_cgroup(removal.cgroup);
      return removed || removed.error() != EBUSY || ++removal.tries >= kRemovalTries;
    });
  }

  MessageSocket owner_;
  MessageReader<ZygoteRequest> reader_;
  EntryState entry_;
  UniqueFd child_signal_;
  std::map<pid_t, std::string> spawners_;  // with their cgroups
  std::vector<Removal> removals_;
  std::optional<Birth> born_;  // in the child, after a fork
  int groups_made_ = 0;
  int empty_looks_ = 0;
  bool sweeping_ = false;
  bool owner_gone_ = false;
};

}  // namespace

int run_zygote(UniqueFd socket) {
  if (!release_surroundings(socket)) return 1;
  return Zygote(std::move(socket)).run();
}

}  // namespace sluice::exec
