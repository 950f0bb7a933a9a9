#include "node/role_service.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <set>
#include <string>

#include "node/mailbox.h"
#include "node/offered_worker.h"
#include "node/role_offers.h"
#include "node/task_group.h"
#include "rpc/channel.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kAskTime{1};
// The word that somebody waits may get lost, and nodes come.
constexpr std::chrono::seconds kTellAgain{5};
constexpr std::size_t kReadSize = std::size_t{64} << 10;
constexpr std::size_t kOutputsMax = 4;
constexpr std::size_t kNameMax = 63;
constexpr std::size_t kWaitingMax = 4096;  // on one node: each is a connection

using Worker = std::shared_ptr<OfferedWorker>;
using Outputs = Mailbox<v1::RoleOutput>;
using Descriptor = asio::posix::stream_descriptor;

Awaitable<void> served_or_cut(Worker worker) {
  while (!worker->serving && !worker->cut) co_await worker->changed.wait();
}

Awaitable<void> cut_off(Worker worker) {
  while (!worker->cut) co_await worker->changed.wait();
}

Awaitable<void> write_outputs(Worker worker, std::shared_ptr<Outputs> outputs, rpc::ServerCall& call) {
  while (auto output = co_await outputs->take()) {
    auto written = co_await (call.write(output->SerializeAsString()) || cut_off(worker));
    auto* sent = std::get_if<0>(&written);
    if (sent == nullptr || !*sent) break;
  }
  outputs->close();
  outputs->clear();
}

// The pipe ends when the link of the requests does; after a cut the call has ended before.
Awaitable<void> read_requests(Worker worker, std::shared_ptr<Descriptor> from, std::shared_ptr<Outputs> outputs) {
  std::string buffer(kReadSize, '\0');
  while (!outputs->closed()) {
    auto [error, size] = co_await from->async_read_some(asio::buffer(buffer), kTuple);
    if (worker->cut || error == asio::error::operation_aborted) co_return;
    v1::RoleOutput output;
    if (error) {
      output.mutable_requests_end();
      outputs->put(std::move(output));
      worker->requests_ended = true;
      co_return;
    }
    output.set_bytes(buffer.data(), size);
    outputs->put(std::move(output));
    co_await outputs->wait_for_room(kOutputsMax);
  }
}

Awaitable<void> pass_signals(Worker worker, std::shared_ptr<Outputs> outputs) {
  while (!outputs->closed() && !worker->cut) {
    while (!worker->signals.empty()) {
      v1::RoleOutput output;
      output.set_signal(worker->signals.front());
      worker->signals.pop_front();
      outputs->put(std::move(output));
    }
    co_await worker->changed.wait();
  }
}

// Until the worker says no more, or is lost.
Awaitable<void> write_replies(Worker worker, std::shared_ptr<Descriptor> into, rpc::ServerCall& call) {
  while (true) {
    auto message = co_await call.read();
    v1::RoleInput input;
    bool says_more = message && *message && input.ParseFromString(**message);
    bool whole = (message && !*message) || worker->requests_ended || worker->cut;
    if (!says_more && !whole) worker->lost = true;
    if (!says_more) co_return;
    worker->leaving |= input.leaving();
    // Who reads no replies asks for nothing more, and the end of the requests says so: these are dropped.
    co_await asio::async_write(*into, asio::buffer(input.bytes()), kTuple);
  }
}

}  // namespace

