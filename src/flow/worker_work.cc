#include "flow/worker_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::flow {
namespace {

using link::RecordBatch;
using link::RecordId;
using Refusal = std::unexpected<std::string>;

// How many workers that have ended a record has been with, when it becomes suspect, and when it is given alone.
constexpr std::uint32_t kSuspectAt = 2, kAloneAt = 3;
// A hand holds what is settled in `kAhead`, measured over `kPeriod`.
constexpr Duration kAhead = std::chrono::milliseconds(50), kPeriod = std::chrono::milliseconds(20);

}  // namespace

WorkerWork::WorkerWork(const WorkerWorkOptions& options) : options_(options) {
  set_workers(options_.workers);
  REQUIRE(options_.links >= 1);
  lanes_.resize(options_.lanes ? options_.workers : 1);
  for (Lane& lane : lanes_) lane.waiting.resize(options_.links);
  links_.resize(options_.links);
}

void WorkerWork::set_workers(std::uint32_t workers) {
  REQUIRE(workers >= 1 || options_.joins);
  if (workers > seats_.size()) seats_.resize(workers);
  for (Worker worker = options_.workers; worker < workers; ++worker)
    if (seats_[worker].state == State::retired) seats_[worker] = Seat();
  options_.workers = workers;
}

bool WorkerWork::wants_input(LinkNumber link) const {
  if (links_[link].ended || broken_ || stopped_ || source_.value_or(true)) return false;
  return links_[link].waiting_bytes < options_.waiting_bytes_max;
}

void WorkerWork::on_batch(RecordBatch batch, RecordOrigin origin) {
  REQUIRE(origin.lane < lanes_.size());
  REQUIRE(origin.link < links_.size());
  if (batch.empty()) return;
  batch.set_attempt(0);
  count_waiting(batch, origin.link);
  put_waiting(std::move(batch), origin);
}

void WorkerWork::on_source_end(LinkNumber link) { links_[link].ended = true; }

void WorkerWork::count_waiting(const RecordBatch& batch, LinkNumber link) {
  links_[link].waiting += batch.count();
  links_[link].waiting_bytes += batch.size();
}

void WorkerWork::put_waiting(RecordBatch batch, RecordOrigin origin) {
  lanes_[origin.lane].waiting[origin.link].put(std::move(batch));
}

// --- what a worker says -------------------------------------------------------------------------------------------

WorkerWork::Outcome WorkerWork::on_hello(Worker worker, const link::WorkerHello& hello) {
  Seat& seat = seats_[worker];
  if (seat.state != State::starting) return Refusal("it said hello twice");
  if (hello.major != link::kWorkerMajor)
    return Refusal(
        fmt::format("it speaks version {} of the protocol of workers, and this sluice speaks {}; use the "
                    "library that came with it",
                    hello.major, link::kWorkerMajor));
  if (source_.value_or(hello.source) != hello.source)
    return Refusal(hello.source ? "it is a source, and other workers of its stage take records"
                                : "it takes records, and other workers of its stage are sources");
  source_ = hello.source;
  seat.said_hello = true;
  seat.state = State::open;
  seat.concurrency = std::max(options_.concurrency > 0 ? options_.concurrency : hello.concurrency, 1u);
  seat.window = seat.concurrency;
  return {};
}

WorkerWork::Outcome WorkerWork::on_credit(Worker worker, const link::WorkerCredit& credit) {
  Seat& seat = seats_[worker];
  if (!speaks(seat)) return Refusal("it granted credit before it said hello");
  seat.credit = credit;
  seat.granted = true;
  if (credit.concurrency > 0) seat.concurrency = credit.concurrency;
  return {};
}

WorkerWork::Outcome WorkerWork::on_done(Worker worker, const link::WorkerRange& range, TimePoint now) {
  Seat& seat = seats_[worker];
  if (!speaks(seat)) return Refusal("it said that records are done before it said hello");
  std::vector<std::uint64_t> held;
  for (LinkNumber link = 0; links_.size() > 1 && link < links_.size(); ++link) held.push_back(seat.hand.count(link));
  if (!seat.hand.settle(range.first, range.count))
    return Refusal(range.count == 1 ? fmt::format("it said that record {} is done, which it does not have", range.first)
                                    : fmt::format("it said that the records {} to {} are done, which it does not have",
                                                  range.first, range.first + range.count - 1));
  if (!failures_.empty())
    failures_.erase(failures_.lower_bound(range.first), failures_.lower_bound(range.first + range.count));
  for (LinkNumber link = 0; link < held.size(); ++link)
    if (seat.hand.count(link) < held[link]) note_settled(seat, link);
  on_settled(seat, range.count, now);
  return {};
}

