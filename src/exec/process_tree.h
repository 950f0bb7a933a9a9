#pragma once
// The processes below a process, read from /proc (proc(5)), and signals for all of them.
//
// A subreaper inherits every descendant whose own parent has died (prctl(2), PR_SET_CHILD_SUBREAPER), so that killing
// its children until it has none ends a whole tree, whoever forked twice or called setsid. A child that has not been
// waited for keeps its number, so a direct child is signalled by number safely; deeper ones through a pidfd that is
// opened first and then checked against the parent that was read.
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::exec {

/// One line of /proc/PID/stat, the fields that we use.
struct ProcessStat {
  std::string name;  // at most 15 bytes, as the kernel keeps it
  char state = '?';
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  int terminal = 0;               // device number of the controlling one; 0: none
  std::uint64_t start_ticks = 0;  // since boot; with the number it names one process of this boot
};

/// False if there is no such process, or no /proc.
bool read_process_stat(pid_t pid, ProcessStat& stat);

/// In which function of the kernel a thread sleeps, such as "anon_pipe_read" or "hrtimer_nanosleep"; empty: it does
/// not, or it may not be known (proc(5), /proc/PID/wchan).
std::string read_wait_channel(pid_t thread);

/// At most `most`, the first one included; each has a /proc/TID of its own.
std::vector<pid_t> threads_of(pid_t pid, std::size_t most);

struct ProcessIo {
  std::uint64_t read_bytes = 0;   // rchar: through read(2) and alike, of the process and the children it has waited for
  std::uint64_t write_bytes = 0;  // wchar
};

/// False if the counters may not be read (another user's process) or the kernel keeps none.
bool read_process_io(pid_t pid, ProcessIo& io);

/// The same through what was opened while the process lived: of a zombie only root may open them.
UniqueFd open_process_io(pid_t pid);
bool read_process_io(const UniqueFd& opened, ProcessIo& io);

std::vector<pid_t> all_processes();

std::vector<pid_t> children_of(pid_t pid);

/// Those below `pid`, parents before their children; a process that is born meanwhile may be missing.
std::vector<pid_t> descendants_of(pid_t pid);

/// Signals `child`, a child of this process that has not been waited for, and everything below it; `child` first, so
/// that it starts nothing new in place of what it lost. With `group` not 0 that process group gets it as a whole.
void signal_tree(pid_t child, pid_t group, int signal);

}  // namespace sluice::exec
