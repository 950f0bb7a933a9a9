#pragma once
// A byte link between hosts: one connection that carries one ordered byte stream from a producer's descriptor to a
// consumer's, with TCP's window as its credit. The frames are in byte_frames.h, the rules of the two ends in byte_stream.h.
//
// A link is started at either end, on a connection whose first frame was sent and answered already, and ends in exactly one
// way (LinkEnd). It buffers no more than one batch of 128 KiB and what the kernel holds.
//
// **Who closes the descriptor.** The link owns it. It is closed by itself after a good end: at the producer when its own end
// of file was delivered or its reader closed (so the program gets SIGPIPE at once), at the consumer *after* OnEnd(ended) has
// returned, or when the reader is gone. After any other end (aborted, cut, cancelled, failed_local) it stays open until
// `release` or the handle goes: a stage that reads must be killed before its stdin closes, or it takes the cut for an end of
// file and commits half a stream. So OnEnd always comes before the close that the other program could see.
//
// Threading: the functions, the handle and OnEnd belong to the thread of `LinkOptions::owner`. The bytes move on a loop of
// DataLoops, which must be closed before the owner's executor goes.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "base/unique_fd.h"
#include "link/data_loops.h"
#include "net/async.h"
#include "net/connection.h"

namespace sluice::link {

struct LinkEnd {
  enum class Kind {
    ended,          // the whole stream was delivered, and both sides know it
    reader_closed,  // nobody reads any more, which a producer may take as a success
    aborted,        // the other side failed or was cancelled, and said so
    cut,            // the connection broke, or the other side broke the rules
    cancelled,      // by `cancel`, or because the loops closed
    failed_local,   // our own descriptor failed: `error_number`
  };
  Kind kind = Kind::cut;
  int error_number = 0;
  std::uint64_t bytes = 0;  // that moved through this end
  std::string message;      // for people, empty after a good end; names the other side where that is of use
};

using OnEnd = std::move_only_function<void(LinkEnd)>;

struct LinkOptions {
  net::asio::any_io_executor owner;  // where OnEnd is called
  /// Nobody else uses the open file description of the local descriptor, such as a pipe made for this link: it may be made
  /// non-blocking. Leave it false for the client's stdin and stdout.
  bool descriptor_is_ours = false;
  /// How long a link that has ended still sees to its last words.
  Duration farewell_max = std::chrono::seconds(5);
};

class LinkPump;
struct LinkCore;

/// The owner's hold on a link that runs.
class ByteLink final {
 public:
  ByteLink(std::shared_ptr<LinkCore> core, std::weak_ptr<LinkPump> pump, std::optional<LoopMailbox> loop);
  ByteLink(ByteLink&&) noexcept = default;
  ByteLink& operator=(ByteLink&& other) noexcept;
  /// Cancels, and OnEnd is not called any more.
  ~ByteLink();

  /// Bytes of the stream so far: taken from its descriptor by a source, delivered by a sink, passed on by a relay. Nothing is
  /// on its way if a sink has delivered what its source has taken. Any thread may ask.
  std::uint64_t moved() const;
  /// Ends the link; the other side is told why if it still listens. OnEnd(cancelled) follows, or the end that was faster.
  void cancel(std::string reason);
  /// Closes the descriptor that a bad end left open, or does not keep it open if the end is still to come.
  void release();

 private:
  void drop();

  std::shared_ptr<LinkCore> core_;  // with the loop
  std::weak_ptr<LinkPump> pump_;
  std::optional<LoopMailbox> loop_;  // none: there was no loop for it
};

/// The producer's end: sends what `from` gives, and its end of file.
ByteLink start_source(DataLoops& loops, UniqueFd from, net::Connection::Parts to, LinkOptions options, OnEnd on_end);
/// The consumer's end: writes what comes into `into`.
ByteLink start_sink(DataLoops& loops, net::Connection::Parts from, UniqueFd into, LinkOptions options, OnEnd on_end);
/// A node between: passes on the frames of both directions unchanged.
ByteLink start_relay(DataLoops& loops, net::Connection::Parts producer, net::Connection::Parts consumer,
                     LinkOptions options, OnEnd on_end);

}  // namespace sluice::link
