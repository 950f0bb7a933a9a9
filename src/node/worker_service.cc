#include "node/worker_service.h"

#include <deque>
#include <set>

#include "node/condition.h"
#include "node/free_cores.h"
#include "node/mailbox.h"
#include "node/task_group.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

constexpr std::chrono::seconds kDialTime{4};
constexpr unsigned kDialTries = 3;  // where packets get lost, another attempt is the better chance
// Events of one part that wait to be sent before its error output is read no further.
constexpr std::size_t kEventsMax = 32;

}  // namespace

struct WorkerService::Impl : std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, PartSurroundings& around)
      : core(node_core), surroundings(around), tasks(core.executor, core.log), changed(core.executor) {}

  NodeCore core;
  PartSurroundings& surroundings;
  TaskGroup tasks;
  Condition changed;
  std::set<PartHost*> hosts;   // that run now, to be ended when the node ends
  std::set<PartHost*> served;  // of these, those for orchestrators on other nodes
  bool closing = false;

  double own_free_cores() const {
    std::size_t programs = 0;
    for (const PartHost* host : hosts) programs += host->programs();
    return free_cores(programs);
  }

  // --- for an orchestrator elsewhere ------------------------------------------------------------------------------

  struct RemotePart {
    explicit RemotePart(net::asio::any_io_executor executor) : events(std::move(executor)) {}
    Mailbox<v1::HostEvent> events;
    std::unique_ptr<PartHost> host;
  };

  static Awaitable<rpc::Status> serve(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    if (self->closing) co_return rpc::Status{rpc::Code::unavailable, "this node is about to leave"};
    auto part = std::make_shared<RemotePart>(self->core.executor);
    part->host = std::make_unique<PartHost>(
        self->surroundings, [events = &part->events](v1::HostEvent event) { events->put(std::move(event)); },
        [events = &part->events]() -> Awaitable<void> { return events->wait_for_room(kEventsMax); });
    self->hosts.insert(part->host.get());
    self->served.insert(part->host.get());
    TaskGroup writing(self->core.executor, self->core.log);
    writing.spawn(write_events(part, call));
    while (auto bytes = co_await next(call)) {
      v1::HostCommand command;
      if (!command.ParseFromString(*bytes)) break;
      if (command.has_finish()) break;
      part->host->on_command(command);
    }
    part->host->abandon();
    co_await part->host->finished();
    part->events.close();
    co_await writing.wait();
    self->hosts.erase(part->host.get());
    self->served.erase(part->host.get());
    self->changed.notify();
    co_return rpc::Status{};
  }

  static Awaitable<std::optional<std::string>> next(rpc::ServerCall& call) {
    auto message = co_await call.read();
    if (!message) co_return std::nullopt;
    co_return std::move(*message);
  }

  static Awaitable<void> write_events(std::shared_ptr<RemotePart> part, rpc::ServerCall& call) {
    while (auto event = co_await part->events.take())
      if (!co_await call.write(event->SerializeAsString())) part->events.close();
  }
};

namespace {

// --- for an orchestrator on this node -----------------------------------------------------------------------------

class LocalSession final : public HostSession {
 public:
  LocalSession(std::unique_ptr<PartHost> host, std::function<void(std::unique_ptr<PartHost>)> bury)
      : host_(std::move(host)), bury_(std::move(bury)) {}
  ~LocalSession() override { close(); }
  void send(const v1::HostCommand& command) override {
    if (host_) host_->on_command(command);
  }
  void close() override {
    if (!host_) return;
    host_->abandon();
    bury_(std::move(host_));
  }
  void let_go() override {
    if (!host_) return;
    host_->let_go();
    bury_(std::move(host_));
  }

 private:
  std::unique_ptr<PartHost> host_;
  std::function<void(std::unique_ptr<PartHost>)> bury_;
};

// The two ends of a session with another node: the orchestrator's, and the coroutines that speak with the node.
struct RemoteLine {
  RemoteLine(net::asio::any_io_executor executor, std::size_t of_part, HostListener& to)
      : commands(std::move(executor)), part(of_part), listener(&to) {}
  Mailbox<v1::HostCommand> commands;
  std::size_t part;
  HostListener* listener;  // null once the orchestrator has closed the line
  std::optional<rpc::ClientCall> call;

  void lose(const std::string& reason) {
    if (listener != nullptr) listener->on_lost(part, reason);
  }
};

class RemoteSession final : public HostSession {
 public:
  explicit RemoteSession(std::shared_ptr<RemoteLine> line) : line_(std::move(line)) {}
  ~RemoteSession() override { close(); }
  void send(const v1::HostCommand& command) override { line_->commands.put(command); }
  void close() override {
    line_->listener = nullptr;
    line_->commands.close();
    if (line_->call) line_->call->cancel();
  }

