#include "node/part_links.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <utility>

#include "base/pipe.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

namespace asio = net::asio;
using net::Awaitable;

constexpr std::chrono::seconds kConnectTime{20};
constexpr std::chrono::seconds kDialTime{3};  // then the other end dials, or somebody relays
constexpr unsigned kClientTries = 3;          // to a client nobody can dial: it tries again itself

std::optional<link::LinkClaim> claim_from(const v1::LinkEnd& end, link::Side dialler) {
  link::LinkClaim claim{.generation = end.generation(), .side = dialler};
  if (end.link_id().size() != claim.link.bytes.size() || end.token().size() != claim.token.size()) return std::nullopt;
  std::copy(end.link_id().begin(), end.link_id().end(), claim.link.bytes.begin());
  std::copy(end.token().begin(), end.token().end(), claim.token.begin());
  return claim;
}

}  // namespace

struct PartLinks::Link {
  v1::LinkEnd end;
  bool is_input = false;
  bool of_seat = false;
  bool joining = false;                         // while all others move
  std::size_t stream = 0;                       // of the inputs, or of the outputs
  bool expected = false;                        // it may be the other end that dials
  std::optional<net::Connection::Parts> parts;  // connected, and not pumping yet
  std::optional<link::ByteLink> pump;
  bool over = false;
  std::uint32_t attempts = 0;  // of ours to dial

  // The dialler is the other end.
  link::Side other_side() const { return is_input ? link::Side::producer : link::Side::consumer; }
  link::Side own_side() const { return is_input ? link::Side::consumer : link::Side::producer; }
};

namespace {

v1::HostEvent ended_event(const v1::LinkEnd& end, bool is_input, v1::LinkEnded::Kind kind, std::uint64_t bytes,
                          const std::string& message) {
  v1::HostEvent event;
  v1::LinkEnded& ended = *event.mutable_link_ended();
  ended.set_link_id(end.link_id());
  ended.set_kind(kind);
  ended.set_bytes_moved(bytes);
  ended.set_message(message);
  ended.set_is_input(is_input);
  return event;
}

v1::LinkEnded::Kind kind_of(link::LinkEnd::Kind kind) {
  switch (kind) {
    case link::LinkEnd::Kind::ended:
      return v1::LinkEnded::KIND_ENDED;
    case link::LinkEnd::Kind::reader_closed:
      return v1::LinkEnded::KIND_READER_CLOSED;
    case link::LinkEnd::Kind::failed_local:
      return v1::LinkEnded::KIND_FAILED;
    default:
      return v1::LinkEnded::KIND_CUT;
  }
}

}  // namespace

PartLinks::PartLinks(PartSurroundings& surroundings, PartOwner& owner)
    : surroundings_(surroundings), owner_(owner), changed_(surroundings.executor()) {}

PartLinks::~PartLinks() {
  for (Link& link : links_) forget_expected(link);
}

bool PartLinks::empty() const { return links_.empty(); }

// --- waiting and dialling -----------------------------------------------------------------------------------------

std::expected<void, std::string> PartLinks::take(const v1::Prepare& prepare) {
  for (const v1::PartStream& stream : prepare.inputs()) add(stream, true);
  for (const v1::PartStream& stream : prepare.outputs()) add(stream, false);
  auto has_links = [](const Stream& stream) { return !stream.links.empty(); };
  if (!std::ranges::all_of(inputs_, has_links) || !std::ranges::all_of(outputs_, has_links))
    return std::unexpected("the description of a stream is damaged: it has no link");
  for (const v1::SeatEnds& seat : prepare.seats()) {
    add(seat.requests(), prepare.hosts_seats(), true);
    add(seat.replies(), !prepare.hosts_seats(), true);
  }
  hosts_seats_ = prepare.hosts_seats();
  seat_count_ = static_cast<std::size_t>(prepare.seats_size());
  for (std::size_t i = 0; i < links_.size(); ++i) {
    links_[i].expected = expect(i);
    if (links_[i].end.how() == v1::LinkEnd::HOW_LISTEN && !links_[i].expected)
      return std::unexpected("this link can't wait here: too many do, or its description is damaged");
  }
  return {};
}

void PartLinks::add(const v1::LinkEnd& end, bool is_input, bool of_seat) {
  links_.push_back({.end = end, .is_input = is_input, .of_seat = of_seat});
}

void PartLinks::add(const v1::PartStream& stream, bool is_input) {
  std::vector<Stream>& streams = is_input ? inputs_ : outputs_;
  Stream& added = streams.emplace_back();
  for (const v1::LinkEnd& end : stream.ends()) {
    added.links.push_back(links_.size());
    add(end, is_input);
    links_.back().stream = streams.size() - 1;
  }
  added.marks.assign(stream.marks().begin(), stream.marks().end());
  added.marks.resize(added.links.size());
}