WorkerWork::Outcome WorkerWork::on_failed(Worker worker, const link::WorkerFailure& failure, TimePoint now) {
  Seat& seat = seats_[worker];
  auto record = speaks(seat) ? seat.hand.take(failure.record) : std::nullopt;
  if (!record) return Refusal(fmt::format("it said that record {} failed, which it does not have", failure.record));
  auto& [batch, link] = *record;
  on_settled(seat, 1, now);
  std::uint32_t failures = ++failures_[failure.record];
  if (failures > options_.retries) {
    failures_.erase(failure.record);
    AttemptEnd end{.kind = AttemptEnd::Kind::refused, .status = exec::ProcessStatus::exited(1), .why = failure.reason};
    condemn(worker, link, batch, failures + batch.attempt(), end, Broken::Why::record_failed);
    return {};
  }
  ++retried_;
  ++lane_of(worker).resting;
  count_waiting(batch, link);
  resting_.emplace(now + rest_after(failures), Resting{std::move(batch), {lane_number(worker), link}});
  return {};
}

WorkerWork::Outcome WorkerWork::on_leave(Worker worker) {
  if (!speaks(seats_[worker])) return Refusal("it said that it leaves before it said hello");
  seats_[worker].leaves = true;
  return {};
}

WorkerWork::Outcome WorkerWork::on_finished(Worker worker) {
  Seat& seat = seats_[worker];
  if (!seat.hand.empty())
    return Refusal(fmt::format("it said that it has finished, with {} record{} in hand", seat.hand.count(),
                               seat.hand.count() == 1 ? "" : "s"));
  bool may = seat.state == State::closing || (seat.state == State::open && source_.value_or(false));
  if (!may) return Refusal("it said that it has finished before its input has ended; it leaves first");
  seat.state = State::closing;
  seat.finished = true;
  return {};
}

WorkerWork::Outcome WorkerWork::may_write(Worker worker, RecordId id) const {
  const Seat& seat = seats_[worker];
  if (!speaks(seat)) return Refusal("it wrote before it said hello");
  if (seat.finished) return Refusal("it wrote after it had said that it has finished");
  if (id != 0 && !seat.hand.has(id))
    return Refusal(fmt::format("it wrote an output for record {}, which it does not have", id));
  return {};
}

void WorkerWork::on_joined(Worker worker) {
  REQUIRE(options_.joins && !options_.lanes && worker <= seats_.size());
  if (worker == seats_.size()) seats_.emplace_back();
  Seat& seat = seats_[worker];
  REQUIRE(seat.state == State::none || (seat.joined && seat.state == State::retired));
  seat = Seat();
  seat.joined = true;
  options_.workers = static_cast<std::uint32_t>(seats_.size());
}

void WorkerWork::on_leaving(Worker worker) {
  Seat& seat = seats_[worker];
  if (seat.state == State::none) seat.state = State::retired;
  seat.fresh = false;  // nobody waits for it to begin
  seat.leaves = true;
}

void WorkerWork::doom(Worker worker, std::string why) {
  Seat& seat = seats_[worker];
  if (seat.state == State::none || seat.state == State::retired || seat.state == State::doomed) return;
  seat.state = State::doomed;
  seat.kill = true;
  seat.doomed_for = std::move(why);
}

// --- settling -----------------------------------------------------------------------------------------------------

void WorkerWork::on_settled(Seat& seat, std::uint64_t count, TimePoint now) {
  seat.endings = 0;
  seat.in_period += count;
  seat.settled_any = true;
  seat.quiet_since = now;
  if (seat.hand.empty()) {
    seat.quiet_since.reset();
    seat.careful = seat.alone = false;
    seat.starved = true;
    seat.window = std::min<std::uint64_t>(2 * seat.window, std::max(seat.credit.records, seat.concurrency));
  }
  if (now - seat.period < kPeriod) return;
  if (seat.period != TimePoint{} && !seat.starved) {
    double ahead = std::chrono::duration<double>(kAhead) / std::chrono::duration<double>(now - seat.period);
    seat.window = static_cast<std::uint64_t>(ahead * static_cast<double>(seat.in_period));
  }
  seat.period = now;
  seat.in_period = 0;
  seat.starved = false;
}

