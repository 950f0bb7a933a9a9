#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/id.h"
#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/stdout_watch.h"
#include "cli/verbs.h"
#include "sluice/v1/cluster.pb.h"

namespace sluice::cli {
namespace {

struct NodesOptions {
  NodeOptions node;
  bool json = false;
  bool watch = false;
  bool all = false;
};

const char* state_text(v1::NodeState state) {
  switch (state) {
    case v1::NODE_STATE_ALIVE:
      return "alive";
    case v1::NODE_STATE_SUSPECT:
      return "suspect";
    case v1::NODE_STATE_LEFT:
      return "left";
    case v1::NODE_STATE_DEAD:
      return "dead";
    default:
      return "unknown";
  }
}

const char* kind_text(v1::NodeEvent::Kind kind) {
  switch (kind) {
    case v1::NodeEvent::KIND_PRESENT:
      return "present";
    case v1::NodeEvent::KIND_JOINED:
      return "joined";
    case v1::NodeEvent::KIND_CHANGED:
      return "changed";
    case v1::NodeEvent::KIND_SUSPECTED:
      return "suspected";
    case v1::NodeEvent::KIND_LEFT:
      return "left";
    case v1::NodeEvent::KIND_LOST:
      return "lost";
    default:
      return "unknown";
  }
}

nlohmann::ordered_json to_json(const v1::Node& node) {
  nlohmann::ordered_json labels = nlohmann::ordered_json::object();
  std::map<std::string, std::string> sorted(node.labels().begin(), node.labels().end());
  for (const auto& [key, value] : sorted) labels[key] = value;
  nlohmann::ordered_json json = {
      {"id", node.id()},  {"name", node.name()},       {"url", node.url()},  {"state", state_text(node.state())},
      {"labels", labels}, {"version", node.version()}, {"self", node.self()}};
  if (!node.reason().empty()) json["reason"] = node.reason();
  return json;
}

std::string labels_text(const v1::Node& node) {
  std::map<std::string, std::string> sorted(node.labels().begin(), node.labels().end());
  std::string text;
  for (const auto& [key, value] : sorted) text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

bool use_colour() { return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

std::string coloured(const std::string& text, v1::NodeState state) {
  if (!use_colour()) return text;
  const char* code = state == v1::NODE_STATE_ALIVE ? "32" : state == v1::NODE_STATE_SUSPECT ? "33" : "31";
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

std::string table(const v1::ListNodesResponse& list) {
  bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::size_t name = 4, url = 3, id = terminal ? kShortIdDigits : 2 * kIdSize;
  for (const v1::Node& node : list.nodes()) {
    name = std::max(name, node.name().size());
    url = std::max(url, node.url().size());
  }
  std::string text = fmt::format("{:{}}  {:{}}  {:7}  {:{}}  LABELS\n", "NAME", name, "ID", id, "STATE", "URL", url);
  for (const v1::Node& node : list.nodes()) {
    std::string state = coloured(fmt::format("{:7}", state_text(node.state())), node.state());
    std::string line = fmt::format("{:{}}  {}  {}  {:{}}  {}", node.name(), name, node.id().substr(0, id), state,
                                   node.url(), url, labels_text(node));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

net::Awaitable<int> list_nodes(NodeSession& session, NodesOptions options) {
  v1::ListNodesRequest request;
  request.set_all(options.all);
  auto list = co_await rpc::call<v1::ListNodesResponse>(session.channel(), "sluice.v1.Cluster/ListNodes", request);
  if (!list) {
    Failure failure = failure_of(list.error());
    co_return refuse(failure.status, failure.message);
  }
  if (!options.json) co_return print(table(*list));
  std::string text;
  for (const v1::Node& node : list->nodes()) text += to_json(node).dump() + "\n";
  co_return print(text);
}

std::string event_text(const v1::NodeEvent& event, bool json) {
  if (json) {
    nlohmann::ordered_json line = {{"event", kind_text(event.kind())}, {"time_ms", event.time_unix_ms()}};
    line["node"] = to_json(event.node());
    return line.dump() + "\n";
  }
  std::string reason = event.node().reason().empty() ? "" : " (" + event.node().reason() + ")";
  return fmt::format("{:9}  {}  {}{}\n", kind_text(event.kind()), event.node().name(), event.node().url(), reason);
}

net::Awaitable<int> watch_nodes(NodeSession& session, NodesOptions options) {
  rpc::ClientCall call = session.channel().start("sluice.v1.Cluster/WatchNodes", {.timeout = std::nullopt});
  auto executor = co_await net::asio::this_coro::executor;
  StdoutWatch reader(executor, [&call] { call.cancel(); });
  if (co_await call.write(v1::WatchNodesRequest().SerializeAsString())) call.writes_done();
  while (auto bytes = co_await call.read()) {
    v1::NodeEvent event;
    if (!event.ParseFromString(*bytes) || event.kind() == v1::NodeEvent::KIND_READY) continue;
    if (int printed = print(event_text(event, options.json)); printed != kSuccess || !stdout_has_reader())
      co_return printed;
  }
  rpc::Status status = co_await call.finish();
  if (status.ok() || reader.closed()) co_return kSuccess;
  Failure failure = failure_of(status);
  co_return refuse(failure.status, failure.message);
}

}  // namespace

int nodes_verb(const Arguments& arguments) {
  NodesOptions options;
  OptionReader reader(
      {.verb = "nodes",
       .description = "List the nodes of the cluster, as the node that is asked sees them.",
       .usage = "[--json] [--watch] [--all]",
       .examples = "  sluice nodes\n  sluice nodes --watch --json\n  sluice nodes --node 10.0.0.5:7117\n"});
  reader.flag("--json", options.json, "one object a line");
  reader.flag("--watch", options.watch, "go on with every change");
  reader.flag("-a,--all", options.all, "those that are dead or have left as well");
  add_node_options(reader, options.node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  return with_node(options.node, [options](NodeSession& session) {
    return options.watch ? watch_nodes(session, options) : list_nodes(session, options);
  });
}

}  // namespace sluice::cli
