#pragma once
// What a stage whose processes run on other hosts says to a *seat*, the place of one of its workers there, and what it
// hears: two streams of messages, each carried by a byte link.
//
// A message is its type (1 byte), the length of its body (4 bytes, network byte order) and the body, which begins with
// the job's number (8 bytes). `docs/protocol-seats.md` has them byte by byte.
// Threading: values.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "exec/spawn_protocol.h"

namespace sluice::node {

/// Of one piece of a process's input or output.
inline constexpr std::size_t kSeatPieceMax = std::size_t{64} << 10;
/// Of any body: the arguments of a job are at most what execve(2) takes.
inline constexpr std::size_t kSeatBodyMax = std::size_t{8} << 20;

/// A job that is to run when the one before it of the same worker has ended. The seat of a worker that was lost has
/// jobs of another, too.
struct SeatStart {
  exec::JobNumber job = 0;
  std::uint32_t worker = 0;
  bool whole = false;                  // it starts when all of its input is there; else its input streams
  bool duplex = false;                 // its stdin is a socket, on which it answers too
  bool error_wanted = false;           // its stderr comes back too; else it goes where that of any stage does
  std::vector<std::string> arguments;  // in place of the program's own; empty: those
};
struct SeatInput {
  exec::JobNumber job = 0;
  std::string bytes;
};
struct SeatInputEnd {
  exec::JobNumber job = 0;
};

/// To its whole process tree.
struct SeatSignal {
  exec::JobNumber job = 0;
  std::uint32_t signal = 0;
};

/// So many bytes of its input are in the process's pipe.
struct SeatTaken {
  exec::JobNumber job = 0;
  std::uint32_t bytes = 0;
};
struct SeatOutput {
  exec::JobNumber job = 0;
  std::string bytes;
};
/// Of one that answers on its stdin: it has closed that.
struct SeatOutputEnd {
  exec::JobNumber job = 0;
};
struct SeatError {
  exec::JobNumber job = 0;
  std::string bytes;
};
/// Nothing of the job follows.
struct SeatEnded {
  exec::JobEnded how;
};
struct SeatFailed {
  exec::JobFailed how;
};

/// Of none in particular: the seat takes no other job, and goes when those that it has have ended.
struct SeatLeaving {
  exec::JobNumber job = 0;
};

using SeatRequest = std::variant<SeatStart, SeatInput, SeatInputEnd, SeatSignal>;
using SeatReply = std::variant<SeatTaken, SeatOutput, SeatOutputEnd, SeatError, SeatEnded, SeatFailed, SeatLeaving>;

std::string encode(const SeatRequest& request);
std::string encode(const SeatReply& reply);

/// Splits a stream into messages.
template <class Message>
class SeatReader final {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  /// The next message, nothing if more bytes are needed. Errors: a sentence; the other end breaks the protocol.
  std::expected<std::optional<Message>, std::string> next();

 private:
  std::string buffer_;
  std::size_t consumed_ = 0;
};

extern template class SeatReader<SeatRequest>;
extern template class SeatReader<SeatReply>;

}  // namespace sluice::node
