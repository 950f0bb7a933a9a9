#include "flow/map_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::flow {
namespace {

using link::RecordBatch;

// How many processes that a signal ended a record has been with, when it becomes suspect, and when it is given alone.
constexpr std::uint32_t kSuspectAt = 2, kAloneAt = 3;
// The window holds what is answered in `kAhead`, measured over `kPeriod`.
constexpr Duration kAhead = std::chrono::milliseconds(100), kPeriod = std::chrono::milliseconds(50);
constexpr std::uint64_t kWindowMin = 2;

}  // namespace

MapWork::MapWork(const MapWorkOptions& options) : options_(options) {
  set_workers(options_.workers);
  lanes_.resize(options_.lanes ? options_.workers : 1);
}

void MapWork::set_workers(std::uint32_t workers) {
  REQUIRE(workers >= 1 || options_.joins);
  if (workers > seats_.size()) seats_.resize(workers, Seat{.window = options_.window_records_first});
  for (Worker worker = options_.workers; worker < workers; ++worker)
    if (seats_[worker].state == State::retired) seats_[worker].state = State::none;
  options_.workers = workers;
}

bool MapWork::wants_input() const {
  if (source_ended_ || broken_ || stopped_) return false;
  std::size_t bytes = 0;
  for (const Lane& lane : lanes_) bytes += lane.waiting.bytes() + lane.suspects.bytes() + lane.alone.bytes();
  return bytes < options_.waiting_bytes_max;
}

void MapWork::on_batch(RecordBatch batch, Worker lane) {
  REQUIRE(lane < lanes_.size());
  if (batch.empty()) return;
  batch.set_attempt(0);
  lanes_[lane].waiting.put(std::move(batch));
}

void MapWork::on_joined(Worker worker) {
  REQUIRE(options_.joins && !options_.lanes && worker <= seats_.size());
  if (worker == seats_.size()) seats_.emplace_back();
  Seat& seat = seats_[worker];
  REQUIRE(seat.state == State::none || (seat.joined && seat.state == State::retired));
  seat = Seat();
  seat.window = options_.window_records_first;
  seat.joined = true;
  options_.workers = static_cast<std::uint32_t>(seats_.size());
}

void MapWork::on_leaving(Worker worker) {
  Seat& seat = seats_[worker];
  if (seat.state == State::none) seat.state = State::retired;
  seat.leaves = true;
}

// --- what a worker is to do ---------------------------------------------------------------------------------------

MapWork::Action MapWork::poll(Worker worker, link::RecordId limit, TimePoint now) {
  using Kind = Action::Kind;
  Seat& seat = seats_[worker];
  Lane& lane = lane_of(worker);
  if (stopped_ || broken_) return {};
  bool has_suspects = lane.has_suspects();
  switch (seat.state) {
    case State::none: {
      if (lane.empty() || now < seat.rests_until || !is_wanted(worker)) return {};
      // Of its last process something is still to be told.
      if (std::ranges::find(dead_, worker, &Dead::worker) != dead_.end()) return {};
      bool careful = has_suspects && lane.first_suspects().first() <= limit;
      if (!careful && (lane.waiting.empty() || lane.waiting.first() > limit)) return {};
      seat.state = careful ? State::careful : State::streaming;
      seat.alone = seat.flush = false;
      return {.kind = Kind::start};
    }
    case State::careful: {
      // Another may have taken them meanwhile.
      if (!has_suspects || lane.first_suspects().first() > limit || !is_wanted(worker)) {
        seat.state = State::streaming;
        return poll(worker, limit, now);
      }
      seat.alone = &lane.first_suspects() == &lane.alone;
      Action action = give(seat, lane.first_suspects(), seat.alone ? 1 : options_.part_max, limit);
      action.ends = true;
      seat.state = State::closing;
      return action;
    }
    case State::streaming: {
      bool over = source_ended_ && lane.empty();
      bool makes_room = has_suspects && (options_.lanes || !somebody_is_careful());
      if (over || makes_room || seat.flush || seat.leaves || !is_wanted(worker)) {
        seat.state = State::closing;
        return {.kind = Kind::close};
      }
      if (room(seat) == 0 || lane.waiting.empty() || lane.waiting.first() > limit) return {};
      std::uint64_t most = std::min(room(seat), share_of(seat, lane, now));
      if (most == 0) return {};
      return give(seat, lane.waiting, static_cast<std::uint32_t>(most), limit);
    }
    case State::closing:
    case State::retired:
      break;
  }
  return {};
}

