// Worker::join (include/sluice/joined_worker.h): the loop that offers the role has a thread of its own, the seat has
// one, and the handlers run on the thread that called run().
#include "sluice/joined_worker.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/signals_blocked.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "node/locations.h"
#include "node/node_reach.h"
#include "node/role_worker.h"
#include "worker/end_signals.h"
#include "worker/session_programs.h"

namespace sluice {

namespace asio = net::asio;
using Kind = node::ReachFailure::Kind;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds kConnectTime{3};
// For what is under way on the loop when the worker has ended, and was told to end.
constexpr Duration kLoopLinger = 1s;

using Access = std::expected<std::unique_ptr<node::NodeAccess>, node::RoleWorkerRefusal>;

// As those of the command line (docs/cluster.md, "Exit status").
int status_of(Kind kind) {
  switch (kind) {
    case Kind::usage:
      return 2;
    case Kind::refused_access:
      return 4;
    case Kind::no_node:
      return 5;
    case Kind::timed_out:
      return 6;
    case Kind::wrong_version:
      return 8;
    case Kind::failed:
      break;
  }
  return 1;
}

// A node that is not there may come; all else would be the same again.
node::RoleWorkerRefusal to_refusal(node::ReachFailure failure) {
  bool may_come = failure.kind == Kind::no_node || failure.kind == Kind::timed_out || failure.kind == Kind::failed;
  return {.status = status_of(failure.kind), .message = std::move(failure.message), .for_good = !may_come};
}

std::vector<node::NodePlace> places_on_this_host() {
  const char* data = std::getenv("SLUICE_DATA");
  std::vector<std::string> directories;
  if (data != nullptr && *data != '\0') {
    directories = {data};
  } else {
    directories = {node::default_data_directory(), node::system_data_directory()};
    directories.erase(std::ranges::unique(directories).begin(), directories.end());
  }
  std::vector<node::NodePlace> places;
  for (const std::string& directory : directories)
    places.push_back({.origin = "the node of this host", .socket = node::socket_path(directory)});
  return places;
}

std::expected<std::vector<node::NodePlace>, node::ReachFailure> find_places(const JoinOptions& options) {
  if (options.nodes.empty()) return places_on_this_host();
  std::vector<node::NodePlace> places;
  for (const std::string& node : options.nodes) {
    auto place = node::parse_node_place("JoinOptions::nodes", node);
    if (!place) return std::unexpected(place.error());
    if (place->socket.empty() && options.certificate.empty())
      return std::unexpected(node::ReachFailure{
          Kind::refused_access,
          fmt::format("there is no certificate to show to the node at {}: name one of the role worker in "
                      "JoinOptions::certificate (`sluice cert issue --role worker`)",
                      node::describe(*place))});
    places.push_back(std::move(*place));
  }
  return places;
}

net::Awaitable<Access> reach(node::NodePlace place, std::string certificate) {
  std::unique_ptr<net::TlsContext> tls;
  if (place.socket.empty()) {
    auto credentials = node::read_certificate(certificate);
    if (!credentials) co_return std::unexpected(to_refusal(credentials.error()));
    auto made = node::make_tls(*credentials);
    if (!made) co_return std::unexpected(to_refusal(made.error()));
    tls = *std::move(made);
  }
  auto channel = co_await node::open_channel(place, tls.get(), std::nullopt, Clock::now() + kConnectTime);
  if (!channel) co_return std::unexpected(to_refusal(node::failure_to_reach(place, channel.error(), kConnectTime)));
  co_return std::make_unique<node::ReachedNode>(std::move(place), std::move(tls), std::move(*channel));
}

// Both are of whoever waits for the worker to end.
net::Awaitable<Access> reach_any(const JoinOptions* options, const std::vector<node::NodePlace>* places) {
  node::RoleWorkerRefusal refusal;
  for (const node::NodePlace& place : *places) {
    auto reached = co_await reach(place, options->certificate);
    if (reached) co_return reached;
    bool first = refusal.message.empty();
    refusal = {.status = first ? reached.error().status : refusal.status,
               .message = (first ? "" : refusal.message + "; ") + reached.error().message,
               .for_good = reached.error().for_good};
    if (refusal.for_good) break;
  }
  co_return std::unexpected(std::move(refusal));
}

// A closed stderr is no reason to end, for a program that has not said so.
void print(const std::string& line) {
  SignalsBlocked blocked;
  std::string whole = "sluice: " + line + "\n";
  sigset_t pipe, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  bool pends_already = ::sigismember(&pending, SIGPIPE) == 1;
  bool broken = ::write(STDERR_FILENO, whole.data(), whole.size()) < 0 && errno == EPIPE;
  timespec at_once{};
  if (broken && !pends_already) ::sigtimedwait(&pipe, nullptr, &at_once);
}

}  // namespace

