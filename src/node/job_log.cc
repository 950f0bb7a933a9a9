#include "node/job_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "node/lasting_file.h"

namespace sluice::node {
namespace {

constexpr std::string_view kHeader = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";
constexpr std::string_view kFirstColumn = "Seq\t";
constexpr std::size_t kColumns = 9;

std::string visible(std::string_view command) {
  std::string text;
  for (char c : command) {
    if (c == '\n')
      text += "\\n";
    else if (c == '\t')
      text += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      text += c;
  }
  return text;
}

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::expected<void, int> write_whole(int file, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::unexpected(written < 0 ? errno : ENOSPC);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::expected<std::string, int> read_whole(int file) {
  std::string text;
  std::array<char, 65536> block;
  while (true) {
    ssize_t got = ::read(file, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno);
    if (got == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(got));
  }
}

bool is_regular(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
}

// A device has nothing that could be lost.
bool is_empty_or_job_log(int file) {
  char first[kFirstColumn.size()];
  if (!is_regular(file)) return true;
  ssize_t got = ::pread(file, first, sizeof first, 0);
  return got == 0 || (got > 0 && kFirstColumn == std::string_view(first, static_cast<std::size_t>(got)));
}

}  // namespace

std::string to_text(const JobLogLine& line) {
  return fmt::format("{}\t{}\t{:.3f}\t{:10.3f}\t{}\t{}\t{}\t{}\t{}\n", line.number, line.host, line.started_s,
                     line.runtime_s, line.sent_bytes, line.received_bytes, line.status.exit_code(),
                     line.status.signal(), visible(line.command));
}

std::expected<DoneJobs, std::string> read_done_jobs(std::string_view log) {
  DoneJobs done;
  for (std::size_t number = 1; !log.empty(); ++number) {
    std::size_t end = log.find('\n');
    if (end == log.npos) break;  // cut short
    std::string_view line = log.substr(0, end);
    log.remove_prefix(end + 1);
    if (line.starts_with(kFirstColumn)) continue;
    std::array<std::string_view, kColumns> columns;
    std::size_t column = 0;
    for (std::string_view rest = line; column < kColumns; ++column) {
      std::size_t tab = column + 1 < kColumns ? rest.find('\t') : rest.npos;
      columns[column] = rest.substr(0, tab);
      if (tab == rest.npos) break;
      rest.remove_prefix(tab + 1);
    }
    auto sequence = number_of<flow::BatchNumber>(columns[0]);
    auto sent = number_of<std::uint64_t>(columns[4]);
    auto status = number_of<int>(columns[6]), signal = number_of<int>(columns[7]);
    if (column + 1 < kColumns || !sequence || !sent || !status || !signal)
      return std::unexpected(fmt::format("line {} is none of a job log", number));
    if (*status == 0 && *signal == 0)
      done.insert_or_assign(*sequence, *sent);
    else
      done.erase(*sequence);
  }
  return done;
}

std::expected<JobLog, std::string> JobLog::open(const std::string& path, bool resume) {
  auto refuse = [&](int error) { return std::unexpected(fmt::format("--joblog {}: {}", path, std::strerror(error))); };
  auto opened = open_lasting(path, O_RDWR);
  if (!opened) return std::unexpected(fmt::format("--joblog {}: {}", path, opened.error()));
  UniqueFd file = *std::move(opened);
  if (!resume && !is_empty_or_job_log(file.get()))
    return std::unexpected(fmt::format("--joblog {}: it is there and is no job log; remove it, or name another", path));
  if (!resume && is_regular(file.get()) && ::ftruncate(file.get(), 0) != 0) return refuse(errno);
  JobLog log(path, std::move(file));
  auto text = resume ? read_whole(log.file_.get()) : std::string();
  if (!text) return refuse(text.error());
  auto done = read_done_jobs(*text);
  if (!done)
    return std::unexpected(fmt::format("--joblog {}: {}; leave --resume out to begin anew", path, done.error()));
  log.done_ = *std::move(done);
  // A line that a crash has cut short goes: what is written behind it would be part of it.
  std::size_t whole = text->rfind('\n') + 1;  // npos + 1 is 0
  if (whole < text->size() && ::ftruncate(log.file_.get(), static_cast<off_t>(whole)) != 0) return refuse(errno);
  if (whole > 0) return log;
  if (auto written = write_whole(log.file_.get(), kHeader); !written) return refuse(written.error());
  return log;
}

std::expected<void, std::string> JobLog::append(const JobLogLine& line) {
  auto written = write_whole(file_.get(), to_text(line));
  if (!written) return std::unexpected(fmt::format("--joblog {}: {}", path_, std::strerror(written.error())));
  return {};
}

}  // namespace sluice::node
