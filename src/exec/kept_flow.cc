#include "exec/kept_flow.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/unique_fd.h"
#include "exec/cgroup.h"
#include "exec/launch_keeper.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

// Above the record of the largest launch (4,096 programs) many times.
constexpr std::size_t kRecordMax = std::size_t{16} << 20;

std::string because(const std::string& what, int error) { return "cannot " + what + ": " + std::strerror(error); }

// Nothing if the file is not there.
std::expected<std::optional<KeptRecord>, std::string> read_record(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file && errno == ENOENT) return std::optional<KeptRecord>();
  if (!file) return std::unexpected(because("open " + path, errno));
  std::string bytes;
  char buffer[4096];
  while (bytes.size() <= kRecordMax) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(because("read " + path, errno));
    if (got == 0) break;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
  auto record = decode_kept_record(bytes);
  if (!record)
    return std::unexpected(path + " is of no use: " + record.error() +
                           "; sluice rm forgets the flow that it belongs to");
  return std::move(*record);
}

// Asks for the spawner's lock without taking it.
bool spawner_lives(const std::string& directory) {
  UniqueFd file(::open((directory + "/" + kLockFile).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return false;
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(file.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace

std::expected<KeptState, std::string> read_kept(const std::string& directory) {
  // Before the end record is looked for: a launch that ends in between is found ended.
  bool lives = spawner_lives(directory);
  auto end = read_record(directory + "/" + kEndFile);
  if (!end) return std::unexpected(end.error());
  if (*end) return KeptEnded{std::move(**end)};
  auto state = read_record(directory + "/" + kStateFile);
  if (lives) return KeptRunning{state ? std::move(*state) : std::nullopt};
  if (!state) return std::unexpected(state.error());
  if (!*state) return KeptAbsent{};
  return KeptLost{std::move(**state)};
}

std::expected<OutputChunk, std::string> read_output(const std::string& directory, OutputName name, std::uint64_t offset,
                                                    std::size_t bytes_max) {
  auto chunk = read_bounded_output(directory, output_file_name(name), offset, bytes_max);
  if (!chunk) return std::unexpected(because("read the output in " + directory, chunk.error()));
  return std::move(*chunk);
}

void end_lost(const KeptRecord& record) {
  if (record.boot_id.empty() || record.boot_id != read_boot_id()) return;
  if (!record.cgroup.empty() && kill_cgroup(record.cgroup)) (void)remove_cgroup(record.cgroup);
  for (const KeptProgram& program : record.programs) {
    if (program.start_ticks == 0) continue;  // it could not be read
    UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, program.pid, 0)));
    ProcessStat stat;
    if (!handle || !read_process_stat(program.pid, stat) || stat.start_ticks != program.start_ticks) continue;
    ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
  }
}

}  // namespace sluice::exec
