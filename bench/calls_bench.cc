// What a call costs on a connection that is there already, and how many programs a node runs to their end for one client.
//
//   calls_bench SOCKET calls COUNT              COUNT calls one after another: microseconds of each, as one line of JSON
//   calls_bench SOCKET programs COUNT NODE      COUNT runs of `true` on NODE, 64 calls under way: seconds in all
//
// SOCKET is that of a running node; the node passes on what is for NODE over its one connection to that.
#include <fmt/format.h>

#include <algorithm>
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
  std::ranges::sort(each);
  fmt::print("{{\"median_us\": {:.2f}, \"p99_us\": {:.2f}}}\n", each[each.size() / 2], each[each.size() * 99 / 100]);
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
  if ((what != "calls" || argc != 4) && (what != "programs" || argc != 5))
    die("usage: calls_bench SOCKET calls COUNT | calls_bench SOCKET programs COUNT NODE");
  net::asio::io_context loop{1};
  int count = std::max(1, std::atoi(argv[3]));
  auto task = what == "calls" ? time_calls(argv[1], count) : time_programs(argv[1], count, argv[4]);
  net::asio::co_spawn(loop, std::move(task), net::asio::detached);
  loop.run();
}