void WorkerWork::condemn(Worker worker, LinkNumber link, RecordBatch record, std::uint32_t attempts,
                         const AttemptEnd& end, Broken::Why why) {
  if (!options_.buries)
    return break_with({.why = why,
                       .end = end,
                       .worker = worker,
                       .record = record.first(),
                       .in_hand = 1,
                       .attempts = attempts,
                       .said_hello = true});
  ++burying_;
  dead_.push_back({.record = std::move(record), .attempts = attempts, .end = end, .worker = worker, .link = link});
}

void WorkerWork::break_with(Broken broken) {
  if (!broken_) broken_ = std::move(broken);
}

Duration WorkerWork::rest_after(std::uint32_t times) const {
  Duration rest = options_.backoff_first;
  for (std::uint32_t i = 1; i < times && rest < options_.backoff_max; ++i) rest *= 2;
  return std::min(rest, options_.backoff_max);
}

// --- what to do ---------------------------------------------------------------------------------------------------

void WorkerWork::wake_resting(TimePoint now) {
  while (!resting_.empty() && resting_.begin()->first <= now) {
    Resting woken = std::move(resting_.begin()->second);
    resting_.erase(resting_.begin());
    --lanes_[woken.origin.lane].resting;
    put_waiting(std::move(woken.record), woken.origin);
  }
}

bool WorkerWork::wants_start(Worker worker) const {
  const Seat& seat = seats_[worker];
  return is_wanted(worker) && seat.state == State::none && (seat.fresh || !source_ended() || !lane_of(worker).empty());
}

void WorkerWork::note_settled(Seat& seat, LinkNumber link) {
  seat.settled_of.resize(links_.size());
  seat.settled_of[link] = true;
}

void WorkerWork::count_together(Seat& seat) {
  auto links = std::ranges::count(seat.settled_of, true);
  if (links > 0) ++(links > 1 ? joined_ : alone_);
  seat.settled_of.clear();
}

bool WorkerWork::is_full(LinkNumber link) const {
  auto may_take = [&](const Seat& seat) { return seat.state == State::open && room_for(seat, link) > 0; };
  return links_[link].waiting > 0 && std::ranges::none_of(wanted_seats(), may_take);
}

bool WorkerWork::is_steady() const {
  if (!resting_.empty() || !dead_.empty() || burying_ > 0) return false;
  for (Worker worker = 0; worker < seats_.size(); ++worker) {
    State state = seats_[worker].state;
    bool steady = state == State::open || state == State::retired || (state == State::none && !is_wanted(worker));
    if (!steady) return false;
  }
  return true;
}

WorkerWork::Action WorkerWork::poll(Worker worker, RecordId limit, TimePoint now) {
  Seat& seat = seats_[worker];
  count_together(seat);
  if (seat.kill) {
    seat.kill = false;
    return {.kind = Action::Kind::kill};
  }
  if (stopped_ || broken_) return nothing();
  wake_resting(now);
  switch (seat.state) {
    case State::none:
      if (now < seat.rests_until || !wants_start(worker)) return nothing();
      seat.state = State::starting;
      seat.fresh = false;
      seat.said_hello = seat.granted = seat.leaves = seat.finished = seat.told_end = seat.alone = seat.careful =
          seat.draining = seat.told_quiet = false;
      seat.quiet_since.reset();
      seat.doomed_for.clear();
      seat.credit = {};
      seat.hello_due = now + options_.hello_wait;
      return {.kind = Action::Kind::start};
    case State::starting:
      if (now < seat.hello_due) return nothing();
      doom(worker, fmt::format("it did not say hello within {} s; is it linked with a library of Sluice?",
                               std::chrono::ceil<std::chrono::seconds>(options_.hello_wait).count()));
      return poll(worker, limit, now);
    case State::open:
      return poll_open(worker, limit, now);
    case State::closing:
    case State::doomed:
    case State::retired:
      break;
  }
  return nothing();
}

