#pragma once
// A supply on its loop: turns of reading what consumers say, pulling the source, and writing what the machine has for each.
//
//   moving ──> leaving ──> gone       leaving: the end was reported, last words are still on their way
//      └────────────────────^
//
// Threading: belongs to the loop of its seat, but for RecordSupplyCore, which says for itself.
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "link/data_loops.h"
#include "link/readiness.h"
#include "link/record_supply.h"
#include "link/record_wire.h"

namespace sluice::link {

/// What the owner's handle and the loop's side know of each other.
struct RecordSupplyCore {
  std::atomic<std::uint64_t> accepted = 0, acknowledged = 0, waiting_bytes = 0;
  const net::asio::any_io_executor owner;
  // Of the owner's thread, from the start on.
  RecordSupplyCallbacks callbacks;
  bool dropped = false;  // the handle is gone: nobody wants to hear

  RecordSupplyCore(net::asio::any_io_executor whose, RecordSupplyCallbacks calls)
      : owner(std::move(whose)), callbacks(std::move(calls)) {}
};

/// On the owner's thread, later.
void post_end(const std::shared_ptr<RecordSupplyCore>& core, RecordSupplyEnd end);

class RecordSupplyPump final : public LoopResident,
                               public LoopWaiter,
                               public std::enable_shared_from_this<RecordSupplyPump> {
 public:
  RecordSupplyPump(DataLoops::Seat seat, std::shared_ptr<RecordSupplyCore> core, const RecordSupplyOptions& options,
                   std::unique_ptr<RecordSource> source);

  void start();
  void on_ready() override;
  void on_loop_closing() override;

  // What the owner wants; nothing once the end was reported.
  void connect(ConsumerNumber number, std::uint32_t generation, net::Connection::Parts parts);
  void lose(ConsumerNumber number, std::string reason);
  void retry(RecordBatch record);
  void bury(const RecordBatch& record);
  void cancel(const std::string& reason);

 private:
  enum class State { moving, leaving, gone };
  struct Connection {
    Connection(RecordWire with, TimePoint until) : wire(std::move(with)), attach_until(until) {}
    RecordWire wire;
    TimePoint attach_until;
    std::uint64_t taken = 0;  // bytes, when it was looked at last
    TimePoint moved{};        // when that grew, or nothing waited for it
  };
  using Connections = std::map<ConsumerNumber, Connection>;

  void turn();
  void look_after(TimePoint now);
  void look_for_stall(ConsumerNumber number, Connection& connection, TimePoint now);
  bool read_all(TimePoint now);
  bool read(ConsumerNumber number, Connection& connection);
  bool pull();
  bool write_all(TimePoint now);
  RecordWire::Result<bool> write(ConsumerNumber number, Connection& connection);
  void lose_connection(Connections::iterator connection, TimePoint now);
  void part_from(Connections::iterator connection);
  void take_note_of(ConsumerNumber number);
  bool tell_owner();
  void tell(RecordSupplyEvent event);
  void tell_source();
  void publish();

  bool see_to_end(TimePoint now);
  void set_alarm(TimePoint now);
  void end(RecordSupplyEnd::Kind kind, std::string message);
  void part_from_all();
  void vanish();
  std::shared_ptr<RecordSupplyPump> self() { return shared_from_this(); }

  DataLoops::Seat seat_;
  std::shared_ptr<RecordSupplyCore> core_;  // with the owner's handle
  RecordSupplyOptions options_;
  std::unique_ptr<RecordSource> source_;
  RecordProducer producer_;
  Connections connections_;
  std::list<RecordWire> leaving_;  // the machine knows no more of these
  Alarm alarm_;
  std::optional<TimePoint> alarm_at_;
  std::optional<TimePoint> end_until_;  // consumers may confirm the end until then
  std::set<ConsumerNumber> known_;      // that came, or will not
  std::uint64_t settled_told_ = 0;      // how many were settled when the source was told last
  bool turn_posted_ = false;
  State state_ = State::moving;
};

}  // namespace sluice::link
