#include "node/role_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/pipe.h"
#include "node/condition.h"
#include "node/host_name.h"
#include "node/seat_host.h"
#include "node/task_group.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;
using namespace std::chrono_literals;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadSize = std::size_t{64} << 10;
// Between two attempts to reach a node, and before the next flow if the last was served for less than that.
constexpr Duration kPauseFirst = 200ms, kPauseMax = 5s;

using Descriptor = asio::posix::stream_descriptor;

// One stage of one flow, from its task to its end.
struct Service {
  Service(asio::any_io_executor executor, std::unique_ptr<RoleProgram> to_run)
      : program(std::move(to_run)), changed(executor) {}

  std::unique_ptr<RoleProgram> program;
  Condition changed;
  std::optional<SeatHost> seat;
  std::optional<Descriptor> requests;  // into the seat
  std::optional<Descriptor> replies;   // out of it
  bool requests_ended = false;         // what was asked is whole
  bool replies_ended = false;
  bool program_ended = false;  // nothing of it runs

  bool over() const { return program_ended && replies_ended; }
};

class RoleWorker final {
 public:
  RoleWorker(asio::any_io_executor executor, RoleWorkerRequest request, RoleWorkerSurroundings surroundings)
      : executor_(executor),
        request_(std::move(request)),
        around_(std::move(surroundings)),
        log_({.level = LogLevel::error}),
        tasks_(executor, log_),
        changed_(executor),
        signal_descriptor_(executor, around_.signal_descriptor) {}
  ~RoleWorker() { signal_descriptor_.release(); }

  Awaitable<RoleWorkerEnd> run() {
    tasks_.spawn(around_.programs.run());
    tasks_.spawn(watch_signals());
    while (goes_on()) {
      if (!access_) co_await reach_node();
      if (access_ && goes_on()) co_await offer();
      if (access_ && !access_->channel().alive()) lose_node();
    }
    access_.reset();
    over_ = true;
    around_.programs.close();
    signal_descriptor_.cancel();
    co_await tasks_.wait();
    co_return RoleWorkerEnd{.status = forced_by_ != 0 ? 128 + forced_by_ : status_, .signal = forced_by_};
  }

 private:
  bool goes_on() const { return !leaving_ && !ended_; }
  void end(int status) {
    status_ = status;
    ended_ = true;
  }
  void tell(const std::string& message) const {
    around_.say(fmt::format("worker of role {}: {}", request_.role, message));
  }

  // --- a node -----------------------------------------------------------------------------------------------------

  Awaitable<void> reach_node() {
    auto reached = co_await around_.connect();
    if (reached) {
      access_ = *std::move(reached);
      pause_ = kPauseFirst;
      told_ = {};
      co_return;
    }
    const RoleWorkerRefusal& refusal = reached.error();
    if (refusal.for_good) {
      around_.say(refusal.message);
      end(refusal.status);
      co_return;
    }
    tell_once(refusal.message + "; trying again");
    co_await pause();
  }

  void lose_node() {
    access_.reset();
    if (goes_on()) tell_once("lost the node; looking for it, or another");
  }

  // The same again is said no more.
  void tell_once(const std::string& message) {
    if (std::exchange(told_, message) != message) tell(message);
  }

  // A signal shortens it.
  Awaitable<void> pause() {
    TimePoint until = Clock::now() + pause_;
    pause_ = std::min<Duration>(2 * pause_, kPauseMax);
    while (goes_on() && Clock::now() < until) co_await changed_.wait(until);
  }

  // --- one call ---------------------------------------------------------------------------------------------------

  Awaitable<void> offer() {
    call_.emplace(access_->channel().start("sluice.v1.Roles/Serve", {.timeout = std::nullopt}));
    v1::RoleInput input;
    input.mutable_offer()->set_role(request_.role);
    input.mutable_offer()->set_flow(request_.flow);
    input.mutable_offer()->set_host(host_name());
    if (co_await call_->write(input.SerializeAsString())) tell_once("waiting for a flow");
    TimePoint began = Clock::now();
    while (auto bytes = co_await call_->read()) {
      v1::RoleOutput output;
      if (!output.ParseFromString(*bytes)) break;
      if (output.has_task()) began = Clock::now();
      if (!co_await on_output(output)) break;
    }
    bool served = service_ != nullptr;
    bool whole = served && service_->requests_ended;
    if (served) co_await end_service();
    call_->cancel();
    rpc::Status status = co_await call_->finish();
    call_.reset();
    co_await conclude(served, whole, std::move(status), Clock::now() - began);
  }

  Awaitable<void> conclude(bool served, bool whole, rpc::Status status, Duration took) {
    if (served && goes_on())
      tell(whole ? "done with that flow" : "cut off from that flow: " + status.message + "; what ran was ended");
    if (served && request_.once) end(whole ? 0 : 1);
    if (!served && !leaving_) judge(status);
    if (took >= kPauseMax) pause_ = kPauseFirst;
    if (goes_on() && access_->channel().alive()) co_await pause();
  }

  // What another attempt would not change.
  void judge(const rpc::Status& status) {
    bool refused = status.code == rpc::Code::permission_denied || status.code == rpc::Code::unauthenticated;
    bool wrong = status.code == rpc::Code::invalid_argument || status.code == rpc::Code::unimplemented;
    if (!refused && !wrong) return;
    around_.say("worker: " + status.message);
    end(refused ? 4 : status.code == rpc::Code::invalid_argument ? 2 : 8);
  }