WorkerWork::Action WorkerWork::poll_open(Worker worker, RecordId limit, TimePoint now) {
  Seat& seat = seats_[worker];
  Lane& lane = lane_of(worker);
  // A source ends when it likes. Others may still have records that will come back; a new process takes those.
  bool takes_no_more = (nothing_to_come(lane) && !may_be_needed(seat)) || !is_wanted(worker);
  if (seat.leaves || (!source_.value_or(true) && takes_no_more)) {
    seat.state = State::closing;
    seat.told_end = true;
    return {.kind = Action::Kind::end};
  }
  if (seat.careful) return nothing();
  if (lane.has_suspects()) {
    if (!seat.hand.empty()) {
      seat.draining = seat.draining || options_.lanes || !somebody_makes_room(lane);
      if (seat.draining) return nothing();
    } else if (lane.first_suspects().first() <= limit && room(seat) > 0) {
      seat.draining = false;
      seat.careful = true;
      seat.alone = &lane.first_suspects() == &lane.alone;
      std::uint64_t count = seat.alone ? 1 : std::min<std::uint64_t>(options_.part_max, room(seat));
      return give(seat, lane.first_suspects(), {.count = count}, limit, now);
    }
  }
  seat.draining = false;
  if (options_.lanes && lane.resting > 0) return nothing();
  auto portion = next_portion(seat, lane, limit);
  return portion ? give(seat, lane.waiting[portion->link], *portion, limit, now) : nothing();
}

// One that has joined, for what others have in hand and may lose.
bool WorkerWork::may_be_needed(const Seat& seat) const {
  return seat.joined && seat.hand.empty() &&
         std::ranges::any_of(seats_, [](const Seat& each) { return !each.hand.empty(); });
}

// Of the links that have something for it now, the one whose first record came first.
std::optional<WorkerWork::Portion> WorkerWork::next_portion(const Seat& seat, const Lane& lane, RecordId limit) const {
  std::optional<Portion> next;
  for (LinkNumber link = 0; link < links_.size(); ++link) {
    const link::PendingRecords& waiting = lane.waiting[link];
    if (waiting.empty() || waiting.first() > limit) continue;
    if (next && lane.waiting[next->link].first() < waiting.first()) continue;
    std::uint64_t room = room_for(seat, link);
    std::uint64_t count = room > 0 ? std::min(room, share_of(seat, lane, link)) : 0;
    if (count == 0) continue;
    // Alone it may be longer than any credit.
    if (seat.hand.count(link) == 0 || waiting.front_size() <= bytes_left(seat, link))
      next = Portion{.count = count, .link = link};
  }
  return next;
}

WorkerWork::Allowance WorkerWork::allowance(const Seat& seat) const {
  std::uint64_t ahead = std::max<std::uint64_t>(std::min(seat.window, options_.ahead_max), seat.concurrency);
  if (links_.size() > 1) ahead = seat.concurrency;
  return {.records = std::min<std::uint64_t>(ahead, seat.credit.records),
          .bytes = std::min<std::size_t>(options_.hand_bytes_max, seat.credit.bytes)};
}

// An even part of it, of the records that are over for the first links. Fewer records than links are shared.
WorkerWork::Allowance WorkerWork::allowance(const Seat& seat, LinkNumber link) const {
  Allowance whole = allowance(seat);
  if (links_.size() == 1) return whole;
  auto open = static_cast<std::uint64_t>(std::ranges::count_if(links_, &Link::open));
  if (open <= 1 || whole.records < open) return whole;
  auto before = static_cast<std::uint64_t>(
      std::count_if(links_.begin(), links_.begin() + link, [](const Link& each) { return each.open(); }));
  std::uint64_t over = before < whole.records % open ? 1 : 0;
  return {.records = whole.records / open + over, .bytes = whole.bytes / open};
}

std::uint64_t WorkerWork::room(const Seat& seat) const {
  Allowance whole = allowance(seat);
  bool full = seat.hand.count() >= whole.records || (!seat.hand.empty() && seat.hand.bytes() >= whole.bytes);
  return full ? 0 : whole.records - seat.hand.count();
}

// Of what may be given at once.
std::size_t WorkerWork::bytes_left(const Seat& seat, LinkNumber link) const {
  std::size_t most = links_.size() == 1 ? seat.credit.bytes : allowance(seat, link).bytes;
  return std::min(options_.give_bytes_max, most - std::min(most, seat.hand.bytes(link)));
}

std::uint64_t WorkerWork::room_for(const Seat& seat, LinkNumber link) const {
  Allowance part = allowance(seat, link);
  std::uint64_t held = seat.hand.count(link);
  bool full = held >= part.records || (held > 0 && seat.hand.bytes(link) >= part.bytes);
  if (full || seat.hand.count() >= allowance(seat).records) return 0;
  return std::min(part.records - held, allowance(seat).records - seat.hand.count());
}

