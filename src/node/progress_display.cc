#include "node/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "flow/quoting.h"

namespace sluice::node {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSampleInterval = 200ms;
constexpr Duration kShowInterval = 1s;
constexpr std::size_t kLabelColumns = 14;

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::vector<std::string> labels_of(const flow::FlowSummary& flow) {
  std::vector<std::string> labels;
  for (const flow::StageSummary& stage : flow.stages) {
    if (!stage.name.empty()) {
      labels.push_back(stage.name);
      continue;
    }
    std::string first_word = stage.command.substr(0, stage.command.find_first_of(" \t\n"));
    labels.push_back(std::to_string(labels.size() + 1) + " " + flow::on_one_line(first_word, kLabelColumns));
  }
  return labels;
}

}  // namespace

ProgressDisplay::ProgressDisplay(ProgressMode mode, TimePoint start, StderrQueue& output, const ProgressSource& source)
    : output_(output),
      source_(source),
      progress_(start),
      sample_at_(start + kSampleInterval),
      show_at_(start + kShowInterval) {
  if (mode == ProgressMode::plain) style_ = Style::lines;
  if (mode == ProgressMode::json) style_ = Style::json;
  on_terminal_ = ::isatty(STDERR_FILENO) == 1;
  // Where the flow's own output goes to the terminal, a line of ours in between would spoil it.
  bool alone_on_terminal = on_terminal_ && ::isatty(STDOUT_FILENO) == 0;
  if (mode == ProgressMode::automatic && alone_on_terminal) style_ = Style::in_place;
}

std::optional<TimePoint> ProgressDisplay::deadline() const {
  return active() ? std::optional(sample_at_) : std::nullopt;
}

void ProgressDisplay::on_deadline(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal) {
  if (!active() || now < sample_at_) return;
  sample_at_ = now + kSampleInterval;
  progress_.on_sample(source_.sample(now, flow));
  if (now < show_at_ || must_hold_back(terminal)) return;
  show_at_ = now + kShowInterval;
  show(flow);
}

bool ProgressDisplay::must_hold_back(const Terminal& terminal) const {
  if (!on_terminal_) return false;
  return terminal.is_raw() || (style_ == Style::in_place && terminal.in_background());
}

void ProgressDisplay::show(const flow::FlowSummary& flow) {
  if (!output_.has_room()) return;  // a report that is late is of no use
  flow::ProgressReport report = progress_.report();
  if (style_ == Style::json) return output_.put(to_json(report, flow) + "\n");
  std::string line = flow::progress_line(report, labels_of(flow));
  if (style_ == Style::lines) return output_.say(line);
  // Return, text, erase to the end of the line (ECMA-48 EL), return: what a stage writes then starts at the margin.
  output_.put("\r" + flow::on_one_line(line, terminal_columns() - 1) + "\x1b[K\r");
  shown_ = true;
}

void ProgressDisplay::wipe() {
  if (shown_) output_.put("\r\x1b[K");
  shown_ = false;
}

void ProgressDisplay::finish(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal) {
  // In the background, the line that the cursor is on is no longer ours.
  if (style_ == Style::in_place && !terminal.in_background()) wipe();
  if (style_ == Style::lines || style_ == Style::json) {
    progress_.on_sample(source_.sample(now, flow));
    show(flow);
  }
  style_ = Style::off;
}

}  // namespace sluice::node