class JoinedStages final : public Worker::Stages {
 public:
  explicit JoinedStages(JoinOptions options)
      : options_(std::move(options)),
        asked_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        sessions_(worker::Sessions::make()) {}

  int run(const std::function<int(int socket)>& serve) override {
    auto places = check();
    if (!places) {
      report("worker: " + places.error().message);
      return status_of(places.error().kind);
    }
    auto signals = worker::EndSignals::watch(asked_.get());
    if (!signals) return fail(fmt::format("{} workers serve in this program, and no more can", worker::kEndSignalsMax));
    std::thread network;
    try {
      SignalsBlocked blocked;
      network = std::thread([this, &places] { offer(*places); });
    } catch (const std::system_error& error) {
      return fail(std::string("cannot start a thread: ") + error.what());
    }
    serve_sessions(serve, network);
    network.join();
    bool ended_well = end_.status == 0 && options_.once;
    return ended_well ? (*sessions_)->last_status() : end_.status;
  }

  void end() override {
    std::uint64_t one = 1;
    (void)!::write(asked_.get(), &one, sizeof one);
  }
  bool is_cut() const override { return (*sessions_)->is_cut(); }
  void say(const std::string& message) override {
    report(fmt::format("worker of role {}: {}", options_.role, message));
  }

 private:
  std::expected<std::vector<node::NodePlace>, node::ReachFailure> check() const {
    using Failure = std::unexpected<node::ReachFailure>;
    if (!asked_ || !sessions_) return Failure({Kind::failed, "no descriptor is left; raise the limit (ulimit -n)"});
    if (options_.role.empty())
      return Failure(
          {Kind::usage, "JoinOptions::role is empty; it is the name that stands as 'role' in the flow's file"});
    return find_places(options_);
  }

  int fail(const std::string& why) const {
    report("worker: " + why);
    return 1;
  }
  void report(const std::string& message) const {
    std::string line = without_controls(message);
    if (options_.report)
      options_.report(line);
    else
      print(line);
  }

  // What a handler throws goes to whoever called run().
  void serve_sessions(const std::function<int(int socket)>& serve, std::thread& network) {
    while (auto socket = (*sessions_)->next()) {
      int status = 1;
      try {
        status = serve(*socket);
      } catch (...) {
        end();
        (*sessions_)->ended(status);
        network.join();
        throw;
      }
      (*sessions_)->ended(status);
    }
  }

  // --- on the thread of the loop ------------------------------------------------------------------------------------

  void offer(const std::vector<node::NodePlace>& places) {
    asio::io_context loop(1);
    bool over = false;
    asio::co_spawn(loop, serve_flows(this, &places), [&over](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
      over = true;
    });
    while (!over) loop.run_one();
    loop.run_for(kLoopLinger);
    (*sessions_)->finish();
  }

  static net::Awaitable<void> serve_flows(JoinedStages* self, const std::vector<node::NodePlace>* places) {
    auto executor = co_await asio::this_coro::executor;
    auto programs = worker::session_programs(executor, **self->sessions_);
    // Named: g++ 12 destroys temporaries of a co_await expression twice.
    node::RoleWorkerRequest request{
        .role = self->options_.role, .flow = self->options_.flow, .once = self->options_.once};
    node::RoleWorkerSurroundings surroundings{
        .connect = [self, places] { return reach_any(&self->options_, places); },
        .programs = *programs,
        .signal_descriptor = self->asked_.get(),
        .next_signal = [self] { return self->next_asked(); },
        .say = [self](const std::string& message) { self->report(message); },
    };
    self->end_ = co_await node::run_role_worker(std::move(request), std::move(surroundings));
  }

  // However often it is asked, it ends in good order.
  std::optional<int> next_asked() {
    std::uint64_t count = 0;
    bool asked = ::read(asked_.get(), &count, sizeof count) == sizeof count;
    if (!asked || std::exchange(told_, true)) return std::nullopt;
    return SIGTERM;
  }

  JoinOptions options_;
  UniqueFd asked_;
  std::expected<std::unique_ptr<worker::Sessions>, int> sessions_;
  // Of the loop.
  bool told_ = false;  // that it is to end
  node::RoleWorkerEnd end_;
};

void Worker::join(JoinOptions options) { take_stages(std::make_unique<JoinedStages>(std::move(options))); }

}  // namespace sluice