std::uint64_t WorkerWork::in_hand_of(LinkNumber link) const {
  std::uint64_t records = 0;
  for (const Seat& seat : seats_) records += seat.hand.count(link);
  return records;
}

std::uint64_t WorkerWork::credit() const {
  std::uint64_t records = 0;
  for (const Seat& seat : wanted_seats())
    if (seat.state == State::open && !seat.careful && !seat.draining) records += room(seat);
  return records;
}

// What waits is for all that could take it: a few records must not go to one of many workers. Requires: it has room.
std::uint64_t WorkerWork::share_of(const Seat& seat, const Lane& lane, LinkNumber link) const {
  if (options_.lanes) return lane.waiting[link].count();
  std::uint64_t takers = 0, records = lane.waiting[link].count();
  for (const Seat& each : wanted_seats()) {
    bool starts = each.state == State::starting || (each.state == State::open && !each.granted);
    bool takes = starts || (each.state == State::open && !each.careful && room_for(each, link) > 0);
    if (!takes) continue;
    ++takers;
    records += each.hand.count(link);
  }
  std::uint64_t fair = (records + takers - 1) / takers;
  std::uint64_t held = seat.hand.count(link);
  return fair > held ? fair - held : 0;
}

bool WorkerWork::somebody_makes_room(const Lane& lane) const {
  return std::ranges::any_of(seats_, [&](const Seat& seat) {
    bool of_lane = !options_.lanes || &lane_of(static_cast<Worker>(&seat - seats_.data())) == &lane;
    return of_lane && (seat.state == State::starting || (seat.state == State::open && (seat.careful || seat.draining)));
  });
}

WorkerWork::Action WorkerWork::give(Seat& seat, link::PendingRecords& from, Portion portion, RecordId limit,
                                    TimePoint now) {
  auto [count, link] = portion;
  std::uint64_t below = limit - from.first() + 1;
  if (below != 0) count = std::min(count, below);
  constexpr std::uint64_t kTableMax = link::kWorkerBatchMax / (4 * link::kRecordSizeWidth);
  RecordBatch batch = from.take(static_cast<std::uint32_t>(std::min(count, kTableMax)), bytes_left(seat, link));
  auto failed = failures_.find(batch.first());
  std::uint32_t failures = failed == failures_.end() ? 0 : failed->second;
  links_[link].waiting -= batch.count();
  links_[link].waiting_bytes -= batch.size();
  if (seat.hand.empty()) {
    seat.settled_any = false;
    seat.quiet_since = now;
  }
  seat.hand.add(batch, link);
  std::uint32_t attempt = batch.attempt() + failures + 1u;
  return {.kind = Action::Kind::give, .batch = std::move(batch), .attempt = attempt};
}

std::optional<TimePoint> WorkerWork::poll_deadline() const {
  std::optional<TimePoint> due;
  if (stopped_ || broken_) return due;
  auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
  if (!resting_.empty()) consider(resting_.begin()->first);
  for (Worker worker = 0; worker < seats_.size(); ++worker) {
    const Seat& seat = seats_[worker];
    if (wants_start(worker)) consider(seat.rests_until);
    if (seat.state == State::starting) consider(seat.hello_due);
  }
  return due;
}

std::optional<WorkerWork::Quiet> WorkerWork::poll_quiet(TimePoint now) {
  for (Worker worker = 0; worker < seats_.size(); ++worker) {
    Seat& seat = seats_[worker];
    if (!is_watched(seat) || now < *seat.quiet_since + options_.quiet_wait) continue;
    seat.told_quiet = true;
    return Quiet{.worker = worker, .in_hand = seat.hand.count(), .was_idle = !seat.settled_any};
  }
  return std::nullopt;
}

std::optional<TimePoint> WorkerWork::quiet_deadline() const {
  std::optional<TimePoint> due;
  for (const Seat& seat : seats_)
    if (is_watched(seat)) due = std::min(due.value_or(TimePoint::max()), *seat.quiet_since + options_.quiet_wait);
  return due;
}

void WorkerWork::on_deaf(TimePoint now) {
  for (Seat& seat : seats_)
    if (seat.quiet_since) seat.quiet_since = now;
}

std::optional<WorkerWork::Dead> WorkerWork::poll_dead() {
  if (dead_.empty()) return std::nullopt;
  Dead dead = std::move(dead_.front());
  dead_.pop_front();
  return dead;
}

// --- the end of a process -----------------------------------------------------------------------------------------

