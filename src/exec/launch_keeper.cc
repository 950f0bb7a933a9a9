#include "exec/launch_keeper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "exec/kept_socket.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

constexpr char kReservedFile[] = "end.reserved";
constexpr int kNewFile = O_CREAT | O_CLOEXEC | O_NOFOLLOW;
constexpr mode_t kPrivateFile = 0600;
constexpr std::size_t kReadSize = std::size_t{64} << 10;  // what a pipe holds
// One busy stream must not keep the ends of programs, or another stream, waiting.
constexpr int kReadsAtOnce = 4;
// After the end nobody writes any more, but somebody outside may still hold the pipe and fill it.
constexpr int kReadsAtEnd = 64;

std::uint64_t wall_clock_us() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::uint64_t start_ticks_of(pid_t pid) {
  ProcessStat stat;
  return read_process_stat(pid, stat) ? stat.start_ticks : 0;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = ENOSPC;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// An open file description's lock goes when the spawner ends, however it ends (fcntl(2)).
bool lock_whole(int file) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(file, F_OFD_SETLK, &lock) == 0;
}

}  // namespace

std::string output_file_name(OutputName name) {
  return std::to_string(name.program + 1) + (name.kind == OutputKind::output ? ".stdout" : ".stderr");
}

std::expected<std::unique_ptr<LaunchKeeper>, LaunchKeeper::Failure> LaunchKeeper::open(const Launch& launch,
                                                                                       std::string cgroup) {
  UniqueFd directory(::open(launch.keep->directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return std::unexpected(Failure{errno, "open the folder that keeps"});
  std::unique_ptr<LaunchKeeper> keeper(new LaunchKeeper(*launch.keep, std::move(cgroup), std::move(directory)));
  if (auto prepared = keeper->prepare(launch); !prepared) return std::unexpected(prepared.error());
  return keeper;
}

LaunchKeeper::~LaunchKeeper() { hide(); }

std::expected<void, LaunchKeeper::Failure> LaunchKeeper::prepare(const Launch& launch) {
  lock_.reset(::openat(directory_.get(), kLockFile, O_RDWR | kNewFile, kPrivateFile));
  if (!lock_ || !lock_whole(lock_.get())) return std::unexpected(Failure{errno, "lock the folder that keeps"});
  end_file_.reset(::openat(directory_.get(), kReservedFile, O_WRONLY | O_TRUNC | kNewFile, kPrivateFile));
  if (!end_file_) return std::unexpected(Failure{errno, "make the end record of"});
  std::size_t outputs = 2 * launch.programs.size() + launch.captures.size();
  std::size_t size = record_size_max(launch.programs.size(), outputs, cgroup_.size());
  bool reserved = ::fallocate(end_file_.get(), 0, 0, static_cast<off_t>(size)) == 0;
  if (!reserved && errno != EOPNOTSUPP && errno != ENOSYS)
    return std::unexpected(Failure{errno, "reserve room for the end record of"});
  auto listener = listen_in(directory_.get());
  if (!listener) return std::unexpected(Failure{listener.error(), "listen in the folder that keeps"});
  listener_ = std::move(*listener);
  return {};
}

// --- the captured streams ------------------------------------------------------------------------------------------

std::expected<UniqueFd, int> LaunchKeeper::capture(OutputName name) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(errno);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  add(name, std::move(read_end), false);
  return write_end;
}

void LaunchKeeper::capture_from(OutputName name, UniqueFd read_end) { add(name, std::move(read_end), true); }

void LaunchKeeper::add(OutputName name, UniqueFd read_end, bool of_others) {
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<char[]>(kReadSize);
  BoundedOutput output(directory_.get(), output_file_name(name), keep_.output_bytes_max);
  captured_.push_back(std::make_unique<Captured>(
      Captured{.name = name, .pipe = std::move(read_end), .of_others = of_others, .output = std::move(output)}));
}

bool LaunchKeeper::captures_others() const {
  return std::ranges::any_of(captured_, [](const auto& captured) { return captured->of_others && captured->pipe; });
}

void LaunchKeeper::add_polled(std::vector<pollfd>& polled) const {
  polled.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const auto& captured : captured_)
    polled.push_back(
        {.fd = captured->pipe.get(), .events = POLLIN, .revents = 0});  // -1, when it has ended, is skipped
}

void LaunchKeeper::on_polled(std::span<const pollfd> polled, TimePoint now) {
  for (std::size_t i = 0; i < captured_.size() && i + 1 < polled.size(); ++i)
    if (polled[i + 1].revents != 0) pump(*captured_[i], now);
}

void LaunchKeeper::pump(Captured& captured, TimePoint now) {
  for (int reads = 0; captured.pipe && reads < kReadsAtOnce; ++reads) {
    ssize_t got = ::read(captured.pipe.get(), buffer_.get(), kReadSize);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got > 0)
      captured.output.append({buffer_.get(), static_cast<std::size_t>(got)}, now);
    else
      captured.pipe.reset();
  }
  tell(captured);
}