bool PartLinks::expect(std::size_t index) {
  LinkRegistry* registry = surroundings_.registry();
  auto claim = claim_from(links_[index].end, links_[index].other_side());
  if (registry == nullptr || !claim) return false;
  return registry->expect(*claim, [weak = weak_from_this(), index](net::Connection::Parts parts) {
    if (auto self = weak.lock()) self->on_arrived(index, std::move(parts));
  });
}

void PartLinks::forget_expected(Link& link) {
  if (!std::exchange(link.expected, false)) return;
  if (auto claim = claim_from(link.end, link.other_side())) surroundings_.registry()->forget(claim->link, claim->side);
}

void PartLinks::on_arrived(std::size_t index, net::Connection::Parts parts) {
  if (given_up_ || links_[index].over) return;
  if (links_[index].pump) return;
  // The end of another link may be behind a node that relays it, and is what a message has to name.
  if (!links_[index].end.peer_name().empty()) parts.remote = links_[index].end.peer_name();
  links_[index].parts = std::move(parts);  // the newer one counts: who dials again has given up the other
  changed_.notify();
}

void PartLinks::connect() { owner_.spawn(connect_all()); }

Awaitable<void> PartLinks::connect_all() {
  TimePoint deadline = Clock::now() + kConnectTime;
  for (std::size_t i = 0; i < links_.size(); ++i)
    if (links_[i].end.how() == v1::LinkEnd::HOW_DIAL) owner_.spawn(dial(i));
  while (!all_connected() && !given_up_ && Clock::now() < deadline) co_await changed_.wait(deadline);
  if (given_up_) co_return;
  if (!all_connected()) co_return owner_.fail(kRefusedStatus, missing());
  owner_.on_links_connected();
}

bool PartLinks::all_connected() const {
  return std::ranges::all_of(links_, [](const Link& link) { return link.parts.has_value(); });
}

std::string PartLinks::missing() const {
  for (const Link& link : links_)
    if (!link.parts)
      return fmt::format("no connection from {} within {} s", link.end.peer_name(), kConnectTime.count());
  return "no connection";
}

void PartLinks::redial(const v1::Redial& redial) {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    if (link.end.link_id() != redial.link_id() || link.pump) continue;
    link.parts.reset();  // whoever dialled us had no answer, and has given up
    link.end.set_address(redial.address());
    link.end.set_node_id(redial.node_id());
    ++redials_;
    owner_.spawn(dial_again(i));
  }
}

Awaitable<void> PartLinks::dial_again(std::size_t index) {
  co_await dial(index);
  --redials_;
  changed_.notify();
}

Awaitable<void> PartLinks::redialled() {
  while (redials_ > 0 && !given_up_) co_await changed_.wait();
}

Awaitable<void> PartLinks::dial(std::size_t index) {
  const v1::LinkEnd& end = links_[index].end;
  auto claim = claim_from(end, links_[index].own_side());
  LinkAddress to{.node = NodeId::parse(end.node_id())};
  if (!end.address().empty()) {
    auto at = net::parse_host_port(end.address());
    if (!at) co_return owner_.fail(kRefusedStatus, at.error());
    to.at = *at;
  }
  if (!claim) co_return owner_.fail(kRefusedStatus, "the description of a link is damaged");
  unsigned tries = surroundings_.registry() == nullptr ? kClientTries : 1;
  for (unsigned tried = 1;; ++tried) {
    claim->attempt = ++links_[index].attempts;
    auto parts = co_await surroundings_.dial(to, *claim, Clock::now() + kDialTime);
    if (parts) co_return on_arrived(index, std::move(*parts));
    bool again = parts.error().kind == net::NetErrorKind::timed_out && tried < tries && !given_up_;
    if (!again) co_return on_unreached(links_[index], parts.error().message);
  }
}

void PartLinks::on_unreached(Link& link, const std::string& why) {
  if (link.parts || link.over) return;  // the other end was quicker
  const std::string& address = link.end.address();
  v1::HostEvent event;
  event.mutable_unreached()->set_link_id(link.end.link_id());
  event.mutable_unreached()->set_message(
      fmt::format("cannot reach {} ({}): {}", link.end.peer_name(), address.empty() ? "the node" : address, why));
  if (surroundings_.registry() != nullptr) return owner_.emit(std::move(event));
  if (link.joining) return give_up_joining(link);
  owner_.fail(kRefusedStatus, event.unreached().message());
}

// --- seats that join ----------------------------------------------------------------------------------------------

void PartLinks::join_seat(const v1::SeatEnds& seat) {
  if (given_up_) return;
  std::size_t first = links_.size(), number = seat_count_++;
  add(seat.requests(), false, true);
  add(seat.replies(), true, true);
  for (std::size_t i : {first, first + 1}) {
    links_[i].joining = true;
    links_[i].expected = expect(i);
  }
  owner_.spawn(connect_seat(seat.stage(), number, first));
}

