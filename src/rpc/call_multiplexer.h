#pragma once
// Many calls at a time over one ordered byte stream: the same machine at both ends. The client opens calls, the server
// accepts them; messages go both ways with credit for each call (rpc/outgoing_messages.h, rpc/incoming_messages.h).
//
// At the client:  open --the server's end, the deadline, cancel, loss--> over --release--> gone
// At the server:  open --finish--> flushing --its messages and the end are sent--> gone
//                  |                  | cancel, the deadline, loss: what waits is dropped --> gone
//                  | cancel, the deadline, loss, a limit
//                  v
//                 over --finish--> gone          a call counts until it is gone, so that starting and cancelling calls
//                                                in a row can't have more handlers run than `calls_max`
//
// Order that a shell must respect: after every input ask poll_event until it gives nothing, and send what poll_transmit
// gives; when the connection has ended, for whatever reason, on_lost. A call's id is valid until it is gone.
// Frames of calls that are gone or over are skipped: they crossed on the way. Anything else that no peer of ours sends is a
// ProtocolError, and the connection must be closed.
// Memory: messages are bounded by `held_max` and `queued_max`, everything else by `calls_max` and kControlMax.
// Threading: none of its own; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/time.h"
#include "rpc/call_frame.h"
#include "rpc/incoming_messages.h"
#include "rpc/limits.h"
#include "rpc/outgoing_messages.h"
#include "rpc/status.h"

namespace sluice::rpc {

enum class Side { client, server };

/// Limits other than these are for tests. `window` is part of the protocol: both sides must have the same.
struct MultiplexerOptions {
  Side side = Side::client;
  std::size_t window = kWindow;
  std::size_t calls_max = kCallsMax;  // of a server; a client may have any number and is told
  std::size_t held_max = kHeldMax;    // messages that wait for their reader
  std::size_t queued_max = kHeldMax;  // messages that wait to be sent
};

/// What poll_transmit gives at once, about: it stops when it has so much. One write to a socket, eight records of TLS.
inline constexpr std::size_t kTransmitBatch = std::size_t{64} << 10;

/// Answers to what a peer sends (refusals, credit, ends) that wait because it does not read. Above it, it is broken.
inline constexpr std::size_t kControlMax = std::size_t{1} << 20;

/// A writer goes on while so little of its call waits to be sent.
inline constexpr std::size_t kQueueLow = std::size_t{32} << 10;

struct ProtocolError {
  std::string message;
};

struct CallEvent {
  enum class Kind {
    started,   // server: a call has begun
    readable,  // a message is complete, or no more will come
    writable,  // `writable` was false and is true
    over,      // `over` has a value now
  };
  Kind kind = Kind::started;
  StreamId stream{};
  bool operator==(const CallEvent&) const = default;
};

class CallMultiplexer final {
 public:
  explicit CallMultiplexer(MultiplexerOptions options) : options_(options) {}

  // --- inputs -------------------------------------------------------------------------------------------------------
  std::expected<void, ProtocolError> on_bytes(std::string_view bytes, TimePoint now);
  void on_deadline(TimePoint now);  // early calls do nothing
  /// The connection has ended. Every call is over for that reason; no input may follow but the application's.
  void on_lost(const Status& reason);

  // --- outputs ------------------------------------------------------------------------------------------------------
  /// Appends whole frames until `into` has kTransmitBatch bytes or nothing is left to send.
  void poll_transmit(std::string& into);
  bool transmits() const;
  std::optional<CallEvent> poll_event();
  std::optional<TimePoint> poll_deadline() const;

  // --- the application, at the client -------------------------------------------------------------------------------
  /// Opens a call. Errors: unavailable (the connection is lost, or has used up its numbers), invalid_argument (the name
  /// of the method is none).
  std::expected<StreamId, Status> start(CallRequest request, TimePoint now);
  /// The call is over with `cancelled`, if it was not over before.
  void cancel(StreamId stream);
  /// The application is done with the call: it is cancelled if it was not over, and gone.
  void release(StreamId stream);
  /// No message follows.
  void finish_writing(StreamId stream);

