#pragma once
// What a spawner and its owner, and a zygote and its owner, say to each other over a Unix stream socket.
//
// A frame is its length (4 bytes), its kind (1 byte) and the fields of one message below, all little-endian.
// Descriptors travel with empty frames of a kind of their own, ahead of the message that consumes them (SCM_RIGHTS,
// unix(7)); a message that names "the next passed descriptor" takes the oldest one.
//
// Both ends are the same program, but for a spawner that outlived a daemon: whoever attaches to it reads its version
// first. The frame limit guards against a bug, not an enemy: the socket is private to the pair, which run as one user.
// Threading: pure values and functions.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "exec/process_status.h"

namespace sluice::exec {

using ProgramIndex = std::uint32_t;

/// Where one of a program's three standard streams comes from or goes to.
enum class Stream : std::uint8_t {
  inherited,  // the spawner's own
  neighbour,  // a kernel pipe from the previous program's stdout (stdin) or to the next one's stdin (stdout)
  passed,     // the next passed descriptor
  as_stdout,  // stderr only: wherever stdout goes
  captured,   // stdout and stderr of a kept launch: a pipe that the spawner reads into a bounded file
};

/// One of the two streams of a program that a kept launch can capture.
enum class OutputKind : std::uint8_t { output, error };

struct OutputName {
  ProgramIndex program = 0;
  OutputKind kind = OutputKind::output;
  auto operator<=>(const OutputName&) const = default;
};

/// A program to start, already looked up.
struct Program {
  std::string path;                    // what execve(2) gets
  std::vector<std::string> arguments;  // argv, the name included
  // Run in place of a file that execve(2) does not know (ENOEXEC), with the path and the arguments behind it, as a
  // shell does with a script that has no #! line. Empty: that is an error.
  std::string script_shell;
  Stream input = Stream::inherited;
  Stream output = Stream::inherited;
  Stream error = Stream::inherited;
  // The spawner keeps the next passed descriptor, the write end of this program's stdin, until `ReleaseInput`: if the
  // owner dies, the program is ended before its stdin closes, so it never takes a cut link for an end of file.
  bool guarded_input = false;
  // Not started with the launch, but as often as its owner asks, on a socket that is the next passed descriptor
  // (`StartJob`). It has ended when the owner has closed that socket and the last job is over. Its streams are the jobs'.
  bool by_job = false;
  std::vector<std::string> variables;  // NAME=VALUE, in place of what the launch has of that name
};

/// The user that programs run as, in place of the spawner's own. Only root may change it.
struct RunAs {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // the supplementary ones
};

/// A launch whose state and output are kept in files, and which another owner can find again (exec/kept_flow.h).
struct Keep {
  std::string directory;                                     // absolute, made for this launch alone
  std::uint64_t output_bytes_max = std::uint64_t{10} << 20;  // of each captured stream; older bytes are dropped
  // Without an owner it goes on. Only a launch that passes no descriptor can: what leads to the dead owner is dead.
  bool survives_owner = true;
};

// --- from the owner ---------------------------------------------------------------------------------------------

/// Starts programs together, all or none. One launch at a time.
struct Launch {
  std::vector<Program> programs;
  std::vector<std::string> environment;  // NAME=VALUE
  std::string directory;                 // empty: the spawner's own, even if it has been removed
  // The process group to put the programs in, or 0: each leads its own.
  std::int32_t process_group = 0;
  bool account_io = false;     // read each program's I/O counters when it ends
  bool observe_links = false;  // send a descriptor that watches each kernel pipe (link/pipe_observer.h)
  std::optional<RunAs> run_as;
  std::optional<Keep> keep;
  // Of a kept launch, which may have no program then: passed descriptors, behind those of the programs, the read ends of
  // pipes that others write to. They are captured under these names, and the launch ends when the last of them has.
  std::vector<OutputName> captures;
};

/// Sends a signal to the whole process tree of some programs, the last one first.
struct SendSignal {
  std::int32_t signal = 0;
  std::vector<ProgramIndex> programs;
  bool strays_too = false;     // those that outlived their program as well
  bool then_continue = false;  // SIGCONT behind it, so that a stopped program acts on it
};

struct ReleaseInput {
  ProgramIndex program = 0;
};

/// Asks for a `Survey` of the processes that outlived their program.
struct RequestSurvey {};

/// SIGKILL for every process below the spawner, until there is none. Answered by `Childless`.
struct EndAll {};

/// What the programs have left may go on. The owner's own spawner exits at once, without a Childless; a zygote's answers
/// by Childless, takes no other Launch, and stays until nothing of that runs any more.
struct Detach {};

/// Asks for one `OutputGrew` as soon as more than `beyond` bytes have come out of a captured stream.
struct WatchOutput {
  OutputName output;
  std::uint64_t beyond = 0;
};

// --- from the spawner -------------------------------------------------------------------------------------------

/// Every program of the launch was started; one observer descriptor a kernel pipe goes with it if asked for.
struct Started {
  std::vector<std::int32_t> pids;
  std::uint32_t observers = 0;
};

/// `program` could not be started; what was started before it has been ended.
struct LaunchFailed {
  ProgramIndex program = 0;
  std::int32_t error = 0;  // errno
  std::string action;      // what failed: "execute", "make a pipe", "change to the folder"
};

/// The reader of a program's stdout. Of a file or a terminal it is `open`: it can't go away.
enum class Reader : std::uint8_t { open, gone, unknown };

struct Exited {
  ProgramIndex program = 0;
  std::int32_t wait_status = 0;
  Reader output_reader = Reader::unknown;  // of this program's stdout, when the program had ended
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t peak_memory_bytes = 0;  // of the largest single process of the tree that was waited for
  bool io_known = false;
  std::uint64_t io_read_bytes = 0;  // read(2) and alike, of the whole tree that was waited for
  std::uint64_t io_write_bytes = 0;
};

/// Every program has ended and no process is left below the spawner. It exits, or, if it is pooled, takes the next
/// Launch and ignores all else until then.
struct Childless {};

/// A process that outlived its program.
struct Stray {
  std::int32_t pid = 0;
  std::string name;
  // It reads a pipe that is none of the flow's links and that nobody writes to any more, and has not left the session
  // as daemons do: it will end by itself, and what it has read would be lost with it. bash's >(...) looks like this.
  bool drains_pipe = false;
};

struct Survey {
  std::vector<Stray> strays;  // the first kStraysMax
  std::uint32_t total = 0;
};

/// Strays that a survey lists; beyond that they are counted only.
inline constexpr std::size_t kStraysMax = 256;

/// The first message of a pooled spawner, and to each owner that attaches. These fields and their order never change.
struct Hello {
  std::uint32_t version = 0;  // see kSpawnProtocolVersion
  std::int32_t pid = 0;       // of the spawner
  std::string cgroup;         // the folder of its cgroup, or empty
};

struct OutputGrew {
  OutputName output;
  std::uint64_t total_bytes = 0;
  bool ended = false;  // nobody can write to it any more
};

/// Output could not be written to its file and was dropped. Said once until writing succeeds again.
struct OutputDropped {
  OutputName output;
  std::int32_t error = 0;  // errno
};

// --- jobs: a program that is started as often as its owner asks ---------------------------------------------------

using JobNumber = std::uint64_t;

/// Starts the program once more. Passed descriptors go with it: its stdin, its stdout, its stderr if `error_passed`, and
/// the write end of its stdin if `guarded_input`, which is kept until `ReleaseJobInput` as that of any program.
struct StartJob {
  JobNumber job = 0;                   // chosen by the owner; of no other that runs
  std::uint32_t seat = 0;              // it starts when the one before it in this seat has ended
  std::vector<std::string> arguments;  // in place of the program's own; empty: those
  bool error_passed = false;           // else it is where the launch has it
  bool guarded_input = false;
};

struct ReleaseJobInput {
  JobNumber job = 0;
};

/// To its whole process tree.
struct SignalJob {
  JobNumber job = 0;
  std::int32_t signal = 0;
};

struct JobStarted {
  JobNumber job = 0;
  std::int32_t pid = 0;
};

struct JobFailed {
  JobNumber job = 0;
  std::int32_t error = 0;  // errno
  std::string action;      // see LaunchFailed
};

struct JobEnded {
  JobNumber job = 0;
  std::int32_t wait_status = 0;
  std::uint64_t run_us = 0;  // from its start to its end
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t peak_memory_bytes = 0;
};

/// It takes no other job: what is there of the program's place is about to go. Those that run go on.
struct JobsRefused {};

// --- a zygote -----------------------------------------------------------------------------------------------------

/// Asks for a pooled spawner on the next passed descriptor, its end of a socket.
struct ForkSpawner {
  std::uint64_t token = 0;  // comes back with the answer
  std::string cgroup_home;  // make it a cgroup of its own below this folder; empty: none
};

/// Signals a spawner, if it is one of the zygote's and still there. With SIGKILL its cgroup is killed too.
struct SignalSpawner {
  std::int32_t pid = 0;
  std::int32_t signal = 0;
};

struct SpawnerForked {
  std::uint64_t token = 0;
  std::int32_t pid = 0;
};

struct ForkFailed {
  std::uint64_t token = 0;
  std::int32_t error = 0;  // errno
};

struct SpawnerEnded {
  std::int32_t pid = 0;
  std::int32_t wait_status = 0;
};

/// To be raised with every change of the messages that an attached owner and a spawner exchange.
inline constexpr std::uint32_t kSpawnProtocolVersion = 3;

using OwnerMessage = std::variant<Launch, SendSignal, ReleaseInput, RequestSurvey, EndAll, Detach, WatchOutput>;
using SpawnerMessage = std::variant<Hello, Started, LaunchFailed, Exited, Childless, Survey, OutputGrew, OutputDropped>;
using JobRequest = std::variant<StartJob, ReleaseJobInput, SignalJob>;
using JobEvent = std::variant<JobStarted, JobFailed, JobEnded, JobsRefused>;
using ZygoteRequest = std::variant<ForkSpawner, SignalSpawner>;
using ZygoteEvent = std::variant<SpawnerForked, ForkFailed, SpawnerEnded>;

/// Room for the largest environment and argument list that Linux takes (execve(2): 6 MiB), for 4,096 programs' share.
inline constexpr std::size_t kFrameMax = std::size_t{64} << 20;

std::string encode(const OwnerMessage& message);
std::string encode(const SpawnerMessage& message);
std::string encode(const JobRequest& request);
std::string encode(const JobEvent& event);
std::string encode(const ZygoteRequest& request);
std::string encode(const ZygoteEvent& event);

/// The empty frame that descriptors travel with; a MessageReader passes over it. Bytes that were sent before it may be
/// received together with it (unix(7)), so it must be part of the stream's grammar.
std::string_view descriptor_frame();

/// Splits a byte stream into messages.
template <class Message>
class MessageReader final {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  /// The next message, nothing if more bytes are needed. Errors: a frame that no sender of ours writes.
  std::expected<std::optional<Message>, std::string> next();

 private:
  std::string buffer_;
  std::size_t consumed_ = 0;
};

extern template class MessageReader<OwnerMessage>;
extern template class MessageReader<SpawnerMessage>;
extern template class MessageReader<JobRequest>;
extern template class MessageReader<JobEvent>;
extern template class MessageReader<ZygoteRequest>;
extern template class MessageReader<ZygoteEvent>;

}  // namespace sluice::exec
