#include "node/job_stage_runner.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <span>
#include <utility>
#include <variant>

#include "node/dead_letters.h"

namespace sluice::node {
namespace {

using Kind = JobStageEnd::Kind;

// How soon a terminal is looked at again that another process group reads now.
constexpr Duration kBackgroundWait = std::chrono::milliseconds(200);
// Processes that never stop writing must not keep the stage from its other duties.
constexpr std::uint32_t kStepsMax = 64;

void drain(int wake) {
  std::uint64_t count = 0;
  (void)!::read(wake, &count, sizeof count);
}

}  // namespace

JobStageEnd JobStageRunner::run(int stop, int wake) {
  for (std::uint32_t steps = 1; !frame_.ended(); ++steps) {
    bool moved = step();
    bool looks = !moved || steps % kStepsMax == 0;
    if (!frame_.ended() && looks && !wait(stop, wake, !moved)) frame_.end({.kind = Kind::reader_gone});
  }
  publish();
  if (frame_.ended()->kind == Kind::broken) return *frame_.ended();  // who writes, and who reads, is killed before
  frame_.close_taps();
  work_.close_output();
  return *frame_.ended();
}

// True: something was moved.
bool JobStageRunner::step() {
  frame_.look_at_clock();
  if (frame_.stopped()) work_.stop();
  if (auto workers = frame_.take_wanted_workers()) work_.set_workers(*workers);
  hear_changes();
  bool moved = read();
  if (!frame_.ended()) moved = work_.drive() || moved;
  if (!frame_.ended()) moved = work_.pass_on() || moved;
  see_to_reader();
  if (!frame_.ended()) moved = bury() || moved;
  if (frame_.ended()) return moved;
  due_ = moved ? std::nullopt : work_.deadline();
  frame_.counts().steady = !moved && !due_;
  if (auto quiet = moved ? std::nullopt : work_.quiet_deadline()) due_ = std::min(due_.value_or(*quiet), *quiet);
  judge();
  return moved;
}

void JobStageRunner::hear_changes() {
  StageJobs& jobs = frame_.jobs();
  while (auto change = jobs.poll_change()) {
    if (change->kind != StageJobs::SeatChange::Kind::joined) {
      work_.on_leaving(change->worker);
      continue;
    }
    frame_.make_room(change->worker + 1);
    work_.on_joined(change->worker);
  }
  for (std::uint32_t worker = 0; worker < frame_.counts().workers.size(); ++worker)
    if (jobs.has_joined(worker) && !jobs.is_released(worker) && work_.retired(worker)) jobs.release(worker);
}

bool JobStageRunner::reads(LinkNumber link) const {
  return !frame_.ending() && !told_end_[link] && work_.wants_input(link);
}

// Links take turns to be the first: a rate is for all of them.
bool JobStageRunner::read() {
  bool moved = false;
  const auto links = static_cast<LinkNumber>(frame_.taps().size());
  for (LinkNumber i = 0; i < links && !frame_.ended(); ++i) moved = read((first_ + i) % links) || moved;
  first_ = (first_ + 1) % links;
  return moved;
}

bool JobStageRunner::read(LinkNumber link) {
  if (!reads(link)) return false;
  RecordTap& tap = frame_.taps()[link];
  switch (tap.read()) {
    case RecordTap::Status::failed:
      frame_.breaks(125, tap.why());
      return false;
    case RecordTap::Status::nothing:
      return false;
    case RecordTap::Status::ended:
      work_.on_source_end(link);
      told_end_[link] = frame_.counts().links[link].ended = true;
      return true;
    case RecordTap::Status::moved:
      break;
  }
  return tap.records().empty() || work_.take(link, tap.records());  // it may have read a part of one
}

bool JobStageRunner::bury() {
  bool moved = false;
  while (auto dead = work_.poll_dead()) {
    moved = true;
    DeadLetter letter{.flow = frame_.options().flow,
                      .stage = frame_.options().stage,
                      .command = frame_.options().text,
                      .number = dead->number,
                      .attempts = dead->attempts,
                      .end = dead->end,
                      .stderr_tail = std::move(dead->stderr_tail),
                      .record = std::move(dead->record)};
    if (auto buried = frame_.options().letters->bury(letter); !buried) {
      frame_.breaks(125, buried.error());
      return true;
    }
    frame_.counts().dead += dead->records;
    frame_.counts().links[dead->link].dead += dead->records;
    work_.on_buried(*dead);
  }
  return moved;
}

void JobStageRunner::publish() {
  frame_.counts().output_waits = work_.output_waits();
  work_.count();
  frame_.publish([this](std::uint32_t worker) { return work_.state_of(worker); });
}

void JobStageRunner::judge() {
  publish();
  if (!frame_.ending())
    if (auto broken = work_.poll_broken()) return frame_.breaks(broken->first, std::move(broken->second));
  if (frame_.ending() && work_.none_runs()) {
    bool gone = frame_.reader_gone();
    frame_.end({.kind = gone ? Kind::reader_gone : Kind::ended,
                .status = gone ? exec::ProcessStatus::ended_by(SIGPIPE) : work_.status()});
  } else if (work_.finished()) {
    frame_.end({.kind = Kind::ended, .status = work_.status()});
  }
}

// As in a shell, who writes for nobody gets SIGPIPE, and nothing new is begun.
void JobStageRunner::see_to_reader() {
  if (!frame_.reader_gone() || std::exchange(told_reader_gone_, true)) return;
  work_.stop();
  frame_.close_taps();
  work_.on_reader_gone();
}

// --- waiting ------------------------------------------------------------------------------------------------------

// For something to happen, or only looks whether it has. False: told to stop.
bool JobStageRunner::wait(int stop, int wake, bool blocks) {
  bool in_background = false;
  short output_events = work_.output_waits() ? POLLOUT : 0;  // without events: only that nobody reads any more
  polled_.clear();
  polled_.push_back({.fd = stop, .events = POLLIN, .revents = 0});
  polled_.push_back({.fd = wake, .events = POLLIN, .revents = 0});
  polled_.push_back({.fd = frame_.jobs().descriptor(), .events = frame_.jobs().events(), .revents = 0});
  polled_.push_back(
      {.fd = frame_.reader_gone() ? -1 : work_.output_descriptor(), .events = output_events, .revents = 0});
  for (LinkNumber link = 0; link < told_end_.size(); ++link) {
    const RecordTap& tap = frame_.taps()[link];
    if (!reads(link) || tap.has_records()) continue;
    if (!tap.in_background()) polled_.push_back({.fd = tap.descriptor(), .events = POLLIN, .revents = 0});
    in_background = in_background || tap.in_background();
  }
  const std::size_t ours = polled_.size();
  work_.add_waits(polled_);
  ::poll(polled_.data(), polled_.size(), blocks ? timeout_ms(in_background) : 0);
  frame_.look_at_clock();
  if (polled_[0].revents != 0) return false;
  if (polled_[1].revents != 0) drain(wake);
  if ((polled_[3].revents & POLLERR) != 0) frame_.lose_reader();
  see_to_reader();
  work_.on_ready(std::span(polled_).subspan(ours));
  if (polled_[2].revents != 0) {
    frame_.jobs().flush();
    hear_jobs();
  }
  work_.after_wait();
  return true;
}

void JobStageRunner::hear_jobs() {
  StageJobs& jobs = frame_.jobs();
  bool open = jobs.receive();
  while (auto event = jobs.poll_event()) {
    if (const auto* failed = std::get_if<exec::JobFailed>(&*event)) work_.on_failed(*failed);
    if (const auto* ended = std::get_if<exec::JobEnded>(&*event)) {
      frame_.count_usage(*ended);
      work_.on_ended(*ended);
    }
  }
  if (open) return;
  if (jobs.all_seats_lost()) return frame_.breaks(125, "every host that its processes ran on was lost");
  // The spawner takes no more: the flow was ended, with every process.
  frame_.end({.kind = Kind::ended, .status = exec::ProcessStatus::ended_by(SIGKILL)});
}

int JobStageRunner::timeout_ms(bool in_background) {
  if (in_background) due_ = std::min(due_.value_or(TimePoint::max()), frame_.now() + kBackgroundWait);
  if (!due_) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(*due_ - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
}

}  // namespace sluice::node
