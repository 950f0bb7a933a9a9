#include "node/flow_logs.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "exec/bounded_output.h"
#include "node/flow_directory.h"
#include "node/mailbox.h"
#include "node/task_group.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

// Of several streams that are read as one, each line is passed on whole.
class WholeLines final {
 public:
  explicit WholeLines(std::string mark) : mark_(std::move(mark)) {}

  /// What has become whole.
  std::string on_bytes(std::string_view bytes) {
    held_ += bytes;
    std::size_t whole = held_.rfind('\n') + 1;  // 0: there is none
    if (whole == 0 && held_.size() > kLineMax) whole = held_.size();
    std::string lines = held_.substr(0, whole);
    held_.erase(0, whole);
    return marked(lines);
  }
  /// What is left, in front of bytes that are missing.
  std::string on_gap() { return marked(std::exchange(held_, {})); }
  /// The last line, which gets a line end if it had none.
  std::string on_end() {
    std::string last = on_gap();
    if (!at_line_start_) last += '\n';
    return last;
  }

 private:
  static constexpr std::size_t kLineMax = std::size_t{1} << 20;  // a longer one may be divided

  std::string marked(std::string_view lines) {
    std::string text;
    while (!lines.empty()) {
      if (at_line_start_) text += mark_;
      std::size_t size = std::min(lines.find('\n'), lines.size() - 1) + 1;
      text += lines.substr(0, size);
      at_line_start_ = text.back() == '\n';
      lines.remove_prefix(size);
    }
    return text;
  }

  std::string mark_;
  std::string held_;
  bool at_line_start_ = true;
};

// One stream that is kept somewhere.
struct Source {
  std::string node, node_id;  // where; empty: here
  v1::ReadOutputRequest request;
  std::string mark;  // before each line, where several are read as one
};

// What one call reads. The coroutines that read put pieces; the call's own writes them.
struct Reading {
  explicit Reading(net::asio::any_io_executor executor) : pieces(executor), changed(executor) {}
  Mailbox<v1::OutputPiece> pieces;
  Condition changed;
  bool stopped = false;
  std::size_t open = 0;  // coroutines that read
  rpc::Status status;    // the first that is no success
  std::set<rpc::ClientCall*> calls;

  void stop() {
    stopped = true;
    pieces.close();
    for (rpc::ClientCall* call : calls) call->cancel();
    changed.notify();
  }
};

constexpr std::size_t kPiecesMax = 4;  // of 64 KiB, for a caller who reads slowly

rpc::Status nobody_reads() { return {rpc::Code::cancelled, "nobody reads the output any more"}; }

Awaitable<void> put(std::shared_ptr<Reading> reading, std::shared_ptr<WholeLines> lines, v1::OutputPiece piece) {
  if (lines && piece.dropped_bytes() > 0) {
    v1::OutputPiece before;
    before.set_bytes(lines->on_gap());
    if (!before.bytes().empty()) reading->pieces.put(std::move(before));
  }
  if (lines) piece.set_bytes(lines->on_bytes(piece.bytes()));
  bool says_something = !piece.bytes().empty() || piece.dropped_bytes() > 0;
  if (says_something) reading->pieces.put(std::move(piece));
  co_await reading->pieces.wait_for_room(kPiecesMax);
}

