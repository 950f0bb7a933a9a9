// `sluice ps`, `logs`, `wait`, `stop`, `scale` and `rm`: flows of the cluster, from any node.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <charconv>
#include <chrono>
#include <expected>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "base/id.h"
#include "base/time.h"
#include "cli/flow_state.h"
#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/stdout_watch.h"
#include "cli/verbs.h"
#include "exec/process_status.h"
#include "flow/quoting.h"
#include "flow/stage_words.h"
#include "sluice/v1/cluster.pb.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kCommandColumns = 50;
constexpr std::size_t kFlowsMax = 10'000;  // of one command: more than its line is likely to hold

int fail(const rpc::Status& status) {
  Failure failure = failure_of(status);
  return refuse(failure.status, failure.message);
}

std::string utc(std::uint64_t unix_ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)));
}

std::string age(std::uint64_t unix_ms) {
  auto now = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  auto passed = now - std::chrono::milliseconds(unix_ms);
  return format_duration(std::max(passed, std::chrono::milliseconds(0))) + " ago";
}

nlohmann::ordered_json to_json(const v1::Flow& flow) {
  nlohmann::ordered_json json = {{"id", flow.id()},       {"name", flow.name()},
                                 {"text", flow.text()},   {"state", state_text(flow.state())},
                                 {"node", flow.node()},   {"background", flow.background()},
                                 {"alone", flow.alone()}, {"started", utc(flow.started_unix_ms())}};
  if (flow.ended_unix_ms() != 0) json["ended"] = utc(flow.ended_unix_ms());
  if (flow.state() == v1::FLOW_STATE_ENDED) json["status"] = flow.status();
  if (!flow.message().empty()) json["message"] = flow.message();
  if (flow.notes_size() > 0) json["notes"] = std::vector<std::string>(flow.notes().begin(), flow.notes().end());
  json["stages"] = nlohmann::ordered_json::array();
  for (const v1::FlowStage& stage : flow.stages()) {
    nlohmann::ordered_json entry = {{"stage", stage.index() + 1},
                                    {"command", stage.command()},
                                    {"node", stage.node()},
                                    {"pid", stage.pid()},
                                    {"ended", stage.ended()}};
    if (stage.ended()) entry["status"] = exec::ProcessStatus::from_wait(stage.wait_status()).shell_status();
    json["stages"].push_back(std::move(entry));
  }
  return json;
}

std::string state_column(const v1::Flow& flow) {
  if (flow.state() == v1::FLOW_STATE_ENDED) return fmt::format("ended ({})", flow.status());
  if (flow.alone()) return "alone";
  return state_text(flow.state());
}

std::string nodes_column(const v1::Flow& flow) {
  std::string text;
  std::vector<std::string> seen;
  for (const v1::FlowStage& stage : flow.stages()) {
    if (std::ranges::find(seen, stage.node()) != seen.end()) continue;
    seen.push_back(stage.node());
    text += (text.empty() ? "" : ",") + stage.node();
  }
  return text.empty() ? flow.node() : text;
}

std::string table(const v1::ListFlowsResponse& list) {
  std::size_t id = ::isatty(STDOUT_FILENO) == 1 ? kShortIdDigits : 2 * kIdSize;
  std::size_t nodes = 5, name = 4;
  for (const v1::Flow& flow : list.flows()) {
    nodes = std::max(nodes, nodes_column(flow).size());
    name = std::max(name, flow.name().size());
  }
  std::string text = fmt::format("{:{}}  {:{}}  {:11}  {:13}  {:{}}  COMMAND\n", "FLOW", id, "NAME", name, "STATE",
                                 "STARTED", "NODES", nodes);
  for (const v1::Flow& flow : list.flows())
    text += fmt::format("{}  {:{}}  {:11}  {:13}  {:{}}  {}\n", flow.id().substr(0, id), flow.name(), name,
                        state_column(flow), age(flow.started_unix_ms()), nodes_column(flow), nodes,
                        flow::on_one_line(flow.text(), kCommandColumns));
  return text;
}