  // --- at the server ------------------------------------------------------------------------------------------------
  const CallRequest& request(StreamId stream) const;
  std::optional<TimePoint> deadline(StreamId stream) const;
  /// The handler has ended; the id must not be used any more. What it wrote is sent before `status`.
  void finish(StreamId stream, Status status);
  /// Every call is over with `status`, which its caller is told.
  void end_all(const Status& status);

  // --- at both ------------------------------------------------------------------------------------------------------
  /// Requires: at most kMessageMax bytes, no finish_writing before. Of a call that is over nothing is sent.
  void write(StreamId stream, std::string message);
  /// Whether little enough waits to be sent that the application should write more.
  bool writable(StreamId stream) const;
  std::optional<std::string> read(StreamId stream);
  /// No message will come beyond those that `read` still gives.
  bool read_to_end(StreamId stream) const;
  /// How the call ended; of a server's, why its caller does not wait any more. Null: it is under way.
  const Status* over(StreamId stream) const;

  // --- for logs and tests -------------------------------------------------------------------------------------------
  std::size_t calls() const { return calls_.size(); }
  std::size_t held() const { return held_; }
  std::size_t queued() const { return queued_; }
  bool lost() const { return lost_; }
  /// No call can be started any more: lost, or out of numbers.
  bool exhausted() const;

 private:
  struct Call {
    Call(CallRequest call_request, std::size_t window)
        : request(std::move(call_request)), outgoing(window), incoming(window) {}

    CallRequest request;
    OutgoingMessages outgoing;
    IncomingMessages incoming;
    std::optional<TimePoint> deadline;
    std::optional<Status> over;
    std::optional<Status> end;   // server: what the handler ended with, to be sent when its messages are
    bool request_sent = true;    // client: false at first
    bool peer_finished = false;  // sends no messages any more
    bool peer_ended = false;     // client: sends nothing any more
    bool in_turn = false;        // stands in turns_
  };
  using Result = std::expected<void, ProtocolError>;

  Result on_frame(const Frame& frame, TimePoint now);
  Result on_request(const Frame& frame, TimePoint now);
  Result on_call_frame(const Frame& frame, Call& call);
  Result on_message(const Frame& frame, Call& call);
  Result on_done(const Frame& frame, Call& call);
  Result on_end(const Frame& frame, Call& call);
  Result on_cancel(const Frame& frame, Call& call);
  Result on_credit(const Frame& frame, Call& call);
  std::expected<Call*, ProtocolError> addressed(const Frame& frame);

  Call& open(StreamId stream);
  const Call& open(StreamId stream) const;
  Call& insert(StreamId stream, CallRequest request, std::optional<TimePoint> deadline);
  void erase(StreamId stream);
  void end_early(StreamId stream, Call& call, const Status& status);
  void conclude(StreamId stream, Call& call, const Status& status);
  void drop_incoming(Call& call);
  void drop_outgoing(Call& call);
  void drop_deadline(StreamId stream, Call& call);

  void take_turn(StreamId stream, Call& call);
  static bool ready(const Call& call);
  void transmit(StreamId stream, Call& call, std::string& into);
  void grant(StreamId stream, Call& call);
  void tell(CallEvent::Kind kind, StreamId stream) { events_.push_back({kind, stream}); }
  bool is_server() const { return options_.side == Side::server; }
  void check_invariants() const;

  MultiplexerOptions options_;
  FrameReader frames_;
  std::map<StreamId, Call> calls_;
  std::set<std::pair<TimePoint, StreamId>> deadlines_;
  std::deque<StreamId> turns_;  // calls that may have something to send, each once
  std::string control_;         // frames that go before those of turns_
  std::deque<CallEvent> events_;
  std::uint32_t last_ = 0;       // server: the highest number that the client has used
  std::uint64_t next_ = 1;       // client: the next number
  std::uint32_t last_sent_ = 0;  // client: the highest number that the server has seen
  std::size_t held_ = 0;
  std::size_t queued_ = 0;
  bool lost_ = false;
  bool broken_ = false;  // a ProtocolError was given
};

}  // namespace sluice::rpc