Awaitable<rpc::Status> read_here(std::shared_ptr<NodeFlows> node, std::shared_ptr<Reading> reading,
                                 v1::ReadOutputRequest request, std::shared_ptr<WholeLines> lines) {
  exec::OutputName name{.program = request.program(),
                        .kind = request.error() ? exec::OutputKind::error : exec::OutputKind::output};
  std::uint64_t offset = 0;
  while (!node->closing && !reading->stopped) {
    bool runs = node->kept.part_runs(request.flow_id(), request.part());  // before reading: what comes later is missed
    auto chunk = node->kept.read_output(request.flow_id(), request.part(), name, offset);
    if (!chunk) co_return rpc::Status{rpc::Code::not_found, chunk.error()};
    if (!chunk->bytes.empty()) {
      v1::OutputPiece piece;
      piece.set_dropped_bytes(chunk->offset - offset);
      piece.set_unwritten(chunk->offset > offset && offset >= chunk->first_kept);  // a hole, not what went first
      offset = chunk->offset + chunk->bytes.size();
      piece.set_bytes(std::move(chunk->bytes));
      co_await put(reading, lines, std::move(piece));
      continue;
    }
    if (!request.follow() || !runs) break;
    co_await reading->changed.wait(Clock::now() + kLookAgain);
  }
  auto written_bytes = node->kept.written_bytes(request.flow_id(), request.part(), name);
  if (written_bytes && *written_bytes > offset) {
    v1::OutputPiece rest;
    rest.set_dropped_bytes(*written_bytes - offset);
    rest.set_unwritten(true);
    co_await put(reading, lines, std::move(rest));
  }
  co_return rpc::Status{};
}

Awaitable<rpc::Status> read_there(std::shared_ptr<NodeFlows> node, std::shared_ptr<Reading> reading, NodeId where,
                                  Source source, v1::Flow flow, std::shared_ptr<WholeLines> lines) {
  auto channel = co_await node->core.peers.get(where, Clock::now() + kAskTime);
  if (!channel) co_return status_of(channel.error(), source.node);
  if (reading->stopped) co_return nobody_reads();
  rpc::ClientCall there = (*channel)->start("sluice.v1.Workers/ReadOutput", {.timeout = std::nullopt});
  reading->calls.insert(&there);
  if (co_await there.write(source.request.SerializeAsString())) there.writes_done();
  while (auto bytes = co_await there.read()) {
    v1::OutputPiece piece;
    if (reading->stopped || !piece.ParseFromString(*bytes)) break;
    co_await put(reading, lines, std::move(piece));
  }
  rpc::Status status = co_await there.finish();
  reading->calls.erase(&there);
  co_return status.ok() || (*channel)->alive() ? status : lost_node(source.node, flow);
}

// One after the other; those that follow each have a coroutine of their own.
Awaitable<void> read_sources(std::shared_ptr<NodeFlows> node, std::shared_ptr<Reading> reading,
                             std::vector<Source> sources, v1::Flow flow, bool merged) {
  for (const Source& source : sources) {
    auto lines = merged ? std::make_shared<WholeLines>(source.mark) : nullptr;
    auto where = NodeId::parse(source.node_id);
    rpc::Status status;
    if (!where || *where == node->self())
      status = co_await read_here(node, reading, source.request, lines);
    else
      status = co_await read_there(node, reading, *where, source, flow, lines);
    v1::OutputPiece last;
    if (lines) last.set_bytes(lines->on_end());
    if (!last.bytes().empty()) reading->pieces.put(std::move(last));
    if (!status.ok() && reading->status.ok()) reading->status = std::move(status);
  }
  if (--reading->open == 0) reading->pieces.close();
}

Awaitable<rpc::Status> send(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call, std::vector<Source> sources,
                            v1::Flow flow, bool follow) {
  auto reading = std::make_shared<Reading>(node->core.executor);
  TaskGroup tasks(node->core.executor, node->core.log);
  bool merged = sources.size() > 1;
  std::vector<std::vector<Source>> turns;
  if (follow)
    for (Source& source : sources) turns.push_back({std::move(source)});
  else
    turns.push_back(std::move(sources));
  reading->open = turns.size();
  for (std::vector<Source>& turn : turns) tasks.spawn(read_sources(node, reading, std::move(turn), flow, merged));
  std::optional<rpc::Status> early;
  while (!early) {
    auto next = co_await (reading->pieces.take() || call.cancelled());
    auto* piece = std::get_if<0>(&next);
    if (piece != nullptr && !*piece) break;
    if (piece == nullptr) {
      early = nobody_reads();
    } else {
      auto written = co_await call.write((*piece)->SerializeAsString());
      if (!written) early = written.error();
    }
  }
  reading->stop();
  co_await tasks.wait();
  co_return early ? *early : reading->status;
}

// --- which streams ------------------------------------------------------------------------------------------------

