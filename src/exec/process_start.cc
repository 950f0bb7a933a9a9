#include "exec/process_start.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>

namespace sluice::exec {
namespace {

// The child runs a handful of system calls on it before execve.
constexpr std::size_t kStackSize = std::size_t{64} * 1024;

// glibc's own calls would change every thread of the process whose memory the child shares; the kernel's change the
// caller alone. On 32-bit machines the plain ones take 16-bit numbers.
#ifdef SYS_setuid32
constexpr long kSetUid = SYS_setuid32, kSetGid = SYS_setgid32, kSetGroups = SYS_setgroups32;
#else
constexpr long kSetUid = SYS_setuid, kSetGid = SYS_setgid, kSetGroups = SYS_setgroups;
#endif

struct Child {
  const char* path;
  char* const* arguments;
  const char* script_shell;  // or null
  char* const* script_arguments;
  char* const* environment;
  const char* directory;  // or null
  int streams[3];
  pid_t process_group;
  pid_t parent;
  const EntryState* entry;
  const RunAs* run_as;  // or null
  StartError failure{0, ""};
};

int fail(Child& child, const char* action) {
  child.failure = {errno, action};
  return 127;
}

__attribute__((no_sanitize("address", "thread"))) bool die_with_parent(const Child& child) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return ::getppid() == child.parent;
}

// The groups first: once the user is changed, they can't be.
__attribute__((no_sanitize("address", "thread"))) bool become(const RunAs& who) {
  if (::syscall(kSetGroups, who.groups.size(), who.groups.data()) != 0) return false;
  if (::syscall(kSetGid, who.gid) != 0 || ::syscall(kSetUid, who.uid) != 0) return false;
  bool root_regained = who.uid != 0 && ::syscall(kSetUid, 0) == 0;
  bool changed = ::getuid() == who.uid && ::geteuid() == who.uid && ::getgid() == who.gid && ::getegid() == who.gid;
  errno = EPERM;
  return changed && !root_regained;
}

// Runs in the parent's memory: it may only make system calls and write to `child`. Once it has become another user the
// kernel lets nobody but root trace it, though it shares that memory (prctl(2), PR_SET_DUMPABLE).
__attribute__((no_sanitize("address", "thread"))) int run_child(void* argument) {
  Child& child = *static_cast<Child*>(argument);
  if (!die_with_parent(child)) return fail(child, "outlive its parent");
  ::setpgid(0, child.process_group);
  for (int stream : {0, 1, 2})
    if (child.streams[stream] != stream && ::dup2(child.streams[stream], stream) < 0) return fail(child, "connect");
  if (child.run_as != nullptr) {
    if (!become(*child.run_as)) return fail(child, "become the user of");
    // The kernel forgets the parent-death signal when the user changes (prctl(2)).
    if (!die_with_parent(child)) return fail(child, "outlive its parent");
  }
  if (child.directory != nullptr && ::chdir(child.directory) != 0) return fail(child, "change to the folder");
  if (child.entry->child_ignored) ::signal(SIGCHLD, SIG_IGN);
  ::sigprocmask(SIG_SETMASK, &child.entry->mask, nullptr);
  ::execve(child.path, child.arguments, child.environment);
  if (errno == ENOEXEC && child.script_shell != nullptr)
    ::execve(child.script_shell, child.script_arguments, child.environment);
  return fail(child, "execute");
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 2);
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));  // execve(2) changes none
  return result;
}

}  // namespace

std::expected<pid_t, StartError> start_program(const Program& program, const StartOptions& options) {
  std::vector<char*> arguments = pointers(program.arguments);
  arguments.push_back(nullptr);
  std::vector<std::string> script = {program.script_shell, program.path};
  if (program.arguments.size() > 1) script.insert(script.end(), program.arguments.begin() + 1, program.arguments.end());
  std::vector<char*> script_arguments = pointers(script);
  script_arguments.push_back(nullptr);
  std::string own_path = "_=" + program.path;
  std::vector<char*> environment = pointers(options.environment);
  for (const std::string& variable : program.variables) {
    std::string_view name = std::string_view(variable).substr(0, variable.find('=') + 1);
    std::erase_if(environment, [name](const char* other) { return std::string_view(other).starts_with(name); });
    environment.push_back(const_cast<char*>(variable.c_str()));
  }
  environment.push_back(own_path.data());
  environment.push_back(nullptr);

  Child child{.path = program.path.c_str(),
              .arguments = arguments.data(),
              .script_shell = program.script_shell.empty() ? nullptr : program.script_shell.c_str(),
              .script_arguments = script_arguments.data(),
              .environment = environment.data(),
              .directory = options.directory.empty() ? nullptr : options.directory.c_str(),
              .streams = {options.input, options.output, options.error},
              .process_group = options.process_group,
              .parent = ::getpid(),
              .entry = &options.entry,
              .run_as = options.run_as};
  auto stack = std::make_unique_for_overwrite<char[]>(kStackSize);
  auto top = reinterpret_cast<std::uintptr_t>(stack.get() + kStackSize) & ~std::uintptr_t{15};  // ABI: 16-byte aligned
  pid_t pid = ::clone(run_child, reinterpret_cast<void*>(top), CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
  if (pid < 0) return std::unexpected(StartError{errno, "start a process"});
  if (child.failure.error != 0) {
    ::waitpid(pid, nullptr, 0);
    return std::unexpected(child.failure);
  }
  return pid;
}

}  // namespace sluice::exec