// Nodes that can't be asked for their flows. One that has left took its flows along, and one that has come back under the
// same name is there to be asked.
net::Awaitable<void> tell_of_lost_nodes(NodeSession& session) {
  v1::ListNodesRequest request;
  request.set_all(true);
  auto list = co_await rpc::call<v1::ListNodesResponse>(session.channel(), "sluice.v1.Cluster/ListNodes", request);
  if (!list) co_return;
  std::set<std::string> alive;
  std::map<std::string, std::string> lost;
  for (const v1::Node& node : list->nodes()) {
    if (node.state() == v1::NODE_STATE_ALIVE) alive.insert(node.name());
    if (node.state() == v1::NODE_STATE_DEAD) lost[node.name()] = "is dead";
    if (node.state() == v1::NODE_STATE_SUSPECT) lost[node.name()] = "does not answer and may be dead";
  }
  for (const auto& [name, how] : lost)
    if (!alive.contains(name))
      refuse(kSuccess, fmt::format("no word of node {}, which {}: its flows are not listed", name, how));
}

net::Awaitable<int> list_flows(NodeSession& session, bool all, bool json) {
  v1::ListFlowsRequest request;
  request.set_all(all);
  auto list = co_await rpc::call<v1::ListFlowsResponse>(session.channel(), "sluice.v1.Flows/ListFlows", request);
  if (!list) co_return fail(list.error());
  std::ranges::sort(*list->mutable_flows(), {}, [](const v1::Flow& flow) { return flow.started_unix_ms(); });
  std::string text;
  for (const v1::Flow& flow : list->flows())
    if (json) text += to_json(flow).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  int printed = print(json ? text : table(*list));
  if (list->omitted() > 0)
    refuse(kSuccess,
           fmt::format("{} flows that ended longest ago are not listed; `sluice rm` forgets flows", list->omitted()));
  co_await tell_of_lost_nodes(session);
  if (list->silent_nodes().empty()) co_return printed;
  co_return refuse(
      kTimedOut, fmt::format("no answer from {}; their flows are missing here", fmt::join(list->silent_nodes(), " ")));
}

constexpr std::chrono::milliseconds kAnswerTime{250};  // `--timeout 0` asks whether a flow has ended

using FlowAction = std::function<net::Awaitable<int>(NodeSession&, std::string flow)>;

// One after the other, whatever became of those before.
net::Awaitable<int> for_each_flow(NodeSession& session, std::vector<std::string> flows, FlowAction act,
                                  int (*combined)(int so_far, int next)) {
  int status = kSuccess;
  for (const std::string& flow : flows) status = combined(status, co_await act(session, flow));
  co_return status;
}

int first_failure(int so_far, int next) { return so_far != kSuccess ? so_far : next; }
// As wait(1) of POSIX has it.
int last_of_all(int, int next) { return next; }

net::Awaitable<int> wait_for(NodeSession& session, std::string id, bool json, std::optional<TimePoint> deadline) {
  v1::WaitFlowRequest request;
  request.set_flow(id);
  rpc::CallOptions options{.timeout = std::nullopt};
  if (deadline) options.timeout = std::max<Duration>(*deadline - Clock::now(), kAnswerTime);
  auto flow = co_await rpc::call<v1::Flow>(session.channel(), "sluice.v1.Flows/WaitFlow", request, std::move(options));
  if (!flow && deadline && flow.error().code == rpc::Code::deadline_exceeded)
    co_return refuse(kTimedOut, fmt::format("the flow {} has not ended yet; it goes on", id));
  if (!flow) co_return fail(flow.error());
  if (json) print(to_json(*flow).dump() + "\n");
  for (const std::string& note : flow->notes()) refuse(kSuccess, note);
  if (flow->state() == v1::FLOW_STATE_UNKNOWN) co_return refuse(kFailed, flow->message());
  if (!flow->message().empty()) refuse(kFailed, flow->message());
  co_return flow->status();
}

net::Awaitable<int> stop_flow(NodeSession& session, std::string id, std::uint64_t grace_ms) {
  v1::StopFlowRequest request;
  request.set_flow(id);
  request.set_grace_ms(grace_ms);
  rpc::CallOptions options{.timeout = std::nullopt};
  auto flow = co_await rpc::call<v1::Flow>(session.channel(), "sluice.v1.Flows/StopFlow", request, std::move(options));
  co_return flow ? kSuccess : fail(flow.error());
}

struct WantedWorkers {
  std::string stage;
  std::uint32_t workers = 0;
};

