#include "node/worker_service.h"

#include <set>

#include "node/free_cores.h"
#include "node/remote_lines.h"
#include "node/task_group.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

struct WorkerService::Impl {
  Impl(NodeCore node_core, PartSurroundings& around)
      : core(node_core), surroundings(around), tasks(core.executor, core.log), served(core, around), lines(core) {}

  NodeCore core;
  PartSurroundings& surroundings;
  TaskGroup tasks;
  std::set<PartHost*> own;  // for orchestrators on this node
  ServedParts served;
  RemoteLines lines;

  double own_free_cores() const {
    std::size_t programs = served.programs();
    for (const PartHost* host : own) programs += host->programs();
    return free_cores(programs);
  }
};

namespace {

// For an orchestrator on this node.
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

Awaitable<std::expected<v1::FreeCoresResponse, rpc::Status>> say_free_cores(double cores) {
  v1::FreeCoresResponse response;
  response.set_cores(cores);
  co_return response;
}

Awaitable<void> await_end_of(std::shared_ptr<PartHost> host) { co_await host->finished(); }

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
             .handler = [impl = impl_](rpc::ServerCall& call) { return impl->served.serve(call); }});
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
  impl->own.insert(host.get());
  return std::make_unique<LocalSession>(std::move(host), [impl](std::unique_ptr<PartHost> ended) {
    impl->own.erase(ended.get());
    impl->tasks.spawn(await_end_of(std::move(ended)));
  });
}

std::unique_ptr<HostSession> WorkerService::open_remote(const NodeId& node, std::size_t part, HostListener& listener) {
  return impl_->lines.open(node, part, listener);
}

std::unique_ptr<HostSession> WorkerService::resume_remote(const NodeId& node, const FlowId& flow, std::size_t part,
                                                          HostListener& listener) {
  return impl_->lines.resume(node, flow, part, listener);
}

ServedParts& WorkerService::served() { return impl_->served; }

Awaitable<void> WorkerService::ask_free_cores(std::vector<flow::NodeChoice>& nodes) {
  return node::ask_free_cores(impl_->core, impl_->own_free_cores(), nodes);
}

void WorkerService::remove_folder(const std::string& folder) { impl_->surroundings.remove_folder(folder); }

Awaitable<void> WorkerService::drain(std::optional<Duration> grace) { return impl_->served.drain(grace); }

Awaitable<void> WorkerService::close() {
  auto impl = impl_;
  for (PartHost* host : impl->own) host->abandon();
  co_await impl->served.close();
  co_await impl->lines.close();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