void WorkerWork::on_ended(Worker worker, AttemptEnd end, TimePoint now) {
  Seat& seat = seats_[worker];
  REQUIRE(seat.state != State::none && seat.state != State::retired);
  seat.kill = false;  // it has ended by itself meanwhile
  if (!seat.doomed_for.empty()) {
    end.kind = AttemptEnd::Kind::lost;
    end.why = seat.doomed_for;
  }
  std::uint64_t in_hand = seat.hand.count();
  give_back(worker, end);
  settle_seat(worker, end, in_hand, now);
}

void WorkerWork::give_back(Worker worker, const AttemptEnd& end) {
  Seat& seat = seats_[worker];
  Lane& lane = lane_of(worker);
  const bool singles_out = links_.size() == 1;
  for (auto& [batch, link] : seat.hand.take_all()) {
    std::uint32_t attempts = batch.attempt() + 1u;
    if ((seat.alone || !singles_out) && attempts > options_.losses) {
      while (!batch.empty()) {
        RecordBatch record = batch.take_front(1);
        failures_.erase(record.first());
        condemn(worker, link, std::move(record), attempts, end, Broken::Why::record_died);
      }
      continue;
    }
    retried_ += batch.count();
    batch.set_attempt(static_cast<std::uint16_t>(std::min<std::uint32_t>(attempts, 0xffff)));
    count_waiting(batch, link);
    bool suspect = singles_out && attempts >= kSuspectAt, alone = singles_out && (seat.alone || attempts >= kAloneAt);
    (alone ? lane.alone : suspect ? lane.suspects : lane.waiting[link]).put(std::move(batch));
  }
  seat.alone = seat.careful = seat.draining = false;
}

// Whether the seat is filled anew.
void WorkerWork::settle_seat(Worker worker, const AttemptEnd& end, std::uint64_t in_hand, TimePoint now) {
  Seat& seat = seats_[worker];
  bool in_order = seat.finished && end.kind == AttemptEnd::Kind::succeeded;
  bool source = source_.value_or(false);
  bool end_counts = seat.told_end && !seat.finished && in_hand == 0 && !seat.leaves;
  if (seat.joined && !end_counts && !(source && !in_order)) {
    seat.state = State::retired;
    return;
  }
  Broken broken{.end = end, .worker = worker, .in_hand = in_hand, .said_hello = seat.said_hello};
  // What it writes at its end belongs to no record: no other process could write that.
  if (seat.told_end && !seat.finished && in_hand == 0 && !stopped_) {
    broken.why = Broken::Why::end_lost;
    return break_with(std::move(broken));
  }
  if (in_order) {
    // One that was told the end of its input has not chosen to end: it may be needed once more.
    bool by_itself = seat.leaves || source;
    seat.state = by_itself && options_.restart != Restart::always ? State::retired : State::none;
    if (source && seat.state == State::retired) return;
  } else {
    seat.state = options_.restart == Restart::never ? State::retired : State::none;
    if (source && seat.state == State::retired) {
      broken.why = Broken::Why::source_lost;
      return break_with(std::move(broken));
    }
    ++seat.endings;
    seat.rests_until = now + rest_after(seat.endings);
    if (seat.state == State::none && in_hand == 0 && seat.endings > options_.endings_max) {
      broken.why = Broken::Why::idle_endings;
      broken.attempts = seat.endings;
      return break_with(std::move(broken));
    }
  }
  if (seat.state != State::retired) return;
  bool nobody = std::ranges::all_of(wanted_seats(), [](const Seat& each) { return each.state == State::retired; });
  bool is_over = source_ended() && lane_of(worker).empty() && resting_.empty();
  if (((nobody && !options_.joins) || options_.lanes) && !is_over) break_with(std::move(broken));
}

std::uint32_t WorkerWork::running() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      seats_, [](const Seat& seat) { return seat.state != State::none && seat.state != State::retired; }));
}

bool WorkerWork::finished() const {
  if (running() > 0 || burying_ > 0 || !resting_.empty()) return false;
  if (source_.value_or(false))
    return std::ranges::all_of(wanted_seats(), [](const Seat& seat) { return seat.state == State::retired; });
  bool nothing_waits = std::ranges::all_of(lanes_, [](const Lane& lane) { return lane.empty(); });
  bool all_began = std::ranges::none_of(wanted_seats(), [](const Seat& seat) { return seat.fresh; });
  return source_ended() && nothing_waits && all_began;
}

}  // namespace sluice::flow
