#pragma once
// What a spawner and its owner say to each other over a Unix stream socket.
//
// A frame is its length (4 bytes), its kind (1 byte) and the fields of one message below, all little-endian.
// Descriptors travel beside the frames (SCM_RIGHTS, unix(7)) and are consumed in the order in which they were sent: a
// message that names "the next passed descriptor" takes the oldest one.
//
// Both ends are the same program today. The frame limit guards against a bug, not an enemy: the socket is private to
// the pair, which run as one user.
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
};

// --- from the owner ---------------------------------------------------------------------------------------------

/// Starts programs together, all or none. One launch a spawner.
struct Launch {
  std::vector<Program> programs;
  std::vector<std::string> environment;  // NAME=VALUE
  std::string directory;                 // empty: the spawner's own, even if it has been removed
  // The process group to put the programs in, or 0: each leads its own.
  std::int32_t process_group = 0;
  bool account_io = false;     // read each program's I/O counters when it ends
  bool observe_links = false;  // send a descriptor that watches each kernel pipe (link/pipe_observer.h)
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

/// The spawner is to exit and leave what still runs.
struct Detach {};

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

/// Every program has ended and no process is left below the spawner, which exits.
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

using OwnerMessage = std::variant<Launch, SendSignal, ReleaseInput, RequestSurvey, EndAll, Detach>;
using SpawnerMessage = std::variant<Started, LaunchFailed, Exited, Childless, Survey>;

/// Room for the largest environment and argument list that Linux takes (execve(2): 6 MiB), for 4,096 programs' share.
inline constexpr std::size_t kFrameMax = std::size_t{64} << 20;

std::string encode(const OwnerMessage& message);
std::string encode(const SpawnerMessage& message);

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

}  // namespace sluice::exec