  // False: the call is of no use any more.
  Awaitable<bool> on_output(const v1::RoleOutput& output) {
    switch (output.output_case()) {
      case v1::RoleOutput::kTask:
        co_return begin(output.task());
      case v1::RoleOutput::kBytes:
        // A seat that does not read any more has ended, or is about to.
        if (service_ && service_->requests)
          co_await asio::async_write(*service_->requests, asio::buffer(output.bytes()), kTuple);
        co_return true;
      case v1::RoleOutput::kRequestsEnd:
        if (service_) {
          service_->requests_ended = true;
          service_->requests.reset();
        }
        co_return true;
      case v1::RoleOutput::kSignal:
        if (service_) service_->program->signal(output.signal());
        co_return true;
      default:
        co_return true;
    }
  }

  // --- a flow -----------------------------------------------------------------------------------------------------

  bool begin(const v1::RoleTask& task) {
    if (service_) return false;
    if (auto started = start(task); !started) {
      tell("cannot serve a flow: " + started.error());
      service_.reset();
      return false;
    }
    std::string name = task.flow_name().empty() ? task.flow_id().substr(0, 8) : task.flow_name();
    tell(fmt::format("serving stage {} of the flow {}", task.stage() + 1, name));
    told_ = {};
    if (leaving_) service_->seat->leave();
    return true;
  }

  std::expected<void, std::string> start(const v1::RoleTask& task) {
    auto requests = make_pipe(), replies = make_pipe();
    if (!requests || !replies) return std::unexpected("no descriptor is left; raise the limit (ulimit -n)");
    auto program = around_.programs.start(task);
    if (!program) return std::unexpected(program.error());
    service_ = std::make_shared<Service>(executor_, *std::move(program));
    std::vector<HostedSeatEnds> ends;
    ends.push_back({.requests = std::move(requests->read_end), .replies = std::move(replies->write_end)});
    auto on_end = [role = request_.role, say = around_.say](const std::string& trouble) {
      if (!trouble.empty()) say(fmt::format("worker of role {}: {}", role, trouble));
    };
    auto seat = SeatHost::start(service_->program->take_jobs(), std::move(ends), UniqueFd(), on_end, true);
    if (!seat) return std::unexpected(fmt::format("cannot start a thread: {}", std::strerror(seat.error())));
    service_->seat.emplace(*std::move(seat));
    service_->requests.emplace(executor_, requests->write_end.release());
    service_->replies.emplace(executor_, replies->read_end.release());
    tasks_.spawn(wait_for_program(service_));
    tasks_.spawn(pass_replies(service_));
    return {};
  }

  Awaitable<void> pass_replies(std::shared_ptr<Service> service) {
    std::string buffer(kReadSize, '\0');
    bool passes = true;
    while (true) {
      auto [error, size] = co_await service->replies->async_read_some(asio::buffer(buffer), kTuple);
      if (error) break;
      v1::RoleInput input;
      input.set_bytes(buffer.data(), size);
      input.set_leaving(leaving_);
      if (!passes) continue;  // nobody hears it any more
      auto written = co_await call_->write(input.SerializeAsString());
      passes = written.has_value();
    }
    if (passes) call_->writes_done();
    service->replies_ended = true;
    service->changed.notify();
  }

  Awaitable<void> wait_for_program(std::shared_ptr<Service> service) {
    co_await service->program->wait();
    service->program_ended = true;
    service->changed.notify();
  }

  // A call that was cut may have left a half of what was asked: what runs goes before their input does.
  Awaitable<void> end_service() {
    auto service = service_;
    if (!service->requests_ended) service->program->kill();
    while (!service->program_ended) co_await service->changed.wait();
    service->requests.reset();
    while (!service->over()) co_await service->changed.wait();
    service->seat.reset();
    service_.reset();
  }

  // --- what happens around it -------------------------------------------------------------------------------------

  Awaitable<void> watch_signals() {
    while (!over_) {
      while (auto signal = around_.next_signal()) on_signal(*signal);
      auto [error] = co_await signal_descriptor_.async_wait(Descriptor::wait_read, kTuple);
      if (error) break;
    }
  }

  void on_signal(int number) {
    if (std::exchange(leaving_, true)) {
      forced_by_ = number;
      if (service_) service_->program->kill();
      if (call_) call_->cancel();
    } else if (service_) {
      tell("finishing what it has, and serving nobody any more (again to end it at once)");
      service_->seat->leave();
    } else if (call_) {
      call_->cancel();
    }
    changed_.notify();
  }

  asio::any_io_executor executor_;
  RoleWorkerRequest request_;
  RoleWorkerSurroundings around_;
  Logger log_;
  TaskGroup tasks_;
  Condition changed_;
  Descriptor signal_descriptor_;
  std::unique_ptr<NodeAccess> access_;
  std::optional<rpc::ClientCall> call_;
  std::shared_ptr<Service> service_;  // while it serves
  std::string told_;                  // the last that may come again and again
  Duration pause_ = kPauseFirst;
  bool leaving_ = false;
  bool ended_ = false;
  bool over_ = false;
  int forced_by_ = 0;
  int status_ = 0;
};

}  // namespace

Awaitable<RoleWorkerEnd> run_role_worker(RoleWorkerRequest request, RoleWorkerSurroundings surroundings) {
  auto executor = co_await asio::this_coro::executor;
  RoleWorker worker(executor, std::move(request), std::move(surroundings));
  co_return co_await worker.run();
}

}  // namespace sluice::node
