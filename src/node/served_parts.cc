#include "node/served_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "node/condition.h"
#include "node/served_part.h"
#include "node/task_group.h"
#include "sluice/v1/flows.pb.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

// Between two questions about a flow to its orchestrator that has no line to its part here.
constexpr std::chrono::seconds kAskPause{3};
constexpr std::chrono::seconds kAskTime{2};
// Parts that have ended without an orchestrator and whose end it was not told yet. The oldest are forgotten.
constexpr std::size_t kEndedAloneMax = 4096;

}  // namespace

struct ServedParts::Impl : std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, PartSurroundings& around)
      : core(node_core), surroundings(around), tasks(core.executor, core.log), changed(core.executor) {}

  NodeCore core;
  PartSurroundings& surroundings;
  TaskGroup tasks;
  Condition changed;
  std::set<std::shared_ptr<ServedPart>> running;
  std::map<ServedPart::Key, std::shared_ptr<ServedPart>> outliving;  // those that outlive their orchestrators
  bool closing = false;

  // --- lines ------------------------------------------------------------------------------------------------------

  static Awaitable<std::optional<v1::HostCommand>> next(rpc::ServerCall& call) {
    auto message = co_await call.read();
    v1::HostCommand command;
    if (!message || !*message || !command.ParseFromString(**message)) co_return std::nullopt;
    co_return command;
  }

  static Awaitable<void> write_events(std::shared_ptr<ServedPart::Line> line, rpc::ServerCall& call) {
    while (auto event = co_await line->take())
      if (!co_await call.write(event->SerializeAsString())) line->close();
  }

  static Awaitable<rpc::Status> serve(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    if (self->closing) co_return rpc::Status{rpc::Code::unavailable, "this node is about to leave"};
    auto command = co_await next(call);
    if (!command) co_return rpc::Status{};
    std::shared_ptr<ServedPart> part;
    if (command->has_resume()) {
      auto resumed = self->resume(call.info(), command->resume());
      if (!resumed) co_return resumed.error();
      part = *std::move(resumed);
    } else {
      part = self->open_part(call.info());
    }
    auto line = std::make_shared<ServedPart::Line>(self->core.executor);
    part->attach(line);
    TaskGroup writing(self->core.executor, self->core.log);
    writing.spawn(write_events(line, call));
    while (command && !command->has_finish()) {
      if (!command->has_resume()) part->on_command(*command);
      if (command->has_prepare() && part->outlives_orchestrator()) self->outliving[part->key()] = part;
      command = co_await next(call);
    }
    if (part->has_line(line)) co_await self->end_line(part, command.has_value());
    line->close();
    co_await writing.wait();
    co_return rpc::Status{};
  }

  // `told_so`: the part is to end; else the line broke.
  Awaitable<void> end_line(std::shared_ptr<ServedPart> part, bool told_so) {
    bool goes_on = !told_so && !closing && part->may_be_alone();
    if (goes_on) {
      part->detach();
      if (!part->over()) tasks.spawn(look_after(shared_from_this(), part));
      co_return;
    }
    if (told_so || !part->has_started()) outliving.erase(part->key());
    part->give_up(part->is_broken() ? "a link of it broke, and it was ended" : "its node ended it");
    co_await part->host().finished();
    bury(*part);
  }

  void bury(ServedPart& part) {
    part.mark_over(Clock::now());
    std::erase_if(running, [&part](const auto& each) { return each.get() == &part; });
    changed.notify();
  }

  std::shared_ptr<ServedPart> open_part(const rpc::CallInfo& info) {
    const net::Peer& caller = info.caller.connection;
    std::optional<ServedPart::Orchestrator> orchestrator;
    if (caller.node) orchestrator = ServedPart::Orchestrator{.id = *caller.node, .name = caller.name};
    auto part = std::make_shared<ServedPart>(core.executor, surroundings, std::move(orchestrator));
    running.insert(part);
    return part;
  }

  std::expected<std::shared_ptr<ServedPart>, rpc::Status> resume(const rpc::CallInfo& info, const v1::Resume& wanted) {
    auto found = outliving.find({wanted.flow_id(), wanted.part()});
    const std::optional<NodeId>& caller = info.caller.connection.node;
    auto is_of = [&](const std::optional<ServedPart::Orchestrator>& orchestrator) {
      return caller && orchestrator && orchestrator->id == *caller;
    };
    if (found == outliving.end() || !is_of(found->second->orchestrator()))
      return std::unexpected(
          rpc::Status{rpc::Code::not_found,
                      "it does not have that part of the flow: it was started anew, or never started the part"});
    std::string given_up = found->second->given_up();
    if (given_up.empty()) return found->second;
    outliving.erase(found);
    return std::unexpected(rpc::Status{rpc::Code::failed_precondition, given_up});
  }

  // --- parts whose orchestrator is gone ---------------------------------------------------------------------------

  static Awaitable<void> await_end(std::shared_ptr<Impl> self, std::shared_ptr<ServedPart> part) {
    co_await part->host().finished();
    self->bury(*part);
    self->forget_oldest();
  }

  // Until it is over, or has a line again. A flow that has ended for its orchestrator must not go on here: the line may have
  // been cut and not the orchestrator's node.
  static Awaitable<void> look_after(std::shared_ptr<Impl> self, std::shared_ptr<ServedPart> part) {
    self->tasks.spawn(await_end(self, part));
    self->core.log.info(
        "a part goes on without its orchestrator",
        {{"flow", part->key().first}, {"part", part->key().second}, {"node", part->orchestrator()->name}});
    while (part->is_alone() && !part->over() && !self->closing) {
      std::string why;
      if (!part->is_broken()) why = co_await self->end_of_flow(*part);
      if (!part->is_alone() || part->over() || self->closing) break;
      if (part->is_broken()) why = "a link of it broke";
      if (!why.empty()) {
        self->core.log.warn("a part without an orchestrator is ended",
                            {{"flow", part->key().first}, {"part", part->key().second}, {"reason", why}});
        part->give_up(fmt::format("{} while {} was gone, and it was ended", why, part->orchestrator()->name));
        break;
      }
      co_await part->changed().wait(Clock::now() + kAskPause);
    }
  }

  // Why the orchestrator of a part would end it; empty: it would not, or can't be asked.
  Awaitable<std::string> end_of_flow(ServedPart& part) {
    const ServedPart::Orchestrator orchestrator = *part.orchestrator();
    if (!is_alive(orchestrator.id)) co_return std::string();
    auto channel = co_await core.peers.get(orchestrator.id, Clock::now() + kAskTime);
    if (!channel) co_return std::string();
    v1::ListFlowsRequest request;
    request.set_this_node_only(true);
    request.set_wanted(part.key().first);
    rpc::CallOptions options{.timeout = kAskTime};
    auto flows = co_await rpc::call<v1::ListFlowsResponse>(**channel, "sluice.v1.Flows/ListFlows", request, options);
    if (!flows) co_return std::string();
    bool runs = std::ranges::any_of(flows->flows(), [](const v1::Flow& flow) { return !flow.alone(); });
    co_return runs ? "" : fmt::format("the flow has ended, says {}", orchestrator.name);
  }

  bool is_alive(const NodeId& node) const {
    return std::ranges::any_of(core.members.members(), [&](const cluster::Member& member) {
      return member.id == node && member.state == cluster::MemberState::alive;
    });
  }
  std::string own_name() const {
    for (const cluster::Member& member : core.members.members())
      if (member.id == core.members.self()) return member.profile.name;
    return {};
  }

  void forget_oldest() {
    std::size_t ended = 0;
    for (const auto& [key, part] : outliving) ended += part->over() && part->is_alone() ? 1 : 0;
    if (ended <= kEndedAloneMax) return;
    auto oldest = outliving.end();
    for (auto each = outliving.begin(); each != outliving.end(); ++each) {
      if (!each->second->over() || !each->second->is_alone()) continue;
      if (oldest == outliving.end() || each->second->over_at() < oldest->second->over_at()) oldest = each;
    }
    outliving.erase(oldest);
  }

  std::vector<v1::Flow> alone() const {
    std::map<std::string, v1::Flow> flows;
    std::string name = own_name();
    for (const auto& [key, part] : outliving)
      if (part->is_alone() && !part->over()) part->describe(core.members.self(), name, flows[key.first]);
    std::vector<v1::Flow> list;
    for (auto& [id, flow] : flows) list.push_back(std::move(flow));
    return list;
  }

  void forget_alone(const std::string& flow_id) {
    std::erase_if(outliving, [&](const auto& each) { return each.first.first == flow_id && each.second->over(); });
  }

  static Awaitable<void> stop_alone(std::shared_ptr<Impl> self, std::string flow_id, Duration grace) {
    std::vector<std::shared_ptr<ServedPart>> parts;
    for (const auto& [key, part] : self->outliving)
      if (key.first == flow_id && part->is_alone() && !part->over()) parts.push_back(part);
    for (const auto& part : parts) part->tell_to_end();
    TimePoint deadline = Clock::now() + grace;
    auto runs = [](const std::shared_ptr<ServedPart>& part) { return !part->over(); };
    while (std::ranges::any_of(parts, runs) && Clock::now() < deadline) co_await self->changed.wait(deadline);
    for (const auto& part : parts)
      if (runs(part)) part->give_up("it was told to stop while its orchestrator was gone");
    while (std::ranges::any_of(parts, runs)) co_await self->changed.wait();
  }
};