std::uint64_t MapWork::room(const Seat& seat) const {
  if (seat.unanswered_bytes >= options_.window_bytes || seat.unanswered >= seat.window) return 0;
  return seat.window - seat.unanswered;
}

std::uint64_t MapWork::credit() const {
  std::uint64_t records = 0;
  for (const Seat& seat : wanted_seats())
    if (seat.state == State::streaming) records += room(seat);
  return records;
}

// What waits is for all that could take it: a few records must not go to one of many workers.
std::uint64_t MapWork::share_of(const Seat& seat, const Lane& lane, TimePoint now) const {
  if (options_.lanes) return lane.waiting.count();
  std::uint64_t takers = 0, records = lane.waiting.count();
  for (const Seat& each : wanted_seats()) {
    bool takes = each.state == State::none ? now >= each.rests_until : each.state == State::streaming && room(each) > 0;
    if (!takes) continue;
    ++takers;
    records += each.unanswered;
  }
  std::uint64_t fair = (records + takers - 1) / takers;
  return fair > seat.unanswered ? fair - seat.unanswered : 0;
}

MapWork::Action MapWork::give(Seat& seat, link::PendingRecords& from, std::uint32_t count, link::RecordId limit) {
  std::uint64_t below = limit - from.first() + 1;
  if (below != 0) count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, below));
  RecordBatch batch = from.take(count, options_.give_bytes_max);
  seat.given.push_back(batch);
  seat.unanswered += batch.count();
  seat.unanswered_bytes += batch.size();
  return {.kind = Action::Kind::give, .batch = std::move(batch)};
}

bool MapWork::somebody_is_careful() const {
  return std::ranges::any_of(wanted_seats(), [](const Seat& seat) {
    return seat.state == State::none || seat.state == State::careful || seat.state == State::closing;
  });
}

std::optional<TimePoint> MapWork::poll_deadline() const {
  std::optional<TimePoint> due;
  if (stopped_ || broken_) return due;
  for (Worker worker = 0; worker < options_.workers; ++worker) {
    const Seat& seat = seats_[worker];
    const Lane& lane = lane_of(worker);
    bool waits = seat.state == State::none && seat.endings > 0 && !lane.empty();
    if (waits) due = due ? std::min(*due, seat.rests_until) : seat.rests_until;
  }
  return due;
}

// --- answers ------------------------------------------------------------------------------------------------------

std::expected<std::vector<MapWork::Answered>, std::string> MapWork::on_answers(Worker worker, std::uint32_t count,
                                                                               TimePoint now) {
  Seat& seat = seats_[worker];
  if (count > seat.unanswered)
    return std::unexpected(
        fmt::format("it has answered {} record{} more than it was given; a program of @map writes one record for each "
                    "that it reads",
                    count - seat.unanswered, count - seat.unanswered == 1 ? "" : "s"));
  std::vector<Answered> answered;
  if (count > 0) seat.endings = 0;
  seat.unanswered -= count;
  adapt_window(seat, count, now);
  if (count == 1 && seat.unanswered > 0) one_by_one_ = true;
  while (count > 0) {
    RecordBatch& batch = seat.given.front();
    std::uint32_t taken = std::min(count, batch.count());
    answered.push_back({.first = batch.first(), .count = taken});
    std::size_t before = batch.size();
    batch.drop_front(taken);
    seat.unanswered_bytes -= before - batch.size();
    if (batch.empty()) seat.given.pop_front();
    count -= taken;
  }
  return answered;
}

void MapWork::adapt_window(Seat& seat, std::uint32_t answers, TimePoint now) {
  seat.burst = std::max<std::uint64_t>(answers, seat.burst - seat.burst / 16);
  seat.in_period += answers;
  if (seat.unanswered == 0) {
    seat.starved = true;
    seat.window = std::min(2 * seat.window, options_.window_records_max);
  }
  if (now - seat.period < kPeriod) return;
  bool measured = seat.period != TimePoint{};
  if (measured && !seat.starved) {
    double ahead = std::chrono::duration<double>(kAhead) / std::chrono::duration<double>(now - seat.period);
    auto wanted = static_cast<std::uint64_t>(ahead * static_cast<double>(seat.in_period));
    seat.window = std::clamp(std::max(wanted, 2 * seat.burst), kWindowMin, options_.window_records_max);
  }
  seat.period = now;
  seat.in_period = 0;
  seat.starved = false;
}

