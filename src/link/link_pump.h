#pragma once
// What source, sink and relay share: a place on a loop, the states of a link, and one report of how it ended.
//
//   moving ──> leaving ──> gone       leaving: the end was reported, last words are still on their way
//      └────────────────────^
//
// Threading: belongs to the loop, but for LinkCore, which says for itself.
#include <atomic>
#include <memory>
#include <string>

#include "link/byte_link.h"
#include "link/data_loops.h"
#include "link/local_stream.h"
#include "link/readiness.h"

namespace sluice::link {

/// What the owner's handle and the loop's side know of each other.
struct LinkCore {
  std::atomic<std::uint64_t> moved = 0;
  const net::asio::any_io_executor owner;
  // Of the owner's thread, from the start on.
  OnEnd on_end;
  bool dropped = false;   // the handle is gone: nobody wants to hear
  bool released = false;  // a descriptor is not to be kept
  UniqueFd kept;

  LinkCore(net::asio::any_io_executor whose, OnEnd call) : owner(std::move(whose)), on_end(std::move(call)) {}
};

class LinkPump : public LoopResident, public LoopWaiter, public std::enable_shared_from_this<LinkPump> {
 public:
  LinkPump(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options);

  void start();
  void cancel(const std::string& reason);
  void on_ready() final;
  void on_loop_closing() final;

 protected:
  /// How many batches move before the other links of the loop have their turn.
  static constexpr int kBatchesPerTurn = 16;

  enum class Step {
    moved,  // and there may be more
    waits,  // for something that will call on_ready
    over,   // the end was reported
  };

  /// Opens what needs a loop; may report an end.
  virtual void open() = 0;
  /// Looks at what happened since the last turn, once for each: what the other side said, who is gone.
  virtual Step look() = 0;
  /// One batch, or as much as there is.
  virtual Step move_some() = 0;
  /// Says why to whoever still listens. True: there are last words to wait for.
  virtual bool say_cancelled(const std::string& reason) = 0;
  /// False: last words are still on their way.
  virtual bool has_left() = 0;
  virtual void close_all() = 0;
  /// The link has much to move: its pipes should hold `capacity` bytes, so that the programs around it run longer at a time.
  virtual void enlarge_pipes(std::size_t capacity) { static_cast<void>(capacity); }
  /// What stays open after a bad end.
  virtual UniqueFd take_descriptor() { return UniqueFd(); }

  std::shared_ptr<LinkPump> self() { return shared_from_this(); }
  const DataLoops::Seat& seat() const { return seat_; }
  const LinkOptions& options() const { return options_; }
  /// Bytes of the stream have moved.
  void count(std::size_t bytes);

  /// Reports the end, once. After it: `leave` if there are last words, else `vanish`.
  void report(LinkEnd::Kind kind, std::string message = {}, int error_number = 0);
  Step leave();
  Step vanish();

 private:
  enum class State { moving, leaving, gone };

  void turn();
  void weigh();

  DataLoops::Seat seat_;
  std::shared_ptr<LinkCore> core_;  // with the owner's handle
  LinkOptions options_;
  State state_ = State::moving;
  bool reported_ = false;
  std::uint64_t weighed_ = 0;  // bytes that had moved when it was asked last whether there is much to move
  TimePoint weighed_at_;
  bool enlarged_ = false;
  bool turn_posted_ = false;
};

}  // namespace sluice::link