struct RoleService::Impl : std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, RoleOffers& role_offers)
      : core(node_core), offers(role_offers), tasks(core.executor, core.log), changed(core.executor) {}

  NodeCore core;
  RoleOffers& offers;
  OnOffered on_offered;
  TaskGroup tasks;
  Condition changed;
  std::set<Worker> workers;  // of every call that there is
  bool closing = false;

  // --- one worker -------------------------------------------------------------------------------------------------

  static Awaitable<rpc::Status> serve(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto first = co_await call.read();
    if (!first) co_return first.error();
    v1::RoleInput input;
    if (!*first || !input.ParseFromString(**first) || !input.has_offer())
      co_return rpc::Status{rpc::Code::invalid_argument, "the first message must say which role is offered"};
    const v1::RoleOffer& offer = input.offer();
    if (offer.role().empty() || offer.role().size() > kNameMax || offer.flow().size() > kNameMax ||
        offer.host().size() > 255)
      co_return rpc::Status{rpc::Code::invalid_argument, "a role, a flow or a host whose name is too long or empty"};
    if (self->closing) co_return rpc::Status{rpc::Code::unavailable, "this node is about to leave"};
    if (self->workers.size() >= kWaitingMax)
      co_return rpc::Status{rpc::Code::resource_exhausted, "too many workers wait on this node; name another"};
    auto worker = std::make_shared<OfferedWorker>(self->core.executor, offer);
    self->workers.insert(worker);
    rpc::Status status = co_await wait_and_serve(self, worker, call);
    self->workers.erase(worker);
    self->changed.notify();
    co_return status;
  }

  static Awaitable<rpc::Status> wait_and_serve(std::shared_ptr<Impl> self, Worker worker, rpc::ServerCall& call) {
    self->offers.add(worker);
    std::string id = worker->offer.id();
    self->tasks.spawn(tell_others(self, worker));
    auto taken = co_await (served_or_cut(worker) || call.cancelled());
    self->offers.remove(id);
    bool gone = taken.index() == 1;
    if (gone) {
      worker->cut = true;
      worker->requests.reset();
      worker->replies.reset();
    }
    worker->changed.notify();
    if (gone) co_return rpc::Status{rpc::Code::cancelled, "the worker has gone"};
    if (!worker->serving) co_return rpc::Status{rpc::Code::unavailable, worker->cut_for};
    co_return co_await move(self, worker, call);
  }

  static Awaitable<rpc::Status> move(std::shared_ptr<Impl> self, Worker worker, rpc::ServerCall& call) {
    auto outputs = std::make_shared<Outputs>(self->core.executor);
    auto requests = std::make_shared<Descriptor>(self->core.executor, worker->requests.release());
    auto replies = std::make_shared<Descriptor>(self->core.executor, worker->replies.release());
    v1::RoleOutput task;
    *task.mutable_task() = worker->task;
    outputs->put(std::move(task));
    TaskGroup moving(self->core.executor, self->core.log);
    moving.spawn(write_outputs(worker, outputs, call));
    moving.spawn(read_requests(worker, requests, outputs));
    moving.spawn(pass_signals(worker, outputs));
    co_await (write_replies(worker, replies, call) || cut_off(worker));
    replies->close();  // the host that has the records sees that nothing more comes
    bool was_cut = worker->cut;
    worker->cut = true;
    worker->changed.notify();
    outputs->close();
    requests->cancel();
    co_await moving.wait();
    co_return was_cut ? rpc::Status{rpc::Code::aborted, worker->cut_for} : rpc::Status{};
  }

  // --- the other nodes --------------------------------------------------------------------------------------------

  static Awaitable<void> tell_others(std::shared_ptr<Impl> self, Worker worker) {
    while (self->offers.waits(worker->offer.id()) && !self->closing) {
      v1::OfferedRequest request;
      request.set_node_id(self->core.members.self().text());
      *request.add_offers() = worker->offer;
      if (self->on_offered) self->on_offered(self->core.members.self(), {worker->offer});
      for (const NodeId& node : self->others()) self->tasks.spawn(tell(self, node, request));
      TimePoint next = Clock::now() + kTellAgain;
      while (Clock::now() < next && self->offers.waits(worker->offer.id()) && !self->closing)
        co_await worker->changed.wait(next);
    }
  }

  std::vector<NodeId> others() const {
    std::vector<NodeId> nodes;
    for (const cluster::Member& member : core.members.members())
      if (member.state == cluster::MemberState::alive && member.id != core.members.self()) nodes.push_back(member.id);
    return nodes;
  }

  static Awaitable<void> tell(std::shared_ptr<Impl> self, NodeId node, v1::OfferedRequest request) {
    auto channel = co_await self->core.peers.get(node, Clock::now() + kAskTime);
    if (!channel) co_return;
    rpc::CallOptions options{.timeout = kAskTime};
    (void)co_await rpc::call<v1::OfferedResponse>(**channel, "sluice.v1.Roles/Offered", request, options);
  }

  static Awaitable<void> ask(std::shared_ptr<Impl> self, NodeId node) {
    auto channel = co_await self->core.peers.get(node, Clock::now() + kAskTime);
    if (!channel) co_return;
    rpc::CallOptions options{.timeout = kAskTime};
    v1::ListOffersRequest request;
    auto answer = co_await rpc::call<v1::ListOffersResponse>(**channel, "sluice.v1.Roles/ListOffers", request, options);
    if (answer) self->on_offers(node, answer->offers());
  }

  void on_offers(const NodeId& node, const google::protobuf::RepeatedPtrField<v1::RoleOffer>& offered) const {
    if (on_offered && !offered.empty()) on_offered(node, {offered.begin(), offered.end()});
  }

  Awaitable<std::expected<v1::ListOffersResponse, rpc::Status>> list() const {
    v1::ListOffersResponse response;
    for (const v1::RoleOffer& offer : offers.list()) *response.add_offers() = offer;
    co_return response;
  }

  Awaitable<std::expected<v1::OfferedResponse, rpc::Status>> hear(v1::OfferedRequest request) const {
    auto node = NodeId::parse(request.node_id());
    if (!node) co_return std::unexpected(rpc::Status{rpc::Code::invalid_argument, "that is no id of a node"});
    on_offers(*node, request.offers());
    co_return v1::OfferedResponse();
  }
};

