#include "node/flow_logs.h"

#include <fmt/format.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <utility>
#include <variant>

#include "exec/bounded_output.h"
#include "node/flow_directory.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

rpc::Status nobody_reads() { return {rpc::Code::cancelled, "nobody reads the output any more"}; }

Awaitable<rpc::Status> send_output(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call,
                                   v1::ReadOutputRequest request) {
  exec::OutputName name{.program = request.program(),
                        .kind = request.error() ? exec::OutputKind::error : exec::OutputKind::output};
  Condition pause(node->core.executor);
  std::uint64_t offset = 0;
  while (!node->closing) {
    bool runs = node->kept.part_runs(request.flow_id(), request.part());  // before reading: what comes later is missed
    auto chunk = node->kept.read_output(request.flow_id(), request.part(), name, offset);
    if (!chunk) co_return rpc::Status{rpc::Code::not_found, chunk.error()};
    if (!chunk->bytes.empty()) {
      v1::OutputPiece piece;
      piece.set_dropped_bytes(chunk->offset - offset);
      piece.set_unwritten(chunk->offset > offset && offset >= chunk->first_kept);  // a hole, not what went first
      offset = chunk->offset + chunk->bytes.size();
      piece.set_bytes(std::move(chunk->bytes));
      if (auto written = co_await call.write(piece.SerializeAsString()); !written) co_return written.error();
      continue;
    }
    if (!request.follow() || !runs) break;
    auto first = co_await (pause.wait(Clock::now() + kLookAgain) || call.cancelled());
    if (first.index() == 1) co_return nobody_reads();
  }
  auto written_bytes = node->kept.written_bytes(request.flow_id(), request.part(), name);
  if (written_bytes && *written_bytes > offset) {
    v1::OutputPiece rest;
    rest.set_dropped_bytes(*written_bytes - offset);
    rest.set_unwritten(true);
    if (auto written = co_await call.write(rest.SerializeAsString()); !written) co_return written.error();
  }
  co_return rpc::Status{};
}

}  // namespace

Awaitable<rpc::Status> read_logs(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call) {
  auto message = co_await call.read();
  v1::ReadLogsRequest request;
  if (!message || !*message || !request.ParseFromString(**message))
    co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return flow.error();
  int index = request.stage() < 0 ? flow->stages_size() - 1 : request.stage();
  const v1::FlowStage* stage = nullptr;
  for (const v1::FlowStage& each : flow->stages())
    if (static_cast<int>(each.index()) == index) stage = &each;
  if (stage == nullptr || !flow->background())
    co_return rpc::Status{rpc::Code::not_found, flow->background()
                                                    ? fmt::format("the flow has no stage {}", index + 1)
                                                    : "a flow in the foreground keeps no output: its client has it"};
  v1::ReadOutputRequest output;
  output.set_flow_id(flow->id());
  output.set_part(stage->part());
  output.set_program(stage->program());
  output.set_error(request.stage() >= 0);
  output.set_follow(request.follow());
  auto keeper = NodeId::parse(stage->node_id());
  if (!keeper || *keeper == node->self()) co_return co_await send_output(node, call, std::move(output));
  auto channel = co_await node->core.peers.get(*keeper, Clock::now() + kAskTime);
  if (!channel) co_return status_of(channel.error(), stage->node());
  rpc::ClientCall there = (*channel)->start("sluice.v1.Workers/ReadOutput", {.timeout = std::nullopt});
  if (co_await there.write(output.SerializeAsString())) there.writes_done();
  while (true) {
    auto next = co_await (there.read() || call.cancelled());
    auto* piece = std::get_if<0>(&next);
    if (piece == nullptr) co_return nobody_reads();  // and so the call there is dropped
    if (!*piece) {
      rpc::Status status = co_await there.finish();
      co_return status.ok() || (*channel)->alive() ? status : lost_node(stage->node(), *flow);
    }
    if (auto written = co_await call.write(std::move(**piece)); !written) co_return written.error();
  }
}

Awaitable<rpc::Status> read_output(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call) {
  auto message = co_await call.read();
  v1::ReadOutputRequest request;
  if (!message || !*message || !request.ParseFromString(**message))
    co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
  co_return co_await send_output(node, call, std::move(request));
}

}  // namespace sluice::node
