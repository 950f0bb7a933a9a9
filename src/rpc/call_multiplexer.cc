#include "rpc/call_multiplexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/require.h"

namespace sluice::rpc {
namespace {

// An idle connection keeps no more than this of a buffer that was larger once.
constexpr std::size_t kBufferKept = std::size_t{16} << 10;

std::uint32_t number_of(StreamId stream) { return static_cast<std::uint32_t>(stream); }

std::unexpected<ProtocolError> broken(std::string message) {
  return std::unexpected(ProtocolError{std::move(message)});
}

std::unexpected<ProtocolError> broken(std::string_view what, StreamId stream) {
  return broken(fmt::format("{} for call {}", what, number_of(stream)));
}

bool only_from_client(FrameType type) {
  return type == FrameType::request || type == FrameType::done || type == FrameType::cancel;
}

// What goes over the wire has 32 bits; a deadline further away than that is none that anybody waits for.
TimePoint deadline_after(std::chrono::milliseconds timeout, TimePoint now) {
  constexpr std::chrono::milliseconds longest(std::numeric_limits<std::uint32_t>::max());
  return now + std::clamp(timeout, std::chrono::milliseconds(0), longest);
}

}  // namespace

// --- what the peer sends ---------------------------------------------------------------------------------------------

std::expected<void, ProtocolError> CallMultiplexer::on_bytes(std::string_view bytes, TimePoint now) {
  REQUIRE(!lost_);
  REQUIRE(!broken_);
  broken_ = true;  // until every frame was good
  frames_.append(bytes);
  while (true) {
    auto frame = frames_.next();
    if (!frame) return broken(std::move(frame.error()));
    if (!*frame) break;
    auto handled = on_frame(**frame, now);
    if (!handled) return handled;
  }
  if (control_.size() > kControlMax) return broken("too many answers wait for a peer that does not read them");
  broken_ = false;
  check_invariants();
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_frame(const Frame& frame, TimePoint now) {
  if (is_server() && frame.type == FrameType::end) return broken("an end from a client", frame.stream);
  if (!is_server() && only_from_client(frame.type)) return broken("a client's frame from a server", frame.stream);
  if (frame.type == FrameType::request) return on_request(frame, now);
  auto call = addressed(frame);
  if (!call) return std::unexpected(std::move(call.error()));
  return *call == nullptr ? Result{} : on_call_frame(frame, **call);
}

CallMultiplexer::Result CallMultiplexer::on_request(const Frame& frame, TimePoint now) {
  std::uint32_t number = number_of(frame.stream);
  if (number % 2 == 0 || number <= last_) return broken("a request out of order", frame.stream);
  auto request = decode_request(frame);
  if (!request) return broken(std::move(request.error()));
  last_ = number;
  if (calls_.size() >= options_.calls_max) {
    put_end(control_, frame.stream,
            {Code::resource_exhausted, fmt::format("{} calls of this connection are under way", calls_.size())});
    return {};
  }
  std::optional<TimePoint> deadline;
  if (request->timeout) deadline = deadline_after(*request->timeout, now);
  insert(frame.stream, std::move(*request), deadline);
  tell(CallEvent::Kind::started, frame.stream);
  return {};
}

// The call that a frame is for; null if it is gone.
std::expected<CallMultiplexer::Call*, ProtocolError> CallMultiplexer::addressed(const Frame& frame) {
  std::uint32_t number = number_of(frame.stream);
  if (number % 2 == 0 || number > (is_server() ? last_ : last_sent_))
    return broken("a frame before the request", frame.stream);
  auto found = calls_.find(frame.stream);
  return found == calls_.end() ? nullptr : &found->second;
}

CallMultiplexer::Result CallMultiplexer::on_call_frame(const Frame& frame, Call& call) {
  if (call.peer_ended) return broken("a frame after the end", frame.stream);
  if (frame.type == FrameType::end) return on_end(frame, call);
  if (call.over) return {};
  switch (frame.type) {
    case FrameType::message:
      return on_message(frame, call);
    case FrameType::done:
      return on_done(frame, call);
    case FrameType::cancel:
      return on_cancel(frame, call);
    case FrameType::credit:
      return on_credit(frame, call);
    case FrameType::request:
    case FrameType::end:
      break;
  }
  INVARIANT(false);
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_message(const Frame& frame, Call& call) {
  if (call.end) return {};  // the handler did not wait for it
  if (call.peer_finished) return broken("a message after the last", frame.stream);
  bool more = frame.has(frame_flag::more);
  bool last = frame.has(frame_flag::last);
  if (last && (more || !is_server())) return broken("a message that can't be the last", frame.stream);
  std::size_t held_before = call.incoming.held();
  auto complete = call.incoming.on_piece(frame.payload, more);
  if (!complete) return broken(complete.error(), frame.stream);
  held_ += call.incoming.held() - held_before;
  call.peer_finished = last;
  if (*complete) tell(CallEvent::Kind::readable, frame.stream);
  if (held_ > options_.held_max) {
    end_early(frame.stream, call, {Code::resource_exhausted, "too many messages of this connection wait to be read"});
    return {};
  }
  grant(frame.stream, call);
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_done(const Frame& frame, Call& call) {
  if (call.end) return {};
  if (call.peer_finished) return broken("no more messages, twice,", frame.stream);
  if (call.incoming.incomplete()) return broken("no more messages after half of one", frame.stream);
  call.peer_finished = true;
  tell(CallEvent::Kind::readable, frame.stream);
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_end(const Frame& frame, Call& call) {
  auto status = decode_end(frame);
  if (!status) return broken(std::move(status.error()));
  call.peer_ended = true;
  if (call.over) return {};  // we ended it before
  if (status->ok() && call.incoming.incomplete()) return broken("success after half of a message", frame.stream);
  call.peer_finished = true;
  call.over = std::move(*status);
  drop_deadline(frame.stream, call);
  drop_outgoing(call);
  tell(CallEvent::Kind::over, frame.stream);
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_cancel(const Frame& frame, Call& call) {
  conclude(frame.stream, call, {Code::cancelled, "the caller cancelled the call"});
  return {};
}

CallMultiplexer::Result CallMultiplexer::on_credit(const Frame& frame, Call& call) {
  auto bytes = decode_credit(frame);
  if (!bytes) return broken(std::move(bytes.error()));
  if (!call.outgoing.grant(*bytes)) return broken("more credit than can be used", frame.stream);
  take_turn(frame.stream, call);
  return {};
}

// --- time, and the end -----------------------------------------------------------------------------------------------

void CallMultiplexer::on_deadline(TimePoint now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    StreamId stream = deadlines_.begin()->second;
    end_early(stream, open(stream), {Code::deadline_exceeded, "the call's time is over"});
  }
  check_invariants();
}

void CallMultiplexer::on_lost(const Status& reason) {
  REQUIRE(!reason.ok());
  if (lost_) return;
  lost_ = true;
  for (auto next = calls_.begin(); next != calls_.end();) {
    auto& [stream, call] = *next++;  // it may be gone after this
    call.in_turn = false;
    if (!call.over) conclude(stream, call, reason);
  }
  turns_.clear();
  control_ = {};
  check_invariants();
}

void CallMultiplexer::end_all(const Status& status) {
  REQUIRE(is_server());
  REQUIRE(!status.ok());
  if (lost_) return;
  for (auto next = calls_.begin(); next != calls_.end();) {
    auto& [stream, call] = *next++;  // it may be gone after this
    if (!call.over) end_early(stream, call, status);
  }
  check_invariants();
}

// Ends a call of which the peer does not know yet that it is over.
void CallMultiplexer::end_early(StreamId stream, Call& call, const Status& status) {
  INVARIANT(!call.over);
  if (is_server())
    put_end(control_, stream, status);
  else if (call.request_sent)
    put_frame(control_, {FrameType::cancel, 0, stream, {}});
  conclude(stream, call, status);
}

// Nothing is sent or taken for the call from now on.
void CallMultiplexer::conclude(StreamId stream, Call& call, const Status& status) {
  INVARIANT(!call.over);
  if (call.end) return erase(stream);  // its handler has ended, so nobody needs to know
  call.over = status;
  drop_deadline(stream, call);
  drop_incoming(call);
  drop_outgoing(call);
  tell(CallEvent::Kind::over, stream);
}

void CallMultiplexer::drop_incoming(Call& call) {
  held_ -= call.incoming.held();
  call.incoming = IncomingMessages(options_.window);
}

void CallMultiplexer::drop_outgoing(Call& call) {
  queued_ -= call.outgoing.queued();
  call.outgoing = OutgoingMessages(options_.window);
}

void CallMultiplexer::drop_deadline(StreamId stream, Call& call) {
  if (call.deadline) deadlines_.erase({*call.deadline, stream});
  call.deadline.reset();
}

// --- what is sent ----------------------------------------------------------------------------------------------------

void CallMultiplexer::poll_transmit(std::string& into) {
  into += control_;
  control_.clear();
  if (control_.capacity() > kBufferKept) control_.shrink_to_fit();
  while (into.size() < kTransmitBatch && !turns_.empty()) {
    StreamId stream = turns_.front();
    turns_.pop_front();
    Call& call = open(stream);
    call.in_turn = false;
    if (ready(call)) transmit(stream, call, into);
  }
  check_invariants();
}

// One turn of a call: its request, one piece of a message, and its end if that was the last.
void CallMultiplexer::transmit(StreamId stream, Call& call, std::string& into) {
  if (!call.request_sent) {
    INVARIANT(number_of(stream) > last_sent_);  // calls get their first turn in the order of their start
    put_request(into, stream, call.request);
    call.request_sent = true;
    last_sent_ = number_of(stream);
  }
  if (call.outgoing.ready()) {
    std::size_t queued_before = call.outgoing.queued();
    call.outgoing.poll_frame(into, stream);
    queued_ -= queued_before - call.outgoing.queued();
    if (queued_before >= kQueueLow && writable(stream)) tell(CallEvent::Kind::writable, stream);
  }
  if (call.end && call.outgoing.empty()) {
    put_end(into, stream, *call.end);
    return erase(stream);
  }
  take_turn(stream, call);
}

bool CallMultiplexer::ready(const Call& call) {
  if (call.over) return false;
  return !call.request_sent || call.outgoing.ready() || (call.end && call.outgoing.empty());
}

void CallMultiplexer::take_turn(StreamId stream, Call& call) {
  if (call.in_turn || !ready(call)) return;
  call.in_turn = true;
  turns_.push_back(stream);
}

// A peer that sends no more needs no credit.
void CallMultiplexer::grant(StreamId stream, Call& call) {
  if (call.over || call.end || call.peer_finished) return;
  if (auto bytes = call.incoming.poll_grant()) put_credit(control_, stream, *bytes);
}

bool CallMultiplexer::transmits() const { return !control_.empty() || !turns_.empty(); }

std::optional<CallEvent> CallMultiplexer::poll_event() {
  if (events_.empty()) return std::nullopt;
  CallEvent event = events_.front();
  events_.pop_front();
  return event;
}

std::optional<TimePoint> CallMultiplexer::poll_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

// --- the application -------------------------------------------------------------------------------------------------

std::expected<StreamId, Status> CallMultiplexer::start(CallRequest request, TimePoint now) {
  REQUIRE(!is_server());
  if (lost_) return std::unexpected(Status{Code::unavailable, "the connection has ended"});
  if (exhausted()) return std::unexpected(Status{Code::unavailable, "the connection has used up its call numbers"});
  if (!valid_method_name(request.method))
    return std::unexpected(Status{Code::invalid_argument, "the name of a method is printable and not that long"});
  StreamId stream{static_cast<std::uint32_t>(next_)};
  next_ += 2;
  std::optional<TimePoint> deadline;
  if (request.timeout) deadline = deadline_after(*request.timeout, now);
  Call& call = insert(stream, std::move(request), deadline);
  call.request_sent = false;
  take_turn(stream, call);
  return stream;
}

void CallMultiplexer::cancel(StreamId stream) {
  REQUIRE(!is_server());
  Call& call = open(stream);
  if (!call.over) end_early(stream, call, {Code::cancelled, "the call was cancelled"});
}

void CallMultiplexer::release(StreamId stream) {
  REQUIRE(!is_server());
  cancel(stream);
  erase(stream);
}

void CallMultiplexer::finish_writing(StreamId stream) {
  REQUIRE(!is_server());
  Call& call = open(stream);
  if (call.over) return;
  call.outgoing.finish();
  take_turn(stream, call);
}

const CallRequest& CallMultiplexer::request(StreamId stream) const { return open(stream).request; }

std::optional<TimePoint> CallMultiplexer::deadline(StreamId stream) const { return open(stream).deadline; }

void CallMultiplexer::finish(StreamId stream, Status status) {
  REQUIRE(is_server());
  Call& call = open(stream);
  REQUIRE(!call.end);
  if (call.over) return erase(stream);
  call.end = std::move(status);
  drop_incoming(call);
  take_turn(stream, call);
}

void CallMultiplexer::write(StreamId stream, std::string message) {
  REQUIRE(message.size() <= kMessageMax);
  Call& call = open(stream);
  if (call.over) return;
  REQUIRE(!call.end);
  std::size_t queued_before = call.outgoing.queued();
  call.outgoing.add(std::move(message));
  queued_ += call.outgoing.queued() - queued_before;
  if (queued_ > options_.queued_max)
    return end_early(stream, call, {Code::resource_exhausted, "too many messages wait for the other side to read"});
  take_turn(stream, call);
}

bool CallMultiplexer::writable(StreamId stream) const {
  const Call& call = open(stream);
  return !call.over && call.outgoing.queued() < kQueueLow;
}

std::optional<std::string> CallMultiplexer::read(StreamId stream) {
  Call& call = open(stream);
  std::size_t held_before = call.incoming.held();
  auto message = call.incoming.take();
  held_ -= held_before - call.incoming.held();
  if (message) grant(stream, call);
  return message;
}

bool CallMultiplexer::read_to_end(StreamId stream) const {
  const Call& call = open(stream);
  return call.incoming.empty() && (call.peer_finished || call.over);
}

const Status* CallMultiplexer::over(StreamId stream) const {
  const Call& call = open(stream);
  return call.over ? &*call.over : nullptr;
}

bool CallMultiplexer::exhausted() const { return lost_ || next_ > std::numeric_limits<std::uint32_t>::max(); }

// --- the calls -------------------------------------------------------------------------------------------------------

CallMultiplexer::Call& CallMultiplexer::open(StreamId stream) {
  auto found = calls_.find(stream);
  REQUIRE(found != calls_.end());
  return found->second;
}

const CallMultiplexer::Call& CallMultiplexer::open(StreamId stream) const {
  auto found = calls_.find(stream);
  REQUIRE(found != calls_.end());
  return found->second;
}

CallMultiplexer::Call& CallMultiplexer::insert(StreamId stream, CallRequest request,
                                               std::optional<TimePoint> deadline) {
  auto added = calls_.try_emplace(calls_.end(), stream, std::move(request), options_.window);
  Call& call = added->second;
  call.deadline = deadline;
  if (deadline) deadlines_.insert({*deadline, stream});
  return call;
}

void CallMultiplexer::erase(StreamId stream) {
  Call& call = open(stream);
  drop_deadline(stream, call);
  held_ -= call.incoming.held();
  queued_ -= call.outgoing.queued();
  if (call.in_turn) std::erase(turns_, stream);
  calls_.erase(stream);
}

void CallMultiplexer::check_invariants() const {
  INVARIANT(turns_.size() <= calls_.size());
  INVARIANT(deadlines_.size() <= calls_.size());
  INVARIANT(held_ <= options_.held_max);
  INVARIANT(queued_ <= options_.queued_max);
#ifndef NDEBUG
  std::size_t held = 0;
  std::size_t queued = 0;
  for (const auto& [stream, call] : calls_) {
    held += call.incoming.held();
    queued += call.outgoing.queued();
    INVARIANT(!(call.over && call.end));
    INVARIANT(call.in_turn || !ready(call) || lost_);
  }
  INVARIANT(held == held_);
  INVARIANT(queued == queued_);
#endif
}

}  // namespace sluice::rpc