// STAGE=N.
std::expected<WantedWorkers, std::string> read_wanted(const std::string& text) {
  std::size_t sign = text.rfind('=');
  if (sign == std::string::npos || sign == 0)
    return std::unexpected(fmt::format("'{}': say which stage is to have how many workers: 2=8", text));
  std::string_view number = std::string_view(text).substr(sign + 1);
  WantedWorkers wanted{.stage = text.substr(0, sign)};
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), wanted.workers);
  bool is_number = error == std::errc() && end == number.data() + number.size();
  if (!is_number || wanted.workers == 0 || wanted.workers > flow::kWorkersMax)
    return std::unexpected(
        fmt::format("'{}': a stage has 1 to {} workers; `sluice stop` ends a flow", text, flow::kWorkersMax));
  return wanted;
}

net::Awaitable<int> scale_stages(NodeSession& session, std::string flow, std::vector<WantedWorkers> wanted) {
  int status = kSuccess;
  for (const WantedWorkers& each : wanted) {
    v1::ScaleStageRequest request;
    request.set_flow(flow);
    request.set_stage(each.stage);
    request.set_workers(each.workers);
    auto scaled = co_await rpc::call<v1::ScaleStageResponse>(session.channel(), "sluice.v1.Flows/ScaleStage", request);
    int said = scaled ? print(fmt::format("stage {}: {} -> {} workers\n", each.stage, scaled->before(), each.workers))
                      : fail(scaled.error());
    status = first_failure(status, said);
  }
  co_return status;
}

net::Awaitable<int> remove_flow(NodeSession& session, std::string id) {
  v1::RemoveFlowRequest request;
  request.set_flow(id);
  rpc::CallOptions options{.timeout = std::nullopt};  // the node limits how long it asks others
  auto removed = co_await rpc::call<v1::RemoveFlowResponse>(session.channel(), "sluice.v1.Flows/RemoveFlow", request,
                                                            std::move(options));
  if (!removed) co_return fail(removed.error());
  for (const std::string& name : removed->left_nodes())
    refuse(kSuccess, fmt::format("{} has left the cluster; what it kept of the flow is still there", name));
  co_return kSuccess;
}

net::Awaitable<int> show_logs(NodeSession& session, v1::ReadLogsRequest request) {
  rpc::ClientCall call = session.channel().start("sluice.v1.Flows/ReadLogs", {.timeout = std::nullopt});
  auto executor = co_await net::asio::this_coro::executor;
  StdoutWatch reader(executor, [&call] { call.cancel(); });
  if (co_await call.write(request.SerializeAsString())) call.writes_done();
  while (auto bytes = co_await call.read()) {
    v1::OutputPiece piece;
    if (!piece.ParseFromString(*bytes)) break;
    if (piece.dropped_bytes() > 0)
      refuse(kSuccess, fmt::format("{} bytes are missing here: {}", piece.dropped_bytes(),
                                   piece.unwritten() ? "they could not be written on the node; is its disk full?"
                                                     : "more was written than is kept (--output-max)"));
    if (int printed = print(piece.bytes()); printed != kSuccess || !stdout_has_reader()) co_return printed;
  }
  rpc::Status status = co_await call.finish();
  co_return status.ok() || reader.closed() ? kSuccess : fail(status);
}

}  // namespace

int ps_verb(const Arguments& arguments) {
  NodeOptions node;
  bool all = false, json = false;
  OptionReader reader({.verb = "ps",
                       .description = "List the flows of the cluster.",
                       .usage = "[-a] [--json]",
                       .examples = "  sluice ps\n  sluice ps -a --json\n"});
  reader.flag("-a,--all", all, "those that have ended as well");
  reader.flag("--json", json, "one object a line");
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  return with_node(node, [all, json](NodeSession& session) { return list_flows(session, all, json); });
}

int wait_verb(const Arguments& arguments) {
  NodeOptions node;
  bool json = false;
  std::string timeout;
  std::vector<std::string> operands;
  OptionReader reader(
      {.verb = "wait",
       .description = "Wait until flows in the background have ended, and exit with the last one's status.",
       .usage = "FLOW...",
       .examples = "  sluice wait 3f2a\n  sluice wait --timeout 10m nightly weekly\n"});
  reader.flag("--json", json, "print each flow when it has ended");
  reader.value("--timeout", timeout, "DURATION", "give up after this long, with status 6; the flows go on");
  reader.operands(operands, 1, kFlowsMax, "a flow", OperandKind::running_flow);
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  std::optional<TimePoint> deadline;
  if (!timeout.empty()) {
    auto duration = parse_duration(timeout);
    if (!duration) return refuse(kUsage, "wait: --timeout: " + duration.error());
    deadline = Clock::now() + *duration;
  }
  FlowAction wait = [json, deadline](NodeSession& session, std::string flow) {
    return wait_for(session, std::move(flow), json, deadline);
  };
  return with_node(
      node, [operands, wait](NodeSession& session) { return for_each_flow(session, operands, wait, last_of_all); });
}