ServedParts::ServedParts(NodeCore core, PartSurroundings& surroundings)
    : impl_(std::make_shared<Impl>(core, surroundings)) {}

ServedParts::~ServedParts() = default;

Awaitable<rpc::Status> ServedParts::serve(rpc::ServerCall& call) { return Impl::serve(impl_, call); }

std::size_t ServedParts::programs() const {
  std::size_t programs = 0;
  for (const auto& part : impl_->running) programs += part->host().programs();
  return programs;
}

std::vector<v1::Flow> ServedParts::alone() const { return impl_->alone(); }

Awaitable<void> ServedParts::stop_alone(std::string flow_id, Duration grace) {
  return Impl::stop_alone(impl_, std::move(flow_id), grace);
}

void ServedParts::forget_alone(const std::string& flow_id) { impl_->forget_alone(flow_id); }

Awaitable<void> ServedParts::drain(std::optional<Duration> grace) {
  auto impl = impl_;
  impl->closing = true;
  std::optional<TimePoint> deadline;
  if (grace) {
    deadline = Clock::now() + *grace;
    for (const auto& part : impl->running) part->host().leave();
  }
  while (!impl->running.empty() && (!deadline || Clock::now() < *deadline)) co_await impl->changed.wait(deadline);
}

Awaitable<void> ServedParts::close() {
  auto impl = impl_;
  impl->closing = true;
  for (const auto& part : impl->running) part->host().abandon();
  for (const auto& [key, part] : impl->outliving) part->changed().notify();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
