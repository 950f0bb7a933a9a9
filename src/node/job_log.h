#pragma once
// The job log of an `@each` stage: a line for each process that is over, in the columns of GNU parallel
// (parallel(1), --joblog): Seq, Host, Starttime, JobRuntime, Send, Receive, Exitval, Signal, Command.
//
// Times are seconds, Starttime since 1970; Send and Receive are the bytes of its stdin and stdout. Line ends and other
// control characters in a command are written as in $'...'. `--resume` reads which numbers have succeeded: those with
// Exitval 0 and Signal 0; a line that a crash has cut short counts as none.
// Threading: belongs to one thread at a time.
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "exec/process_status.h"
#include "flow/each_work.h"

namespace sluice::node {

struct JobLogLine {
  flow::BatchNumber number = 0;
  std::string host = ":";  // where it ran: this one, as GNU parallel calls it, or a node
  double started_s = 0;    // since 1970
  double runtime_s = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  exec::ProcessStatus status = exec::ProcessStatus::exited(0);
  std::string command;
};

std::string to_text(const JobLogLine& line);

/// What a log has as done, by number, and what of each was sent (bytes; 0 if it was an argument).
using DoneJobs = std::map<flow::BatchNumber, std::uint64_t>;
/// Errors: a sentence with the number of the line; it is no job log.
std::expected<DoneJobs, std::string> read_done_jobs(std::string_view log);

class JobLog final {
 public:
  /// `resume`: appended to what is there, of which `sent_to_done` is read. Else the file is made anew, if it is a job log or
  /// empty. Errors: a sentence.
  static std::expected<JobLog, std::string> open(const std::string& path, bool resume);

  /// Of one that is done: the bytes that were sent to it; 0 if it had its record as an argument.
  std::optional<std::uint64_t> sent_to_done(flow::BatchNumber number) const {
    auto done = done_.find(number);
    return done == done_.end() ? std::nullopt : std::optional(done->second);
  }
  /// Errors: a sentence.
  std::expected<void, std::string> append(const JobLogLine& line);

 private:
  JobLog(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  UniqueFd file_;
  DoneJobs done_;
};

}  // namespace sluice::node
