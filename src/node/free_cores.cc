#include "node/free_cores.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "node/task_group.h"
#include "rpc/channel.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kAskTime{1};

int cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? std::max(1, CPU_COUNT(&allowed)) : 1;
}

net::Awaitable<void> ask(NodeCore core, flow::NodeChoice* node) {
  node->free_cores = 0;
  auto channel = co_await core.peers.get(node->id, Clock::now() + kAskTime);
  if (!channel) co_return;
  rpc::CallOptions options{.timeout = kAskTime};
  v1::FreeCoresRequest request;
  auto answer = co_await rpc::call<v1::FreeCoresResponse>(**channel, "sluice.v1.Workers/FreeCores", request, options);
  if (answer) node->free_cores = answer->cores();
}

}  // namespace

double free_cores(std::size_t programs) {
  double load = 0;
  if (::getloadavg(&load, 1) != 1) load = 0;
  return cores() - std::max(load, static_cast<double>(programs));
}

net::Awaitable<void> ask_free_cores(NodeCore core, double own, std::vector<flow::NodeChoice>& nodes) {
  TaskGroup asking(core.executor, core.log);
  for (flow::NodeChoice& node : nodes) {
    if (node.id == core.members.self())
      node.free_cores = own;
    else
      asking.spawn(ask(core, &node));
  }
  co_await asking.wait();
}

}  // namespace sluice::node