bool MapWork::on_stalled(Worker worker) {
  Seat& seat = seats_[worker];
  if (one_by_one_ || seat.unanswered_bytes >= options_.stall_bytes || seat.window >= options_.window_records_max)
    return false;
  seat.window = std::min(2 * seat.window, options_.window_records_max);
  return true;
}

// --- the end of a process -----------------------------------------------------------------------------------------

void MapWork::on_ended(Worker worker, AttemptEnd end, TimePoint now) {
  Seat& seat = seats_[worker];
  REQUIRE(seat.state != State::none && seat.state != State::retired);
  bool asked = seat.state == State::closing;
  std::uint64_t unanswered = seat.unanswered;
  auto burying = burying_;
  if (unanswered > 0) {
    if (end.kind == AttemptEnd::Kind::succeeded)
      break_with(worker, end, unanswered, 1);
    else
      give_back(worker, end);
  }
  seat.given.clear();
  seat.unanswered = seat.unanswered_bytes = 0;
  // One that ends by itself with everything answered has said that it is done with its input.
  bool done = !asked && unanswered == 0 && end.kind != AttemptEnd::Kind::lost;
  seat.state = done || seat.leaves ? State::retired : State::none;
  bool nobody = std::ranges::all_of(wanted_seats(), [](const Seat& each) { return each.state == State::retired; });
  if (done && (nobody || options_.lanes) && !options_.joins && !broken_) break_with(worker, end, 0, 1);
  if (end.kind == AttemptEnd::Kind::succeeded) return;
  // How it ended is the affair of its one record: it is counted there, and what comes next need not wait for it.
  bool blames_one = seat.alone && unanswered > 0;
  if (blames_one && (end.kind == AttemptEnd::Kind::lost || burying_ > burying)) {
    seat.endings = 0;
    return;
  }
  Duration rest = options_.backoff_first;
  for (std::uint32_t i = 0; i < seat.endings && rest < options_.backoff_max; ++i) rest *= 2;
  ++seat.endings;
  seat.rests_until = now + std::min(rest, options_.backoff_max);
}

void MapWork::give_back(Worker worker, const AttemptEnd& end) {
  Seat& seat = seats_[worker];
  bool failed = end.kind == AttemptEnd::Kind::failed;
  std::uint32_t allowed = failed ? options_.retries : options_.losses;
  if (failed && allowed == 0 && !options_.buries) return break_with(worker, end, seat.unanswered, 1);
  Lane& lane = lane_of(worker);
  for (RecordBatch& batch : seat.given) {
    std::uint32_t attempts = batch.attempt() + 1u;
    if (seat.alone && attempts > allowed) {
      condemn(worker, std::move(batch), end);
      continue;
    }
    retried_ += batch.count();
    batch.set_attempt(static_cast<std::uint16_t>(std::min<std::uint32_t>(attempts, 0xffff)));
    // A status is the answer to a record far more often than a signal is: the culprit is looked for at once.
    bool alone = failed || seat.alone || attempts >= kAloneAt;
    (alone ? lane.alone : attempts >= kSuspectAt ? lane.suspects : lane.waiting).put(std::move(batch));
  }
}

void MapWork::condemn(Worker worker, RecordBatch record, const AttemptEnd& end) {
  std::uint32_t attempts = record.attempt() + 1u;
  if (!options_.buries) return break_with(worker, end, 1, attempts);
  ++burying_;
  dead_.push_back({.record = std::move(record), .attempts = attempts, .end = end, .worker = worker});
}

void MapWork::break_with(Worker worker, const AttemptEnd& end, std::uint64_t unanswered, std::uint32_t attempts) {
  if (!broken_) broken_ = Broken{.end = end, .worker = worker, .unanswered = unanswered, .attempts = attempts};
}

std::optional<MapWork::Dead> MapWork::poll_dead() {
  if (dead_.empty()) return std::nullopt;
  Dead dead = std::move(dead_.front());
  dead_.pop_front();
  return dead;
}

std::uint32_t MapWork::running() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      seats_, [](const Seat& seat) { return seat.state != State::none && seat.state != State::retired; }));
}

bool MapWork::finished() const {
  bool nothing_waits = std::ranges::all_of(lanes_, [](const Lane& lane) { return lane.empty(); });
  return source_ended_ && nothing_waits && burying_ == 0 && running() == 0;
}

}  // namespace sluice::flow
