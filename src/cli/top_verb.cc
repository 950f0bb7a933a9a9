#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>

#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/stdout_watch.h"
#include "cli/top_screen.h"
#include "cli/top_view.h"
#include "cli/verbs.h"
#include "flow/quoting.h"
#include "node/condition.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::cli {
namespace {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

constexpr std::size_t kFlowsMax = 1000;  // of one command
constexpr Duration kIntervalMin = std::chrono::milliseconds(100);
// For an answer: nodes give each other two seconds.
constexpr std::chrono::seconds kAnswerTime{10};

struct TopOptions {
  NodeOptions node;
  std::vector<std::string> flows;
  Duration interval = std::chrono::seconds(1);
  bool plain = false;
  bool json = false;
  bool once = false;
  bool workers = false;
};

bool use_colour() { return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

// At even times; but an answer that took long does not make the time of the next rates short.
TimePoint next_look(TimePoint last, Duration interval) {
  TimePoint now = Clock::now(), even = last + interval;
  return even - now < interval / 2 ? now + interval : even;
}

std::uint64_t unix_ms_now() {
  auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

// Asks a node for the counters of flows, and remembers those of before, of which rates are made.
class Sampler final {
 public:
  Sampler(NodeSession& session, const TopOptions& options) : session_(session), options_(options) {}

  Awaitable<std::expected<TopSample, Failure>> next() {
    v1::ReadCountersRequest request;
    for (const std::string& flow : options_.flows) request.add_flows(flow);
    rpc::CallOptions call{.timeout = kAnswerTime};
    auto answer = co_await rpc::call<v1::ReadCountersResponse>(session_.channel(), "sluice.v1.Flows/ReadCounters",
                                                               request, std::move(call));
    if (!answer) co_return std::unexpected(failure_of(answer.error()));
    co_return read(*answer);
  }

 private:
  TopSample read(const v1::ReadCountersResponse& answer) {
    TopSample sample{.silent_nodes = {answer.silent_nodes().begin(), answer.silent_nodes().end()},
                     .unix_ms = unix_ms_now()};
    std::map<std::string, flow::FlowMeter> meters;
    for (const v1::FlowCounters& counters : answer.flows()) {
      flow::FlowMeter& meter = meters[counters.id()];
      if (auto known = meters_.find(counters.id()); known != meters_.end()) meter = std::move(known->second);
      sample.flows.push_back(meter.on_counters(counters_from(counters)));
    }
    meters_ = std::move(meters);  // those that have ended are forgotten
    return sample;
  }

  NodeSession& session_;
  const TopOptions& options_;
  std::map<std::string, flow::FlowMeter> meters_;  // by the id of the flow
};

// --- line by line -------------------------------------------------------------------------------------------------

std::string text_of(const TopSample& sample, const TopOptions& options) {
  if (options.json) return to_json(sample) + "\n";
  bool terminal = ::isatty(STDOUT_FILENO) == 1;
  TopStyle style{.colour = use_colour(), .workers = options.workers, .short_ids = terminal};
  std::string text;
  for (const std::string& line : head_lines(sample, style)) text += line + "\n";
  for (const flow::FlowReport& report : sample.flows)
    for (const std::string& line : lines_of(report, sample.unix_ms, style)) text += line + "\n";
  return text + (options.once ? "" : "\n");
}

// The first sample is the base of the rates, and not shown.
Awaitable<int> print_samples(NodeSession& session, TopOptions options) {
  Sampler sampler(session, options);
  auto executor = co_await net::asio::this_coro::executor;
  node::Condition pause(executor);
  bool closed = false;
  StdoutWatch reader(executor, [&] {
    closed = true;
    pause.notify();
  });
  bool base = true;
  for (TimePoint next = Clock::now(); !closed; next = next_look(next, options.interval)) {
    while (!closed && Clock::now() < next) co_await pause.wait(next);
    if (closed) break;
    auto sample = co_await sampler.next();
    if (!sample) co_return refuse(sample.error().status, sample.error().message);
    if (std::exchange(base, false)) continue;
    if (int printed = print(text_of(*sample, options)); printed != kSuccess || !stdout_has_reader()) co_return printed;
    if (!options.once) continue;
    if (sample->silent_nodes.empty()) co_return kSuccess;
    co_return refuse(kTimedOut, fmt::format("no answer from {}; their flows are missing here",
                                            fmt::join(sample->silent_nodes, " ")));
  }
  co_return kSuccess;
}

// --- full screen --------------------------------------------------------------------------------------------------

class FullScreen final {
 public:
  FullScreen(net::asio::any_io_executor executor, NodeSession& session, TopOptions options)
      : options_(std::move(options)), sampler_(session, options_), changed_(executor), ended_(executor) {
    screen_.emplace(executor, TopScreen::Handlers{.on_key = [this](Key key) { on_key(key); },
                                                  .on_resize = [this] { draw(); },
                                                  .on_end = [this](int signal) { end(signal); }});
  }

  Awaitable<int> run() {
    draw();
    co_await (follow() || until_ended());
    screen_.reset();
    if (failure_) co_return refuse(failure_->status, failure_->message);
    if (signal_ == 0) co_return kSuccess;
    ::signal(signal_, SIG_DFL);
    ::raise(signal_);
    co_return 128 + signal_;
  }

 private:
  Awaitable<void> until_ended() {
    while (!over_) co_await ended_.wait();
  }

  Awaitable<void> follow() {
    for (TimePoint next = Clock::now(); !over_; next = next_look(next, options_.interval)) {
      while (!over_ && Clock::now() < next) co_await changed_.wait(next);
      auto sample = co_await sampler_.next();
      if (!sample) {
        failure_ = sample.error();
        over_ = true;
        break;
      }
      sample_ = *std::move(sample);
      first_ = std::min(first_, sample_->flows.empty() ? 0 : sample_->flows.size() - 1);
      draw();
    }
  }

  void on_key(Key key) {
    switch (key) {
      case Key::quit:
        return end(0);
      case Key::up:
        if (first_ > 0) --first_;
        break;
      case Key::down:
        if (sample_ && first_ + 1 < sample_->flows.size()) ++first_;
        break;
      case Key::first:
        first_ = 0;
        break;
      case Key::workers:
        options_.workers = !options_.workers;
        break;
      case Key::other:
        return;
    }
    draw();
  }

  void end(int signal) {
    signal_ = signal;
    over_ = true;
    ended_.notify();
    changed_.notify();
  }

  void draw() {
    if (!screen_) return;
    TopScreen::Size size = TopScreen::size();
    TopStyle style{.columns = size.columns, .colour = use_colour(), .workers = options_.workers};
    std::vector<std::string> lines;
    if (sample_)
      lines = head_lines(*sample_, style);
    else
      lines.push_back("sluice top: asking");
    lines.push_back(flow::on_one_line("q quits, j and k go through the flows, w shows workers", size.columns));
    for (std::size_t i = first_; sample_ && i < sample_->flows.size() && lines.size() < size.rows; ++i) {
      lines.emplace_back();
      for (std::string& line : lines_of(sample_->flows[i], sample_->unix_ms, style)) lines.push_back(std::move(line));
    }
    screen_->show(lines);
  }

  TopOptions options_;
  Sampler sampler_;
  node::Condition changed_, ended_;
  std::optional<TopSample> sample_;
  std::size_t first_ = 0;  // the flow at the top
  std::optional<Failure> failure_;
  int signal_ = 0;
  bool over_ = false;
  std::optional<TopScreen> screen_;
};

Awaitable<int> show_screen(NodeSession& session, TopOptions options) {
  FullScreen screen(co_await net::asio::this_coro::executor, session, std::move(options));
  co_return co_await screen.run();
}

}  // namespace

int top_verb(const Arguments& arguments) {
  TopOptions options;
  std::string interval = "1s";
  OptionReader reader({.verb = "top",
                       .description =
                           "Show what flows move, stage by stage, what their workers do with their time, and "
                           "what holds them back.",
                       .usage = "[--interval DURATION] [--plain|--json] [--once] [FLOW...]",
                       .examples = "  sluice top\n  sluice top --once nightly\n  sluice top --json --interval 10s\n"});
  reader.value("--interval", interval, "DURATION", "between two looks (1s)");
  reader.flag("--plain", options.plain, "tables, one behind the other; so it is where stdout is no terminal");
  reader.flag("--json", options.json, "one object a line for each look");
  reader.flag("--once", options.once, "one look, and end");
  reader.flag("--workers", options.workers, "each worker of stages that have many");
  reader.operands(options.flows, 0, kFlowsMax, "a flow", OperandKind::running_flow);
  add_node_options(reader, options.node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto duration = parse_duration(interval);
  if (!duration) return refuse(kUsage, "top: --interval: " + duration.error());
  if (*duration < kIntervalMin) return refuse(kUsage, "top: --interval is 100ms at least");
  options.interval = *duration;
  if (options.plain && options.json) return refuse(kUsage, "top: --plain and --json exclude each other");
  bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  bool full_screen = terminal && !options.plain && !options.json && !options.once;
  NodeOptions node = options.node;
  return with_node(std::move(node), [options, full_screen](NodeSession& session) {
    return full_screen ? show_screen(session, options) : print_samples(session, options);
  });
}

}  // namespace sluice::cli