Awaitable<void> PartLinks::connect_seat(std::uint32_t stage, std::size_t seat, std::size_t first) {
  TimePoint deadline = Clock::now() + kConnectTime;
  Link &requests = links_[first], &replies = links_[first + 1];
  for (std::size_t i : {first, first + 1})
    if (links_[i].end.how() == v1::LinkEnd::HOW_DIAL) owner_.spawn(dial(i));
  auto waits = [&] { return !requests.over && !replies.over && !(requests.parts && replies.parts); };
  while (waits() && Clock::now() < deadline) co_await changed_.wait(deadline);
  bool connected = requests.parts && replies.parts && !requests.over && !replies.over;
  if (connected) requests.joining = replies.joining = false;
  if (connected && owner_.on_seat_joined(stage, seat)) co_return;
  give_up_joining(requests);
  give_up_joining(replies);
  owner_.check_over();
}

void PartLinks::give_up_joining(Link& link) {
  forget_expected(link);
  link.parts.reset();
  link.over = true;
  changed_.notify();
}

void PartLinks::drop_joining() {
  for (Link& link : links_)
    if (link.joining && !link.over) give_up_joining(link);
}

// --- moving -------------------------------------------------------------------------------------------------------

link::LinkOptions PartLinks::pump_options(bool own_pipe) {
  return {.owner = surroundings_.executor(), .descriptor_is_ours = own_pipe};
}

void PartLinks::start_output(std::size_t output, UniqueFd from, bool own_pipe) {
  if (outputs_[output].links.size() > 1) return start_copies(output, std::move(from));
  start_source(outputs_[output].links.front(), std::move(from), own_pipe);
}

// The slowest of them closes the tap; one that wants no more leaves the others in peace.
void PartLinks::start_copies(std::size_t output, UniqueFd from) {
  link::PumpPlan plan;
  plan.inputs.push_back({.from = std::move(from), .name = "the output", .cut = {}});
  for (std::size_t index : outputs_[output].links) {
    auto pipe = make_pipe();
    if (!pipe) return fail_output(output, fmt::format("cannot make a pipe: {}", std::strerror(pipe.error())));
    plan.links.push_back({.link = {.input = 0, .output = plan.outputs.size()}, .name = links_[index].end.peer_name()});
    plan.outputs.push_back({.into = std::move(pipe->write_end), .name = links_[index].end.peer_name()});
    start_source(index, std::move(pipe->read_end), true);
  }
  auto on_end = [weak = weak_from_this(), executor = surroundings_.executor(), output](link::RecordStreamEnd end) {
    if (end.kind != link::RecordStreamEnd::Kind::failed) return;
    asio::post(executor, [weak, output, why = std::move(end.why)] {
      if (auto self = weak.lock()) self->fail_output(output, why);
    });
  };
  auto copies = link::JunctionPump::start(
      std::move(plan), [](std::size_t) {}, std::move(on_end));
  if (!copies) return fail_output(output, fmt::format("cannot copy the output: {}", std::strerror(copies.error())));
  outputs_[output].copies.emplace(*std::move(copies));
}

void PartLinks::fail_output(std::size_t output, const std::string& why) {
  owner_.emit(ended_event(links_[outputs_[output].links.front()].end, false, v1::LinkEnded::KIND_FAILED, 0, why));
}

void PartLinks::start_seat(std::size_t seat, UniqueFd from, UniqueFd into) {
  std::size_t requests = links_.size() - 2 * (seat_count_ - seat), replies = requests + 1;
  if (links_[requests].is_input) std::swap(requests, replies);
  start_source(requests, std::move(from), true);
  start_sink(replies, std::move(into), true);
}

void PartLinks::start_source(std::size_t index, UniqueFd from, bool own_pipe) {
  Link& link = links_[index];
  forget_expected(link);
  link.pump.emplace(link::start_source(surroundings_.loops(), std::move(from), std::move(*link.parts),
                                       pump_options(own_pipe), on_pump_end(index)));
  link.parts.reset();
}

std::expected<void, std::string> PartLinks::start_input(std::size_t index, UniqueFd into, bool own_pipe) {
  Stream& input = inputs_[index];
  bool merging = input.links.size() > 1 || !input.marks[0].empty();
  if (!merging) {
    start_sink(input.links.front(), std::move(into), own_pipe);
    return {};
  }
  std::vector<UniqueFd> merged;
  for (std::size_t link : input.links) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(fmt::format("cannot make a pipe: {}", std::strerror(pipe.error())));
    merged.push_back(std::move(pipe->read_end));
    start_sink(link, std::move(pipe->write_end), true);
  }
  auto on_end = [weak = weak_from_this(), executor = surroundings_.executor(), index](link::MergeEnd end) {
    asio::post(executor, [weak, index, end] {
      if (auto self = weak.lock()) self->on_merge_end(index, end);
    });
  };
  auto merge = link::LineMerge::start(std::move(merged), input.marks, std::move(into), std::move(on_end));
  if (!merge) return std::unexpected(fmt::format("cannot merge the workers' lines: {}", std::strerror(merge.error())));
  input.merge.emplace(*std::move(merge));
  return {};
}

