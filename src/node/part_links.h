#pragma once
// The links of one part of a flow, on its host: those of its streams, and those of its seats.
//
//   take:    those that others dial wait on this host
//   connect: the others are dialled; on_links_connected when all of them are up
//   start_*: they move what the part reads and writes, until each has ended
//
// A stream has several links if the stage at its other end is one of @all: those of an input are merged into one, line by
// line; those of an output get the same. After a bad end of an input its descriptor stays open until whoever reads it was
// killed (link/byte_link.h).
// Threading: belongs to the control loop; the pumps run on the data loops.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "link/byte_link.h"
#include "link/junction_pump.h"
#include "link/line_merge.h"
#include "node/condition.h"
#include "node/part_owner.h"
#include "node/part_surroundings.h"

namespace sluice::v1 {
class DropLinks;
class LinkEnd;
class Moved;
class PartStream;
class Prepare;
class Redial;
class SeatEnds;
class Waits;
}  // namespace sluice::v1

namespace sluice::node {

class PartLinks final : public std::enable_shared_from_this<PartLinks> {
 public:
  PartLinks(PartSurroundings& surroundings, PartOwner& owner);
  ~PartLinks();

  /// Errors: a sentence; a link that others are to dial can't wait here.
  std::expected<void, std::string> take(const v1::Prepare& prepare);
  void connect();
  /// This end is to dial elsewhere; nothing changes for a link that moves bytes already.
  void redial(const v1::Redial& redial);
  bool redialling() const { return redials_ > 0; }
  /// Returns when nothing is dialled again any more.
  net::Awaitable<void> redialled();

  bool all_connected() const;
  /// Of which link there is no connection, for people.
  std::string missing() const;
  bool empty() const;
  std::size_t input_count() const { return inputs_.size(); }
  std::size_t output_count() const { return outputs_.size(); }
  std::size_t seat_count() const { return seat_count_; }

  /// Requires that all are connected. `own_pipe`: nobody else has its open file description; true if the output has
  /// several links, which all get the same.
  void start_output(std::size_t output, UniqueFd from, bool own_pipe);
  /// The same, for an input. Errors: a sentence.
  std::expected<void, std::string> start_input(std::size_t input, UniqueFd into, bool own_pipe);
  /// Both links of a seat, with pipes of ours: what is to be sent, and what comes. A link of a seat that breaks ends
  /// nothing but this: its pipe closes.
  void start_seat(std::size_t seat, UniqueFd from, UniqueFd into);

  /// The two links of one more seat elsewhere, while the others move: `on_seat_joined` when both are up. If they can't be
  /// made, nothing but these is lost.
  void join_seat(const v1::SeatEnds& seat);
  /// Those of seats that have not joined yet never will.
  void drop_joining();

  /// These, of seats, end now.
  void drop(const v1::DropLinks& links);
  /// What is under way is dropped; a link that does not run yet is closed. The other ends are told `why`.
  void give_up(const std::string& why);
  bool given_up() const { return given_up_; }
  /// What the output has carried so far.
  std::uint64_t output_bytes(std::size_t output) const;
  /// What each input has delivered, and each output taken.
  void fill(v1::Waits& waits) const;
  /// What each of them, but those of seats, has moved.
  void report(v1::Moved& moved) const;
  /// Each has ended.
  bool over() const;

 private:
  struct Link;
  struct Stream {
    std::vector<std::size_t> links;
    std::vector<std::string> marks;            // of an input
    std::optional<link::LineMerge> merge;      // likewise, of several links
    std::optional<link::JunctionPump> copies;  // of an output that has several
    bool merge_over = false;
  };

  bool expect(std::size_t index);
  void forget_expected(Link& link);
  void give_up_joining(Link& link);
  void on_arrived(std::size_t index, net::Connection::Parts parts);
  net::Awaitable<void> connect_all();
  net::Awaitable<void> dial(std::size_t index);
  net::Awaitable<void> dial_again(std::size_t index);
  void on_unreached(Link& link, const std::string& why);
  net::Awaitable<void> connect_seat(std::uint32_t stage, std::size_t seat, std::size_t first);
  void add(const v1::LinkEnd& end, bool is_input, bool of_seat = false);
  void add(const v1::PartStream& stream, bool is_input);
  void start_source(std::size_t index, UniqueFd from, bool own_pipe);
  void start_sink(std::size_t index, UniqueFd into, bool own_pipe);
  link::LinkOptions pump_options(bool own_pipe);
  link::OnEnd on_pump_end(std::size_t index);
  void on_link_end(std::size_t index, const link::LinkEnd& end);
  void on_merge_end(std::size_t input, link::MergeEnd end);
  void start_copies(std::size_t output, UniqueFd from);
  void fail_output(std::size_t output, const std::string& why);
  void deliver_end(std::size_t input);

  PartSurroundings& surroundings_;
  PartOwner& owner_;
  Condition changed_;
  // Of the inputs, of the outputs, then two for each seat. Who is dialling keeps a reference: it grows without moving.
  std::deque<Link> links_;
  std::vector<Stream> inputs_, outputs_;
  std::size_t seat_count_ = 0;
  bool hosts_seats_ = false;
  std::size_t redials_ = 0;  // under way
  bool cut_ = false;
  bool given_up_ = false;
};

}  // namespace sluice::node