Source source_in(const v1::Flow& flow, const std::string& node, const std::string& node_id, std::uint32_t part) {
  Source source{.node = node, .node_id = node_id};
  source.request.set_flow_id(flow.id());
  source.request.set_part(part);
  return source;
}

void add_output(const v1::Flow& flow, const v1::FlowStage& stage, std::vector<Source>& sources) {
  Source& source = sources.emplace_back(source_in(flow, stage.node(), stage.node_id(), stage.part()));
  source.request.set_program(stage.program());
  source.mark = stage.mark();
}

// Where the processes are: their records may be on another node.
void add_errors(const v1::Flow& flow, const v1::FlowStage& stage, std::vector<Source>& sources) {
  std::size_t before = sources.size();
  for (const v1::KeptSeats& seats : stage.seats())
    sources.push_back(source_in(flow, seats.node(), seats.node_id(), seats.part()));
  if (sources.size() == before) add_output(flow, stage, sources);
  for (std::size_t i = before; i < sources.size(); ++i) sources[i].request.set_error(true);
}

// Nothing: the flow has no such stage.
std::optional<std::uint32_t> stage_named(const v1::Flow& flow, const v1::ReadLogsRequest& request) {
  const std::string& name = request.stage_name();
  for (const v1::FlowStage& stage : flow.stages())
    if (!name.empty() && stage.name() == name) return stage.index();
  for (const v1::FlowStage& stage : flow.stages())
    if (name.empty() ? static_cast<int>(stage.index()) == request.stage() : std::to_string(stage.index() + 1) == name)
      return stage.index();
  return std::nullopt;
}

std::expected<std::vector<Source>, rpc::Status> sources_of(const v1::Flow& flow, const v1::ReadLogsRequest& request) {
  std::vector<Source> sources;
  if (request.stage() < 0 && request.stage_name().empty()) {
    for (const v1::FlowStage& stage : flow.stages())
      if (stage.writes_output()) add_output(flow, stage, sources);
    // An older node has written it down: a row of stages.
    if (sources.empty() && !flow.stages().empty()) add_output(flow, *flow.stages().rbegin(), sources);
    return sources;
  }
  std::string wanted = request.stage_name().empty() ? std::to_string(request.stage() + 1) : request.stage_name();
  auto index = stage_named(flow, request);
  if (!index)
    return std::unexpected(rpc::Status{rpc::Code::not_found, fmt::format("the flow has no stage {}", wanted)});
  for (const v1::FlowStage& stage : flow.stages()) {
    if (stage.index() != *index) continue;
    if (request.output() && !stage.writes_output())
      return std::unexpected(
          rpc::Status{rpc::Code::failed_precondition,
                      fmt::format("what stage {} writes goes to another, and is not kept; its stderr is", wanted)});
    if (request.output())
      add_output(flow, stage, sources);
    else
      add_errors(flow, stage, sources);
  }
  return sources;
}

}  // namespace

Awaitable<rpc::Status> read_logs(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call) {
  auto message = co_await call.read();
  v1::ReadLogsRequest request;
  if (!message || !*message || !request.ParseFromString(**message))
    co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
  auto flow = co_await find_flow(node, request.flow());
  if (!flow) co_return flow.error();
  if (!flow->background())
    co_return rpc::Status{rpc::Code::not_found, "a flow in the foreground keeps no output: its client has it"};
  auto sources = sources_of(*flow, request);
  if (!sources) co_return sources.error();
  for (Source& source : *sources) source.request.set_follow(request.follow());
  co_return co_await send(node, call, *std::move(sources), *flow, request.follow());
}

Awaitable<rpc::Status> read_output(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call) {
  auto message = co_await call.read();
  v1::ReadOutputRequest request;
  if (!message || !*message || !request.ParseFromString(**message))
    co_return rpc::Status{rpc::Code::invalid_argument, "the request is no message of its type"};
  std::vector<Source> sources(1);
  bool follow = request.follow();
  sources[0].request = std::move(request);
  co_return co_await send(node, call, std::move(sources), v1::Flow(), follow);
}

}  // namespace sluice::node
