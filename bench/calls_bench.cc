// What a call costs on a connection that is there already, and how many programs a node runs to their end for one client.
//
//   calls_bench SOCKET calls COUNT              COUNT calls one after another: microseconds of each, as one line of JSON
//   calls_bench - bare COUNT                    the same between two processes that only pass 64 bytes to and fro
//   calls_bench SOCKET programs COUNT NODE      COUNT runs of `true` on NODE, 64 calls under way: seconds in all
//
// SOCKET is that of a running node; the node passes on what is for NODE over its one connection to that.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "net/connection.h"
#include "rpc/channel.h"
#include "sluice/v1/cluster.pb.h"
#include "sluice/v1/programs.pb.h"

namespace {

namespace net = sluice::net;
namespace rpc = sluice::rpc;
namespace v1 = sluice::v1;

constexpr int kUnderWay = 64;

[[noreturn]] void die(const std::string& why) {
  fmt::print(stderr, "calls_bench: {}\n", why);
  std::exit(1);
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void print_times(std::vector<double>& each) {
  std::ranges::sort(each);
  fmt::print("{{\"median_us\": {:.2f}, \"p99_us\": {:.2f}}}\n", each[each.size() / 2], each[each.size() * 99 / 100]);
}

net::Awaitable<std::unique_ptr<rpc::Channel>> open(std::string socket) {
  sluice::TimePoint deadline = sluice::Clock::now() + std::chrono::seconds(3);
  auto connection = co_await net::dial_local(std::move(socket), deadline);
  if (!connection) die(connection.error().message);
  auto channel = co_await rpc::Channel::open(std::move(*connection), deadline);
  if (!channel) die(channel.error().message);
  co_return std::move(*channel);
}

net::Awaitable<void> time_calls(std::string socket, int count) {
  auto channel = co_await open(std::move(socket));
  std::vector<double> each;
  for (int i = 0; i < count; ++i) {
    auto begin = std::chrono::steady_clock::now();
    v1::GetNodeRequest request;
    auto node = co_await rpc::call<v1::Node>(*channel, "sluice.v1.Cluster/GetNode", request);
    if (!node) die(node.error().message);
    each.push_back(seconds_since(begin) * 1e6);
  }
  print_times(each);
}

// ---- the floor: what the kernel takes for waking one process after the other -----------------------------------------

// Waits as a node's loop does, for as many bytes as one message has.
bool pass_on(int epoll, int socket, std::array<char, 64>& message) {
  epoll_event event{};
  return ::epoll_wait(epoll, &event, 1, -1) == 1 && ::recv(socket, message.data(), message.size(), 0) > 0;
}

int watch(int socket) {
  int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (epoll < 0 || ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0) die("no epoll");
  return epoll;
}

void time_bare_messages(int count) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) die("no socket pair");
  std::array<char, 64> message{};
  bool answers = ::fork() == 0;
  ::close(ends[answers ? 0 : 1]);
  int socket = ends[answers ? 1 : 0], epoll = watch(socket);
  if (answers) {
    while (pass_on(epoll, socket, message)) ::send(socket, message.data(), message.size(), MSG_NOSIGNAL);
    ::_exit(0);
  }
  std::vector<double> each;
  for (int i = 0; i < count; ++i) {
    auto begin = std::chrono::steady_clock::now();
    ::send(socket, message.data(), message.size(), MSG_NOSIGNAL);
    if (!pass_on(epoll, socket, message)) die("the other process went away");
    each.push_back(seconds_since(begin) * 1e6);
  }
  print_times(each);
}

struct Programs {
  std::unique_ptr<rpc::Channel> channel;
  std::string node;
  int left = 0;
  int open = 0;
  std::chrono::steady_clock::time_point begin;
  int count = 0;
};

net::Awaitable<void> run_programs(std::shared_ptr<Programs> programs) {
  while (programs->left > 0) {
    --programs->left;
    v1::RunProgramRequest request;
    request.add_arguments("true");
    request.set_node(programs->node);
    auto end = co_await rpc::call<v1::RunProgramResponse>(*programs->channel, "sluice.v1.Programs/Run", request);
    if (!end) die(end.error().message);
    if (end->status() != 0) die(fmt::format("`true` ended with {}", end->status()));
  }
  if (--programs->open == 0)
    fmt::print("{{\"seconds\": {:.4f}, \"programs\": {}}}\n", seconds_since(programs->begin), programs->count);
}

net::Awaitable<void> time_programs(std::string socket, int count, std::string node) {
  auto programs = std::make_shared<Programs>();
  programs->channel = co_await open(std::move(socket));
  programs->node = std::move(node);
  programs->left = programs->count = count;
  programs->open = std::min(kUnderWay, count);
  programs->begin = std::chrono::steady_clock::now();
  auto executor = co_await net::asio::this_coro::executor;
  for (int i = programs->open; i > 0; --i) net::asio::co_spawn(executor, run_programs(programs), net::asio::detached);
}

}  // namespace

int main(int argc, char** argv) {
  std::string what = argc > 2 ? argv[2] : "";
  if (((what != "calls" && what != "bare") || argc != 4) && (what != "programs" || argc != 5))
    die("usage: calls_bench SOCKET calls COUNT | calls_bench - bare COUNT | calls_bench SOCKET programs COUNT NODE");
  int count = std::max(1, std::atoi(argv[3]));
  if (what == "bare") {
    time_bare_messages(count);
    return 0;
  }
  net::asio::io_context loop{1};
  auto task = what == "calls" ? time_calls(argv[1], count) : time_programs(argv[1], count, argv[4]);
  net::asio::co_spawn(loop, std::move(task), net::asio::detached);
  loop.run();
}
