#include "node/program_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <variant>

#include "base/pipe.h"
#include "node/condition.h"
#include "node/task_group.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadSize = std::size_t{16} << 10;

}  // namespace

struct ProgramRun::Impl : std::enable_shared_from_this<Impl> {
  Impl(PartSurroundings& around, std::unique_ptr<SpawnerUse> use, ProgramRequest what)
      : surroundings(around),
        spawner(std::move(use)),
        request(std::move(what)),
        tasks(around.executor(), around.log()),
        changed(around.executor()) {}

  PartSurroundings& surroundings;
  std::unique_ptr<SpawnerUse> spawner;
  ProgramRequest request;
  TaskGroup tasks;
  Condition changed;
  ProgramEnd end;
  std::optional<ProgramFailure> failure;
  std::size_t open_outputs = 0;
  bool over = false;  // no process is left
  asio::posix::stream_descriptor* input = nullptr;

  std::expected<void, ProgramFailure> launch() {
    auto output = make_pipe(), error = make_pipe(), standard_input = make_pipe();
    if (!output || !error || !standard_input) return std::unexpected(failed("make the pipes of the program", errno));
    exec::Launch launch;
    exec::Program& program = launch.programs.emplace_back(std::move(request.program));
    std::vector<int> descriptors;
    if (!request.input.empty()) {
      program.input = exec::Stream::passed;
      descriptors.push_back(standard_input->read_end.get());
    }
    program.output = exec::Stream::passed;
    descriptors.push_back(output->write_end.get());
    if (program.error != exec::Stream::as_stdout) {
      program.error = exec::Stream::passed;
      descriptors.push_back(error->write_end.get());
    }
    launch.environment = std::move(request.environment);
    launch.directory = request.folder;
    launch.run_as = surroundings.run_as();
    if (auto sent = spawner->client().send_with(launch, descriptors); !sent)
      return std::unexpected(failed("pass the pipes of the program to the spawner", sent.error()));
    collect(std::move(output->read_end), end.output);
    collect(std::move(error->read_end), end.error_output);
    if (!request.input.empty()) tasks.spawn(write_input(shared_from_this(), std::move(standard_input->write_end)));
    tasks.spawn(read_spawner(shared_from_this()));
    return {};
  }

  static ProgramFailure failed(const std::string& what, int error) {
    return {.message = fmt::format("cannot {}: {}; raise the limit (ulimit -n)", what, std::strerror(error))};
  }

  void collect(UniqueFd from, CollectedOutput& into) {
    ++open_outputs;
    tasks.spawn(read_output(shared_from_this(), std::move(from), into));
  }

  static Awaitable<void> read_output(std::shared_ptr<Impl> self, UniqueFd from, CollectedOutput& into) {
    asio::posix::stream_descriptor descriptor(self->surroundings.executor(), from.release());
    std::string buffer(kReadSize, '\0');
    while (true) {
      auto [error, size] = co_await descriptor.async_read_some(asio::buffer(buffer), kTuple);
      if (error) break;
      std::size_t kept = std::min(size, self->request.output_max - into.bytes.size());
      into.bytes.append(buffer, 0, kept);
      into.dropped += size - kept;
    }
    --self->open_outputs;
    self->changed.notify();
  }

  // A program that reads no more is no failure.
  static Awaitable<void> write_input(std::shared_ptr<Impl> self, UniqueFd into) {
    asio::posix::stream_descriptor descriptor(self->surroundings.executor(), into.release());
    self->input = &descriptor;
    co_await asio::async_write(descriptor, asio::buffer(self->request.input), kTuple);
    self->input = nullptr;
  }

  static Awaitable<void> read_spawner(std::shared_ptr<Impl> self) {
    exec::SpawnerClient& client = self->spawner->client();
    asio::posix::stream_descriptor descriptor(self->surroundings.executor(), client.descriptor());
    while (!self->over) {
      auto event = client.poll_event();
      if (!event) {
        self->failure = ProgramFailure{.message = "the spawner of the program was killed; it ended with it"};
        self->over = true;
      } else if (event->has_value()) {
        std::visit([&self](auto& message) { self->handle(message); }, **event);
      } else if (client.wants_write()) {
        co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_write, kTuple);
        client.flush();
      } else {
        co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
      }
    }
    descriptor.release();
    self->spawner.reset();  // the next may have it
    if (self->input != nullptr) self->input->cancel();
    self->changed.notify();
  }

  void handle(exec::Started&) {}
  void handle(exec::Survey&) {}
  void handle(exec::LaunchFailed& launch) {
    int status = launch.action != "execute" ? 125 : launch.error == ENOENT ? 127 : 126;
    failure =
        ProgramFailure{.status = status,
                       .message = fmt::format("cannot {} the program: {}", launch.action, std::strerror(launch.error))};
  }
  void handle(exec::Exited& exited) {
    end.exited = exited;
    spawner->client().send(exec::EndAll{});  // what it left running
  }
  void handle(exec::Childless&) { over = true; }

  // A program can stop its parent (kill -STOP $PPID).
  void kill() {
    if (!spawner) return;
    spawner->client().send(exec::EndAll{});
    if (spawner->client().pid() > 0) ::kill(spawner->client().pid(), SIGCONT);
  }

  static Awaitable<std::expected<ProgramEnd, ProgramFailure>> run(std::shared_ptr<Impl> self) {
    auto launched = self->launch();
    if (!launched) co_return std::unexpected(launched.error());
    while (!self->over || self->open_outputs > 0) {
      bool late = self->request.deadline && Clock::now() >= *self->request.deadline;
      if (late && !std::exchange(self->end.timed_out, true)) self->kill();
      co_await self->changed.wait(self->end.timed_out ? std::nullopt : self->request.deadline);
    }
    co_await self->tasks.wait();
    if (self->failure) co_return std::unexpected(*self->failure);
    co_return std::move(self->end);
  }
};

ProgramRun::ProgramRun(PartSurroundings& surroundings, std::unique_ptr<SpawnerUse> spawner, ProgramRequest request)
    : impl_(std::make_shared<Impl>(surroundings, std::move(spawner), std::move(request))) {}

ProgramRun::~ProgramRun() = default;

Awaitable<std::expected<ProgramEnd, ProgramFailure>> ProgramRun::run() { return Impl::run(impl_); }

void ProgramRun::kill() { impl_->kill(); }

}  // namespace sluice::node
