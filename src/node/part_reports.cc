#include "node/part_reports.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kAnswerTime{1};
constexpr std::uint64_t kUnansweredMax = 8;

}  // namespace

PartReports::PartReports(net::asio::any_io_executor executor) : answered_(std::move(executor)) {}

std::uint64_t PartReports::ask(std::size_t parts, const OfPart& hears,
                               const std::function<void(std::size_t, const v1::HostCommand&)>& send) {
  parts_.resize(std::max(parts_.size(), parts));
  v1::HostCommand command;
  command.mutable_report()->set_number(++last_);
  for (std::size_t i = 0; i < parts; ++i) {
    if (!hears(i) || parts_[i].unanswered >= kUnansweredMax) continue;
    ++parts_[i].unanswered;
    send(i, command);
  }
  return last_;
}

net::Awaitable<void> PartReports::wait(std::uint64_t number, OfPart runs) {
  TimePoint deadline = Clock::now() + kAnswerTime;
  while (is_awaited(number, runs) && Clock::now() < deadline) co_await answered_.wait(deadline);
  for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i].silent = runs(i) && parts_[i].moved.report() < number;
}

bool PartReports::is_awaited(std::uint64_t number, const OfPart& runs) const {
  for (std::size_t i = 0; i < parts_.size(); ++i)
    if (runs(i) && !parts_[i].silent && parts_[i].moved.report() < number) return true;
  return false;
}

void PartReports::on_answer(std::size_t part, v1::Moved moved) {
  parts_.resize(std::max(parts_.size(), part + 1));
  parts_[part] = {.moved = std::move(moved), .unanswered = 0, .silent = false};
  answered_.notify();
}

void PartReports::on_end() { answered_.notify(); }

const v1::Moved& PartReports::of(std::size_t part) const {
  return part < parts_.size() ? parts_[part].moved : v1::Moved::default_instance();
}

}  // namespace sluice::node