RoleService::RoleService(NodeCore core, RoleOffers& offers) : impl_(std::make_shared<Impl>(core, offers)) {}

RoleService::~RoleService() = default;

void RoleService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  auto impl = impl_;
  table.add({.name = "sluice.v1.Roles/Serve",
             .roles = {Role::run, Role::worker, Role::operate, Role::admin},
             .client_streams = true,
             .server_streams = true,
             .mutating = true,
             .object = rpc::object_of<v1::RoleInput>([](const v1::RoleInput& input) {
               return rpc::CallObject{{"role", input.offer().role()}};
             }),
             .handler = [impl](rpc::ServerCall& call) { return Impl::serve(impl, call); }});
  table.add({.name = "sluice.v1.Roles/ListOffers",
             .roles = {Role::node},
             .handler = rpc::unary_of<v1::ListOffersRequest, v1::ListOffersResponse>(
                 [impl](const rpc::CallInfo&, v1::ListOffersRequest) { return impl->list(); })});
  table.add({.name = "sluice.v1.Roles/Offered",
             .roles = {Role::node},
             .handler = rpc::unary_of<v1::OfferedRequest, v1::OfferedResponse>(
                 [impl](const rpc::CallInfo&, v1::OfferedRequest request) { return impl->hear(std::move(request)); })});
}

void RoleService::set_on_offered(OnOffered on_offered) { impl_->on_offered = std::move(on_offered); }

void RoleService::ask() {
  if (impl_->on_offered) impl_->on_offered(impl_->core.members.self(), impl_->offers.list());
  for (const NodeId& node : impl_->others()) impl_->tasks.spawn(Impl::ask(impl_, node));
}

Awaitable<void> RoleService::close() {
  auto impl = impl_;
  impl->closing = true;
  for (const Worker& worker : impl->workers) {
    worker->cut_for = "this node ends";
    worker->cut = true;
    worker->changed.notify();
  }
  while (!impl->workers.empty()) co_await impl->changed.wait();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
