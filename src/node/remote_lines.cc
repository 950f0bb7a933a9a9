#include "node/remote_lines.h"

#include <chrono>
#include <deque>
#include <optional>
#include <set>
#include <utility>

#include "node/condition.h"
#include "node/task_group.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

constexpr std::chrono::seconds kDialTime{4};
constexpr unsigned kDialTries = 3;  // where packets get lost, another attempt is the better chance
// For a node with a part that runs already: it may have been cut off, and a node that was just started meets the others
// one by one.
constexpr std::chrono::seconds kResumeTime{60};
constexpr std::chrono::milliseconds kResumePause{100};
// For nodes to say that parts have ended, when this one ends.
constexpr std::chrono::seconds kCloseTime{2};

// One line. A command leaves it once it was written.
struct Line {
  Line(net::asio::any_io_executor executor, std::size_t of_part, HostListener& to)
      : changed(std::move(executor)), part(of_part), listener(&to) {}
  Condition changed;
  std::deque<v1::HostCommand> commands;
  bool closed = false;  // no more of them
  bool cut = false;     // the call that there was has ended
  std::size_t part;
  HostListener* listener;  // null once the orchestrator has closed the line
  std::optional<rpc::ClientCall> call;
  v1::Resume resume;      // which part it is
  bool outlives = false;  // the part goes on unless it is told to finish
  bool started = false;   // ... and runs

  void put(v1::HostCommand command) {
    if (!closed) commands.push_back(std::move(command));
    changed.notify();
  }
  void close() {
    listener = nullptr;
    closed = true;
    changed.notify();
  }
  void lose(const std::string& reason) {
    if (listener != nullptr) listener->on_lost(part, reason);
  }
};

class RemoteSession final : public HostSession {
 public:
  explicit RemoteSession(std::shared_ptr<Line> line) : line_(std::move(line)) {}
  ~RemoteSession() override { close(); }
  void send(const v1::HostCommand& command) override {
    if (command.has_prepare() && command.prepare().keep().outlives_orchestrator()) {
      line_->outlives = true;
      line_->resume.set_flow_id(command.prepare().flow_id());
      line_->resume.set_part(command.prepare().part());
    }
    line_->put(command);
  }
  void close() override {
    if (line_->closed) return;
    if (line_->outlives) {
      v1::HostCommand command;
      command.mutable_finish();
      line_->put(std::move(command));
    }
    end(!line_->outlives);
  }
  void let_go() override {
    if (!line_->closed) end(true);
  }

 private:
  void end(bool at_once) {
    line_->close();
    if (at_once && line_->call) line_->call->cancel();
  }

  std::shared_ptr<Line> line_;
};

}  // namespace

struct RemoteLines::Impl : std::enable_shared_from_this<Impl> {
  explicit Impl(NodeCore node_core) : core(node_core), tasks(core.executor, core.log), changed(core.executor) {}

  NodeCore core;
  TaskGroup tasks;
  Condition changed;
  std::set<std::shared_ptr<Line>> lines;
  bool closing = false;

  std::unique_ptr<HostSession> open(const NodeId& node, std::shared_ptr<Line> line) {
    lines.insert(line);
    tasks.spawn(speak(shared_from_this(), node, line));
    return std::make_unique<RemoteSession>(line);
  }

  Awaitable<std::expected<std::shared_ptr<rpc::Channel>, net::NetError>> dial(NodeId to, Line& line) {
    TimePoint until = Clock::now() + kResumeTime;
    Condition pause(core.executor);
    auto channel = co_await core.peers.get(to, Clock::now() + kDialTime);
    for (unsigned tried = 1; !channel && line.listener != nullptr; ++tried) {
      bool again = line.started ? Clock::now() < until
                                : tried < kDialTries && channel.error().kind == net::NetErrorKind::timed_out;
      if (!again) break;
      if (line.started) co_await pause.wait(Clock::now() + kResumePause);
      channel = co_await core.peers.get(to, Clock::now() + kDialTime);
    }
    co_return channel;
  }

  // A line that breaks is made again, if the part goes on without one.
  static Awaitable<void> speak(std::shared_ptr<Impl> self, NodeId to, std::shared_ptr<Line> line) {
    std::string lost;
    bool again = true;
    while (again && line->listener != nullptr) {
      auto channel = co_await self->dial(to, *line);
      if (line->listener == nullptr) break;
      if (!channel) {
        lost = channel.error().message;
        break;
      }
      rpc::Status status = co_await self->speak_over(**channel, line);
      lost = status.ok() ? "the node ended the part" : status.message;
      again = line->started && !(*channel)->alive() && !self->closing;
    }
    line->closed = true;
    self->lines.erase(line);
    self->changed.notify();
    line->lose(lost);
  }

  static Awaitable<void> write_commands(std::shared_ptr<Line> line) {
    if (line->started) {
      v1::HostCommand resume;
      *resume.mutable_resume() = line->resume;
      if (!co_await line->call->write(resume.SerializeAsString())) co_return;
    }
    while (!line->cut) {
      if (line->commands.empty() && line->closed) co_return;
      if (line->commands.empty()) {
        co_await line->changed.wait();
        continue;
      }
      auto written = co_await line->call->write(line->commands.front().SerializeAsString());
      if (!written) co_return;
      line->commands.pop_front();
    }
  }

  Awaitable<rpc::Status> speak_over(rpc::Channel& channel, std::shared_ptr<Line> line) {
    line->call.emplace(channel.start("sluice.v1.Workers/Host", {.timeout = std::nullopt}));
    TaskGroup writing(core.executor, core.log);
    line->cut = false;
    writing.spawn(write_commands(line));
    while (auto bytes = co_await line->call->read()) {
      v1::HostEvent event;
      bool listens = line->listener != nullptr;
      if (!event.ParseFromString(*bytes) || (!listens && !line->outlives)) break;
      if (!listens) continue;  // it was told to finish, and ends the call
      bool errors = event.has_error_output();
      line->started = line->started || (line->outlives && event.has_started());
      line->listener->on_event(line->part, std::move(event));
      if (errors && line->listener != nullptr) co_await line->listener->room();
    }
    line->cut = true;
    line->changed.notify();
    line->call->cancel();
    rpc::Status status = co_await line->call->finish();
    co_await writing.wait();
    co_return status;
  }
};

RemoteLines::RemoteLines(NodeCore core) : impl_(std::make_shared<Impl>(core)) {}

RemoteLines::~RemoteLines() = default;

std::unique_ptr<HostSession> RemoteLines::open(const NodeId& node, std::size_t part, HostListener& listener) {
  return impl_->open(node, std::make_shared<Line>(impl_->core.executor, part, listener));
}

std::unique_ptr<HostSession> RemoteLines::resume(const NodeId& node, const FlowId& flow, std::size_t part,
                                                 HostListener& listener) {
  auto line = std::make_shared<Line>(impl_->core.executor, part, listener);
  line->resume.set_flow_id(flow.text());
  line->resume.set_part(static_cast<std::uint32_t>(part));
  line->outlives = line->started = true;
  return impl_->open(node, std::move(line));
}

Awaitable<void> RemoteLines::close() {
  auto impl = impl_;
  impl->closing = true;
  TimePoint deadline = Clock::now() + kCloseTime;
  while (!impl->lines.empty() && Clock::now() < deadline) co_await impl->changed.wait(deadline);
  for (const auto& line : impl->lines)
    if (line->call) line->call->cancel();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
