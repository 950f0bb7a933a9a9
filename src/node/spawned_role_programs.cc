#include "node/spawned_role_programs.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <optional>
#include <utility>

#include "exec/job_client.h"
#include "exec/spawner_pool.h"
#include "flow/plan.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
using Descriptor = asio::posix::stream_descriptor;

class SpawnedProgram final : public RoleProgram {
 public:
  SpawnedProgram(asio::any_io_executor executor, exec::SpawnerLease lease, exec::JobClient jobs)
      : executor_(std::move(executor)), lease_(std::move(lease)), jobs_(std::move(jobs)) {}

  std::unique_ptr<exec::Jobs> take_jobs() override { return std::make_unique<exec::JobClient>(std::move(jobs_)); }

  void signal(int number) override {
    lease_->send(exec::SendSignal{.signal = number, .programs = {0}, .strays_too = true, .then_continue = true});
  }

  void kill() override {
    if (childless_ || std::exchange(killed_, true)) return;
    lease_.wake();
    lease_->send(exec::EndAll{});
  }

  Awaitable<void> wait() override {
    exec::SpawnerClient& client = *lease_;
    Descriptor descriptor(executor_, client.descriptor());
    while (true) {
      auto event = client.poll_event();
      if (!event) break;  // it was killed, and what it ran with it
      if (event->has_value()) {
        if (std::holds_alternative<exec::Exited>(**event)) client.send(exec::EndAll{});  // what it left running
        if (std::holds_alternative<exec::Childless>(**event)) break;
      } else if (client.wants_write()) {
        co_await descriptor.async_wait(Descriptor::wait_write, kTuple);
        client.flush();
      } else {
        co_await descriptor.async_wait(Descriptor::wait_read, kTuple);
      }
    }
    descriptor.release();
    childless_ = true;
  }

 private:
  asio::any_io_executor executor_;
  exec::SpawnerLease lease_;
  exec::JobClient jobs_;
  bool childless_ = false;  // no process is left
  bool killed_ = false;
};

class SpawnedPrograms final : public RolePrograms {
 public:
  SpawnedPrograms(asio::any_io_executor executor, RoleCommand command, exec::ZygoteClient zygote)
      : executor_(executor),
        command_(std::move(command)),
        pool_(std::move(zygote), {.idle_max = 1, .reserve = 0, .cgroup_home = std::nullopt}),
        descriptor_(executor, pool_.descriptor()) {}
  ~SpawnedPrograms() override { descriptor_.release(); }

  std::expected<std::unique_ptr<RoleProgram>, std::string> start(const v1::RoleTask& task) override {
    auto lease = pool_.acquire();
    if (!lease) return std::unexpected(lease.error());
    auto jobs = exec::JobClient::make();
    if (!jobs) return std::unexpected("no descriptor is left; raise the limit (ulimit -n)");
    exec::Launch launch;
    launch.environment = command_.environment.entries();
    launch.directory = command_.directory;
    exec::Program program{.path = command_.path, .arguments = command_.command, .script_shell = "/bin/sh"};
    program.by_job = true;
    if (task.worker()) program.variables.emplace_back(flow::kWorkerVariable);
    launch.programs.push_back(std::move(program));
    int socket = jobs->second.get();
    if (auto sent = (*lease)->send_with(launch, {&socket, 1}); !sent)
      return std::unexpected(fmt::format("cannot pass its pipes on: {}", std::strerror(sent.error())));
    return std::make_unique<SpawnedProgram>(executor_, *std::move(lease), std::move(jobs->first));
  }

  Awaitable<void> run() override {
    while (!closed_) {
      auto [error] = co_await descriptor_.async_wait(Descriptor::wait_read, kTuple);
      if (error) break;
      pool_.on_readable();
      while (pool_.poll_event()) continue;
    }
  }

  void close() override {
    closed_ = true;
    descriptor_.cancel();
  }

 private:
  asio::any_io_executor executor_;
  RoleCommand command_;
  exec::SpawnerPool pool_;
  Descriptor descriptor_;  // the pool's
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<RolePrograms> spawned_role_programs(asio::any_io_executor executor, RoleCommand command,
                                                    exec::ZygoteClient zygote) {
  return std::make_unique<SpawnedPrograms>(std::move(executor), std::move(command), std::move(zygote));
}

}  // namespace sluice::node
