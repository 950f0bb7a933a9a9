#include "flow/each_work.h"

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::flow {

EachWork::EachWork(const EachWorkOptions& options) : options_(options) { set_workers(options_.workers); }

void EachWork::set_workers(std::uint32_t workers) {
  REQUIRE(workers >= 1 || options_.joins);
  options_.workers = workers;
  options_.held_max = std::max<std::size_t>(options_.held_max, 2 * workers);
  free_.clear();
  for (Worker worker = 0; worker < workers; ++worker) {
    free_.insert({.ahead = false, .worker = worker});
    if (!options_.joins) free_.insert({.ahead = true, .worker = worker});
  }
  for (const auto& [batch, place] : running_) free_.erase(place);
}

bool EachWork::wants_batch() const { return !source_ended_ && !broken_ && !stopped_ && !full(); }

void EachWork::on_batch(BatchNumber batch, std::optional<Worker> lane) {
  REQUIRE(held_.empty() || held_.rbegin()->first < batch);
  REQUIRE(!lane || *lane < options_.workers);
  held_[batch] = {.lane = lane};
  startable_.insert(batch);
}

void EachWork::on_joined(Worker worker) {
  REQUIRE(options_.joins && !free_.contains({.worker = worker}));
  left_.erase(worker);
  free_.insert({.worker = worker});
  options_.workers = std::max(options_.workers, worker + 1);
}

void EachWork::on_leaving(Worker worker) {
  left_.insert(worker);
  free_.erase({.worker = worker});
}

bool EachWork::retired(Worker worker) const {
  auto runs = [worker](const auto& each) { return each.second.worker == worker; };
  return left_.contains(worker) && std::ranges::none_of(running_, runs);
}

// --- attempts -----------------------------------------------------------------------------------------------------

std::optional<EachWork::Start> EachWork::poll_start(TimePoint now) {
  if (stopped_ || broken_) return std::nullopt;
  std::set<Worker> held_back;  // lanes whose first batch rests
  for (auto next = startable_.begin(); next != startable_.end() && somebody_free(); ++next) {
    Held& held = held_.at(*next);
    bool first_of_lane = !held.lane || !held_back.contains(*held.lane);
    if (!first_of_lane || !has_worker(held) || (holding_back_ && !goes_first(*next))) continue;
    if (held.state == State::resting && now < held.rests_until) {
      if (held.lane) held_back.insert(*held.lane);
      continue;
    }
    Place place = held.lane ? Place{.worker = *held.lane} : *free_.begin();
    resting_ -= held.state == State::resting ? 1 : 0;
    held.state = State::running;
    free_.erase(place);
    running_[*next] = place;
    Start start{.batch = *next, .worker = place.worker, .attempt = held.attempts() + 1};
    startable_.erase(next);
    return start;
  }
  return std::nullopt;
}

void EachWork::on_ended(BatchNumber batch, AttemptEnd end, TimePoint now) {
  auto place = running_.find(batch);
  REQUIRE(place != running_.end());
  const Worker worker = place->second.worker;
  if (worker < options_.workers && !left_.contains(worker)) free_.insert(place->second);
  running_.erase(place);
  Held& held = held_.at(batch);
  switch (end.kind) {
    case AttemptEnd::Kind::succeeded:
      held.state = State::done;
      if (!options_.ordered || goes_first(batch)) {
        held.state = State::writing;
        writable_.push_back(batch);
      }
      return;
    case AttemptEnd::Kind::failed:
      if (++held.failures <= options_.retries) return run_again(batch, held, now);
      return condemn(batch, held, std::move(end));
    case AttemptEnd::Kind::lost:
      if (++held.losses <= options_.losses) return run_again(batch, held, now);
      return condemn(batch, held, std::move(end));
    case AttemptEnd::Kind::refused:
      ++held.failures;
      return condemn(batch, held, std::move(end));
  }
}

void EachWork::run_again(BatchNumber batch, Held& held, TimePoint now) {
  ++retried_;
  Duration rest = options_.backoff_first;
  for (std::uint32_t i = 1; i < held.attempts() && rest < options_.backoff_max; ++i) rest *= 2;
  held.state = State::resting;
  ++resting_;
  held.rests_until = now + std::min(rest, options_.backoff_max);
  startable_.insert(batch);
}

void EachWork::condemn(BatchNumber batch, Held& held, AttemptEnd end) {
  held.state = State::dead;
  if (options_.buries)
    to_bury_.push_back({.batch = batch, .attempts = held.attempts(), .end = std::move(end)});
  else if (!broken_)
    broken_ = Broken{.batch = batch, .attempts = held.attempts(), .end = std::move(end)};
}

std::optional<TimePoint> EachWork::poll_deadline() const {
  if (stopped_ || broken_ || resting_ == 0) return std::nullopt;
  std::optional<TimePoint> due;
  std::set<Worker> seen;  // lanes
  for (BatchNumber batch : startable_) {
    const Held& held = held_.at(batch);
    bool first_of_lane = !held.lane || seen.insert(*held.lane).second;
    if (!first_of_lane || !has_worker(held) || held.state != State::resting) continue;
    if (holding_back_ && !goes_first(batch)) continue;
    due = due ? std::min(*due, held.rests_until) : held.rests_until;
  }
  return due;
}

// --- what has ended -----------------------------------------------------------------------------------------------

std::optional<BatchNumber> EachWork::poll_write() {
  if (writable_.empty()) return std::nullopt;
  BatchNumber batch = writable_.front();
  writable_.pop_front();
  return batch;
}

std::optional<EachWork::Dead> EachWork::poll_dead() {
  if (to_bury_.empty()) return std::nullopt;
  Dead dead = std::move(to_bury_.front());
  to_bury_.pop_front();
  return dead;
}

void EachWork::on_written(BatchNumber batch) {
  REQUIRE(held_.at(batch).state == State::writing);
  settle(batch);
}

void EachWork::on_buried(BatchNumber batch) {
  REQUIRE(held_.at(batch).state == State::dead);
  settle(batch);
}

void EachWork::settle(BatchNumber batch) {
  held_.erase(batch);
  if (!options_.ordered || held_.empty()) return;
  auto& [first, held] = *held_.begin();
  if (held.state != State::done) return;
  held.state = State::writing;
  writable_.push_back(first);
}

}  // namespace sluice::flow