 private:
  std::shared_ptr<RemoteLine> line_;
};

Awaitable<void> write_commands(std::shared_ptr<RemoteLine> line) {
  while (auto command = co_await line->commands.take()) {
    if (!line->call || !co_await line->call->write(command->SerializeAsString())) break;
  }
}

Awaitable<void> speak(NodeCore core, NodeId node, std::shared_ptr<RemoteLine> line) {
  auto channel = co_await core.peers.get(node, Clock::now() + kDialTime);
  for (unsigned tried = 1; tried < kDialTries && line->listener != nullptr && !channel; ++tried) {
    if (channel.error().kind != net::NetErrorKind::timed_out) break;
    channel = co_await core.peers.get(node, Clock::now() + kDialTime);
  }
  if (line->listener == nullptr) co_return;
  if (!channel) co_return line->lose(channel.error().message);
  line->call.emplace((*channel)->start("sluice.v1.Workers/Host", {.timeout = std::nullopt}));
  TaskGroup writing(core.executor, core.log);
  writing.spawn(write_commands(line));
  while (auto bytes = co_await line->call->read()) {
    v1::HostEvent event;
    if (line->listener == nullptr || !event.ParseFromString(*bytes)) break;
    bool errors = event.has_error_output();
    line->listener->on_event(line->part, std::move(event));
    if (errors) co_await line->listener->room();
  }
  line->commands.close();
  line->call->cancel();
  rpc::Status status = co_await line->call->finish();
  co_await writing.wait();
  line->lose(status.ok() ? "the node ended the part" : status.message);
}

Awaitable<std::expected<v1::FreeCoresResponse, rpc::Status>> say_free_cores(double cores) {
  v1::FreeCoresResponse response;
  response.set_cores(cores);
  co_return response;
}

Awaitable<void> await_end(std::shared_ptr<PartHost> host) { co_await host->finished(); }

}  // namespace

WorkerService::WorkerService(NodeCore core, PartSurroundings& surroundings)
    : impl_(std::make_shared<Impl>(core, surroundings)) {}

WorkerService::~WorkerService() = default;

void WorkerService::register_methods(rpc::DispatchTable& table) {
  table.add({.name = "sluice.v1.Workers/Host",
             .roles = {net::Role::node},
             .client_streams = true,
             .server_streams = true,
             .mutating = true,
             .handler = [impl = impl_](rpc::ServerCall& call) { return Impl::serve(impl, call); }});
  table.add({.name = "sluice.v1.Workers/FreeCores",
             .roles = {net::Role::node},
             .handler = rpc::unary_of<v1::FreeCoresRequest, v1::FreeCoresResponse>(
                 [impl = impl_](const rpc::CallInfo&, v1::FreeCoresRequest) {
                   return say_free_cores(impl->own_free_cores());
                 })});
}

std::unique_ptr<HostSession> WorkerService::open_local(std::size_t part, HostListener& listener) {
  auto impl = impl_;
  auto host = std::make_unique<PartHost>(
      impl->surroundings, [part, to = &listener](v1::HostEvent event) { to->on_event(part, std::move(event)); },
      [to = &listener]() -> Awaitable<void> { return to->room(); });
  impl->hosts.insert(host.get());
  return std::make_unique<LocalSession>(std::move(host), [impl](std::unique_ptr<PartHost> ended) {
    impl->hosts.erase(ended.get());
    impl->tasks.spawn(await_end(std::move(ended)));
  });
}

std::unique_ptr<HostSession> WorkerService::open_remote(const NodeId& node, std::size_t part, HostListener& listener) {
  auto line = std::make_shared<RemoteLine>(impl_->core.executor, part, listener);
  impl_->tasks.spawn(speak(impl_->core, node, line));
  return std::make_unique<RemoteSession>(line);
}

Awaitable<void> WorkerService::ask_free_cores(std::vector<flow::NodeChoice>& nodes) {
  return node::ask_free_cores(impl_->core, impl_->own_free_cores(), nodes);
}

void WorkerService::remove_folder(const std::string& folder) { impl_->surroundings.remove_folder(folder); }

Awaitable<void> WorkerService::drain(std::optional<Duration> grace) {
  auto impl = impl_;
  impl->closing = true;
  std::optional<TimePoint> deadline;
  if (grace) {
    deadline = Clock::now() + *grace;
    for (PartHost* host : impl->served) host->leave();
  }
  while (!impl->served.empty() && (!deadline || Clock::now() < *deadline)) co_await impl->changed.wait(deadline);
}

Awaitable<void> WorkerService::close() {
  auto impl = impl_;
  impl->closing = true;
  for (PartHost* host : impl->hosts) host->abandon();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