int stop_verb(const Arguments& arguments) {
  NodeOptions node;
  std::string grace = "2s";
  std::vector<std::string> operands;
  OptionReader reader(
      {.verb = "stop",
       .description = "End flows: SIGTERM to their stages, after the grace SIGKILL. Returns when they have ended.",
       .usage = "FLOW...",
       .examples = "  sluice stop 3f2a --grace 10s\n"});
  reader.value("--grace", grace, "DURATION", "between SIGTERM and SIGKILL (2s)");
  reader.operands(operands, 1, kFlowsMax, "a flow", OperandKind::running_flow);
  add_node_options(reader, node);
  reader.settings(node.settings, {"grace"});
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto duration = parse_duration(grace);
  if (!duration) return refuse(kUsage, "stop: --grace: " + duration.error());
  auto grace_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count());
  FlowAction stop = [grace_ms](NodeSession& session, std::string flow) {
    return stop_flow(session, std::move(flow), grace_ms);
  };
  return with_node(
      node, [operands, stop](NodeSession& session) { return for_each_flow(session, operands, stop, first_failure); });
}

int scale_verb(const Arguments& arguments) {
  NodeOptions node;
  std::vector<std::string> operands;
  OptionReader reader(
      {.verb = "scale",
       .description = "Give stages of a flow that runs another number of workers: of @map, @each, and of the library. "
                      "Those too many finish what they have.",
       .usage = "FLOW STAGE=N...",
       .examples = "  sluice scale 3f2a 2=8\n  sluice scale users twitter=20 facebook=4\n"});
  reader.operands(operands, 2, kFlowsMax, "a flow, and STAGE=N", OperandKind::running_flow);
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  std::vector<WantedWorkers> wanted;
  for (std::size_t i = 1; i < operands.size(); ++i) {
    auto each = read_wanted(operands[i]);
    if (!each) return refuse(kUsage, "scale: " + each.error());
    wanted.push_back(*std::move(each));
  }
  return with_node(node,
                   [flow = operands[0], wanted](NodeSession& session) { return scale_stages(session, flow, wanted); });
}

int rm_verb(const Arguments& arguments) {
  NodeOptions node;
  std::vector<std::string> operands;
  OptionReader reader({.verb = "rm",
                       .description = "Forget flows that have ended, with the output that was kept.",
                       .usage = "FLOW...",
                       .examples = "  sluice rm 3f2a 91c0\n"});
  reader.operands(operands, 1, kFlowsMax, "a flow", OperandKind::ended_flow);
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  return with_node(
      node, [operands](NodeSession& session) { return for_each_flow(session, operands, remove_flow, first_failure); });
}

int logs_verb(const Arguments& arguments) {
  NodeOptions node;
  bool follow = false, output = false;
  std::vector<std::string> operands;
  OptionReader reader(
      {.verb = "logs",
       .description = "Print what a flow in the background has written; of a stage, its stderr.",
       .usage = "[-f] FLOW[/STAGE]",
       .examples = "  sluice logs -f 3f2a\n  sluice logs 3f2a/2\n  sluice logs --output users/merger\n"});
  reader.flag("-f,--follow", follow, "go on until it has ended");
  reader.flag("--output", output, "of a stage, its output, if that is part of the flow's, in place of its stderr");
  reader.operands(operands, 1, 1, "a flow", OperandKind::flow);
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  std::string flow = operands[0].substr(0, operands[0].find('/'));
  v1::ReadLogsRequest request;
  request.set_flow(flow);
  request.set_follow(follow);
  request.set_stage(-1);
  if (flow.size() < operands[0].size()) {
    std::string text = operands[0].substr(flow.size() + 1);
    int stage = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), stage);
    bool is_number = error == std::errc() && end == text.data() + text.size();
    if (text.empty() || (is_number && stage < 1))
      return refuse(kUsage, fmt::format("logs: '{}' is no stage; they are numbered from 1: {}/1", text, flow));
    if (is_number) request.set_stage(stage - 1);
    request.set_stage_name(text);
  }
  request.set_output(output);
  return with_node(node, [request](NodeSession& session) { return show_logs(session, request); });
}

}  // namespace sluice::cli