void LaunchKeeper::tell(Captured& captured) {
  if (captured.output.failing() && !captured.told_dropping)
    messages_.emplace_back(OutputDropped{.output = captured.name, .error = captured.output.error()});
  captured.told_dropping = captured.output.failing();
  bool ended = !captured.pipe;
  if (!captured.watched_beyond || (!ended && captured.output.total_bytes() <= *captured.watched_beyond)) return;
  captured.watched_beyond.reset();
  messages_.emplace_back(
      OutputGrew{.output = captured.name, .total_bytes = captured.output.total_bytes(), .ended = ended});
}

void LaunchKeeper::on_watch(const WatchOutput& watch) {
  for (const auto& captured : captured_) {
    if (captured->name != watch.output) continue;
    captured->watched_beyond = watch.beyond;
    tell(*captured);
  }
}

std::optional<SpawnerMessage> LaunchKeeper::poll_message() {
  if (messages_.empty()) return std::nullopt;
  SpawnerMessage message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

// --- owners --------------------------------------------------------------------------------------------------------

UniqueFd LaunchKeeper::accept() {
  UniqueFd owner = listener_ ? accept_owner(listener_) : UniqueFd();
  if (!owner) return owner;
  messages_.clear();  // for the one before
  for (const auto& captured : captured_) {
    captured->watched_beyond.reset();
    captured->told_dropping = false;
  }
  return owner;
}

std::vector<SpawnerMessage> LaunchKeeper::story_so_far() const {
  Started started;
  for (const KeptProgram& program : record_.programs) started.pids.push_back(program.pid);
  std::vector<SpawnerMessage> story = {std::move(started)};
  for (const KeptProgram& program : record_.programs)
    if (program.exited) story.emplace_back(*program.exited);
  return story;
}

void LaunchKeeper::hide() {
  if (listener_) stop_listening_in(directory_.get());
}

// --- the records ---------------------------------------------------------------------------------------------------

std::expected<void, LaunchKeeper::Failure> LaunchKeeper::on_started(std::span<const std::int32_t> pids) {
  record_ = {.started_at_us = wall_clock_us(),
             .boot_id = read_boot_id(),
             .spawner_pid = ::getpid(),
             .spawner_start_ticks = start_ticks_of(::getpid()),
             .cgroup = cgroup_};
  for (std::int32_t pid : pids) record_.programs.push_back({.pid = pid, .start_ticks = start_ticks_of(pid)});
  for (const auto& captured : captured_) record_.outputs.push_back({.name = captured->name});
  auto written = write_file(kStateFile, encode(record_));
  if (!written) return std::unexpected(Failure{written.error(), "write down the state of"});
  return {};
}

void LaunchKeeper::on_exited(const Exited& exited) {
  if (exited.program >= record_.programs.size()) return;
  record_.programs[exited.program].exited = exited;
  record_.programs[exited.program].exited_at_us = wall_clock_us();
}

// Not synced: a state that a power failure takes is that of a launch that the same failure has ended.
std::expected<void, int> LaunchKeeper::write_file(const char* name, const std::string& bytes) const {
  std::string temporary = std::string(name) + ".new";
  UniqueFd file(::openat(directory_.get(), temporary.c_str(), O_WRONLY | O_TRUNC | kNewFile, kPrivateFile));
  if (!file || !write_all(file.get(), bytes)) return std::unexpected(errno);
  if (::renameat(directory_.get(), temporary.c_str(), directory_.get(), name) != 0) return std::unexpected(errno);
  return {};
}

std::expected<void, int> LaunchKeeper::write_end(KeptEnd end, TimePoint now) {
  for (const auto& captured : captured_) {
    for (int i = 0; captured->pipe && i < kReadsAtEnd; ++i) {
      std::uint64_t before = captured->output.total_bytes();
      pump(*captured, now);
      if (captured->output.total_bytes() == before) break;
    }
    captured->pipe.reset();
    tell(*captured);
  }
  record_.end = end;
  if (record_.ended_at_us == 0) record_.ended_at_us = wall_clock_us();
  record_.outputs.clear();
  for (const auto& captured : captured_) {
    const BoundedOutput& output = captured->output;
    record_.outputs.push_back({captured->name, output.total_bytes(), output.dropped_bytes(), output.error()});
  }
  return write_record(encode(record_));
}

std::expected<void, int> LaunchKeeper::write_record(const std::string& bytes) const {
  bool written = ::lseek(end_file_.get(), 0, SEEK_SET) == 0 && write_all(end_file_.get(), bytes) &&
                 ::ftruncate(end_file_.get(), static_cast<off_t>(bytes.size())) == 0 && ::fsync(end_file_.get()) == 0 &&
                 ::renameat(directory_.get(), kReservedFile, directory_.get(), kEndFile) == 0 &&
                 ::fsync(directory_.get()) == 0;
  if (!written) return std::unexpected(errno);
  return {};
}

}  // namespace sluice::exec
