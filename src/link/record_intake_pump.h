#pragma once
// An intake on its loop: turns of reading what comes, handing it to the sink, and writing what there is to say.
//
//   moving ──> leaving ──> gone       leaving: the end was reported, last words are still on their way
//      └────────────────────^
//
// Threading: belongs to the loop of its seat, but for RecordIntakeCore, which says for itself.
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "link/data_loops.h"
#include "link/readiness.h"
#include "link/record_intake.h"
#include "link/record_wire.h"

namespace sluice::link {

/// What the owner's handle and the loop's side know of each other.
struct RecordIntakeCore {
  std::atomic<std::uint64_t> received = 0, settled = 0, settled_bytes = 0;
  const net::asio::any_io_executor owner;
  // Of the owner's thread, from the start on.
  RecordIntakeCallbacks callbacks;
  bool dropped = false;   // the handle is gone: nobody wants to hear
  bool released = false;  // a sink is not to be kept
  std::unique_ptr<RecordSink> kept;

  RecordIntakeCore(net::asio::any_io_executor whose, RecordIntakeCallbacks calls)
      : owner(std::move(whose)), callbacks(std::move(calls)) {}
};

/// On the owner's thread, later. The sink is destroyed there in any case.
void post_end(const std::shared_ptr<RecordIntakeCore>& core, RecordIntakeEnd end, std::unique_ptr<RecordSink> sink);

class RecordIntakePump final : public LoopResident,
                               public LoopWaiter,
                               public std::enable_shared_from_this<RecordIntakePump> {
 public:
  RecordIntakePump(DataLoops::Seat seat, std::shared_ptr<RecordIntakeCore> core, const RecordIntakeOptions& options,
                   bool dials, std::unique_ptr<RecordSink> sink);

  void start();
  void on_ready() override;
  void on_loop_closing() override;

  // What the owner wants; nothing once the end was reported.
  void connect(net::Connection::Parts parts);
  void on_dialled(std::uint32_t attempt, RecordDialled dialled);
  void drain();
  void pause(bool on);
  void cancel(const std::string& reason);

 private:
  using Kind = RecordIntakeEnd::Kind;
  enum class State { moving, leaving, gone };

  void turn();
  bool read(TimePoint now);
  bool read_some(TimePoint now, std::span<std::byte> scratch);
  bool hand_out(TimePoint now);
  bool write(TimePoint now);
  bool settle(TimePoint now);
  bool see_to_end(TimePoint now);
  void look_after(TimePoint now);
  void lose_connection(TimePoint now, std::string why);
  void dial();
  void set_alarm(TimePoint now);
  void publish();

  void fail(RecordSink::Failure failure);
  /// Says what is to be said last, and reports.
  void end(Kind kind, std::string message, int error_number = 0);
  void vanish();
  std::shared_ptr<RecordIntakePump> self() { return shared_from_this(); }

  DataLoops::Seat seat_;
  std::shared_ptr<RecordIntakeCore> core_;  // with the owner's handle
  RecordIntakeOptions options_;
  const bool dials_;
  std::unique_ptr<RecordSink> sink_;
  RecordConsumer consumer_;
  std::optional<RecordWire> wire_;
  TimePoint connected_at_{};
  bool heard_ = false;  // anything on this connection

  // While there is no connection:
  std::string why_cut_ = "no connection was made";
  TimePoint missing_until_{};
  std::optional<TimePoint> dial_at_;  // none: an attempt is under way, or the other side dials
  std::uint32_t attempt_ = 0;
  Duration redial_after_{};

  Alarm alarm_;
  std::optional<TimePoint> alarm_at_;
  bool turn_posted_ = false;
  State state_ = State::moving;
};

}  // namespace sluice::link