void PartLinks::start_sink(std::size_t index, UniqueFd into, bool own_pipe) {
  Link& link = links_[index];
  forget_expected(link);
  link.pump.emplace(link::start_sink(surroundings_.loops(), std::move(*link.parts), std::move(into),
                                     pump_options(own_pipe), on_pump_end(index)));
  link.parts.reset();
}

link::OnEnd PartLinks::on_pump_end(std::size_t index) {
  return [weak = weak_from_this(), index](link::LinkEnd end) {
    if (auto self = weak.lock()) self->on_link_end(index, end);
  };
}

// --- the end ------------------------------------------------------------------------------------------------------

void PartLinks::on_link_end(std::size_t index, const link::LinkEnd& end) {
  using Kind = link::LinkEnd::Kind;
  Link& link = links_[index];
  if (link.over) return;
  link.over = true;
  bool lost = end.kind == Kind::cut || end.kind == Kind::aborted || end.kind == Kind::failed_local;
  if (link.of_seat) {
    if (lost) owner_.on_seat_lost();
    if (link.is_input) link.pump->release();
    // Whoever has the records of the stage tells: from here, a flow that was ended looks like a loss.
    if (lost && !hosts_seats_)
      owner_.emit(ended_event(link.end, link.is_input, kind_of(end.kind), end.bytes, end.message));
    return owner_.check_over();
  }
  if (lost && link.is_input) {
    cut_ = true;
    owner_.on_input_lost();  // before its stdin closes: what was read is not all there was
  }
  if (link.is_input && end.kind == Kind::ended && !inputs_[link.stream].merge) deliver_end(link.stream);
  if (link.is_input) link.pump->release();
  if (end.kind != Kind::cancelled)
    owner_.emit(ended_event(link.end, link.is_input, kind_of(end.kind), end.bytes, end.message));
  owner_.check_over();
}

void PartLinks::on_merge_end(std::size_t input, link::MergeEnd end) {
  inputs_[input].merge_over = true;
  if (end == link::MergeEnd::failed)
    owner_.emit(ended_event(links_[inputs_[input].links[0]].end, true, v1::LinkEnded::KIND_FAILED, 0, "cannot write"));
  if (end == link::MergeEnd::ended) deliver_end(input);
  owner_.check_over();
}

void PartLinks::deliver_end(std::size_t input) {
  if (!cut_) owner_.on_input_delivered(input);
}

void PartLinks::drop(const v1::DropLinks& links) {
  for (Link& link : links_) {
    bool meant = std::ranges::find(links.link_ids(), link.end.link_id()) != links.link_ids().end();
    if (meant && link.of_seat && link.pump) link.pump->cancel("the host at its other end was lost");
    if (meant && link.joining) give_up_joining(link);
  }
}

void PartLinks::give_up(const std::string& why) {
  if (std::exchange(given_up_, true)) return;
  cut_ = true;
  for (Link& link : links_) {
    forget_expected(link);
    link.parts.reset();
    if (link.pump)
      link.pump->cancel(why);
    else
      link.over = true;
  }
  changed_.notify();
}

std::uint64_t PartLinks::output_bytes(std::size_t output) const {
  const Link& link = links_[outputs_[output].links.front()];
  return link.pump ? link.pump->moved() : 0;
}

// Of a stream of several links nobody asks.
void PartLinks::fill(v1::Waits& waits) const {
  auto moved = [this](const Stream& stream) {
    const Link& link = links_[stream.links.front()];
    return link.pump ? link.pump->moved() : 0;
  };
  for (const Stream& input : inputs_) waits.add_input_bytes(moved(input));
  for (const Stream& output : outputs_) waits.add_output_bytes(moved(output));
}

void PartLinks::report(v1::Moved& moved) const {
  for (const Link& link : links_) {
    if (link.of_seat || !link.pump) continue;
    v1::LinkMoved& message = *moved.add_links();
    message.set_link_id(link.end.link_id());
    message.set_is_input(link.is_input);
    message.set_bytes(link.pump->moved());
  }
}

bool PartLinks::over() const {
  bool merged = std::ranges::all_of(inputs_, [](const Stream& input) { return !input.merge || input.merge_over; });
  return std::ranges::all_of(links_, &Link::over) && (merged || given_up_);
}

}  // namespace sluice::node
