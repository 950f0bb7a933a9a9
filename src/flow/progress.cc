#include "flow/progress.h"

#include <fmt/format.h>

#include "base/require.h"

namespace sluice::flow {
namespace {

constexpr double kNewestWeight = 0.3;  // of the running average: about three samples
constexpr double kFull = 0.5;

double rate(ByteCount now, ByteCount before, double seconds) {
  return seconds > 0 && now > before ? static_cast<double>(now.value - before.value) / seconds : 0;
}

}  // namespace

void Progress::on_sample(ProgressSample sample) {
  if (reported_.empty()) reported_.resize(sample.stages.size());
  fullness_.resize(sample.link_fill.size());
  for (std::size_t i = 0; i < sample.link_fill.size(); ++i) {
    double fill = sample.link_fill[i].value_or(0);
    fullness_[i] += kNewestWeight * (fill - fullness_[i]);
  }
  latest_ = std::move(sample);
}

ProgressReport Progress::report() {
  REQUIRE(!latest_.stages.empty());
  ProgressReport report{.elapsed = latest_.at - start_};
  double seconds = std::chrono::duration<double>(latest_.at - reported_at_).count();
  for (std::size_t i = 0; i < latest_.stages.size(); ++i) {
    const StageSample& now = latest_.stages[i];
    const StageSample& before = reported_[i];
    report.stages.push_back({.running = now.running,
                             .read = now.read,
                             .written = now.written,
                             .read_rate = rate(now.read, before.read, seconds),
                             .written_rate = rate(now.written, before.written, seconds),
                             .duration = now.duration,
                             .linked = now.linked});
  }
  report.holds_back = find_holder();
  reported_ = latest_.stages;
  reported_at_ = latest_.at;
  return report;
}

std::optional<std::size_t> Progress::find_holder() const {
  if (latest_.stages.size() < 2) return std::nullopt;
  for (std::size_t link = fullness_.size(); link-- > 0;)
    if (fullness_[link] > kFull && latest_.stages[link + 1].running) return link + 1;
  for (std::size_t stage = 0; stage < latest_.stages.size(); ++stage)
    if (latest_.stages[stage].running) return stage;
  return std::nullopt;
}

namespace {

// What the last stage writes may go to a file behind our back or nowhere; then what it reads tells more.
std::string stage_progress(const StageProgress& stage, bool last) {
  if (stage.running) return format_rate(last && stage.written_rate == 0 ? stage.read_rate : stage.written_rate);
  ByteCount moved = last && stage.written.value == 0 ? stage.read : stage.written;
  return fmt::format("{} in {}", format_bytes(moved), format_duration(stage.duration));
}

}  // namespace

std::string progress_line(const ProgressReport& report, const std::vector<std::string>& labels) {
  std::string line = format_duration(report.elapsed) + "  ";
  for (std::size_t i = 0; i < report.stages.size(); ++i) {
    bool last = i + 1 == report.stages.size();
    line += fmt::format("{}{} {}", i == 0 ? "" : " | ", labels[i], stage_progress(report.stages[i], last));
  }
  if (report.holds_back) line += fmt::format("  ({} holds back)", labels[*report.holds_back]);
  return line;
}

}  // namespace sluice::flow
