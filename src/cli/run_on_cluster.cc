#include "cli/run_on_cluster.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "cli/node_session.h"
#include "exec/spawner_client.h"
#include "node/cluster_run.h"
#include "node/signals.h"

namespace sluice::cli {
namespace {

NodeOptions node_options(const RunOptions& options) {
  return {.node = options.node,
          .discover = options.discover,
          .key = options.key,
          .cert = options.cert,
          .settings = options.settings};
}

std::map<std::string, std::string> variables(const std::vector<std::string>& entries) {
  std::map<std::string, std::string> variables;
  for (const std::string& entry : entries)
    if (std::size_t equals = entry.find('='); equals != std::string::npos)
      variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  return variables;
}

node::ClusterRunRequest make_request(flow::FlowGraph graph, RunOptions options, exec::Environment environment) {
  node::ClusterRunRequest request{.text = options.text, .graph = std::move(graph)};
  request.run = {.plan = {},
                 .environment = std::move(environment),
                 .directory = options.directory,
                 .name = options.name,
                 .pipefail = options.pipefail,
                 .grace = options.grace,
                 .timeout = options.timeout,
                 .stall_timeout = options.stall_timeout,
                 .keep = options.keep,
                 .progress = options.progress,
                 .json_summary = options.json,
                 .mark_stderr = options.mark_stderr,
                 .quiet = options.quiet,
                 .records = record_settings(options.records)};
  request.losses_allowed = options.records.losses_allowed;
  request.stage_environment = variables(options.environment);
  request.shell = options.shell;
  request.inner_pipefail = options.pipefail != flow::PipefailRule::last;
  request.dry_run = options.dry_run;
  request.json = options.json;
  request.background = options.background;
  request.keep_bytes_max = options.keep_bytes_max;
  request.marks = options.marks;
  request.exact = options.exact;
  return request;
}

// A stage elsewhere works in a folder of its own.
std::string idle_directory(const node::ClusterRunRequest& request, const node::OutgoingFiles& files,
                           std::size_t client_parts) {
  if (request.run.directory.empty() || client_parts > 0 || !files.files.empty()) return {};
  return fmt::format(
      "run: --cwd {}: it is a folder of this host, for stages that run here and files that travel, and there are none; "
      "leave it out, or let a stage change its folder: @NODE {{ cd DIR && COMMAND; }}",
      request.run.directory);
}

net::Awaitable<int> run(NodeOptions where, node::ClusterRunRequest* request, std::vector<exec::SpawnerClient>* spawners,
                        const exec::EntryState* entry, node::RunResult* result) {
  bool dry_run = request->dry_run;
  auto session = co_await NodeSession::open(std::move(where));
  if (!session) co_return refuse(dry_run ? kFailed : node::kRefused, session.error().message);
  *result = co_await node::run_on_cluster(**session, std::move(*request), std::move(*spawners), *entry);
  co_return result->status;
}

}  // namespace

bool cluster_can_be_found(const RunOptions& options) { return NodeSession::can_be_found(node_options(options)); }

bool names_a_node(const RunOptions& options) { return NodeSession::is_named(node_options(options)); }

std::string no_spawner(int error) {
  return fmt::format("cannot start a spawner: {}; raise the limit (ulimit -u, ulimit -n)", std::strerror(error));
}

int run_on_cluster(flow::FlowGraph graph, RunOptions options, exec::Environment environment,
                   const exec::EntryState& entry) {
  bool files_here = !options.records.dead_letters.empty() || !options.records.job_log.empty();
  std::size_t parts = options.background ? 0 : node::count_client_parts(graph, files_here);
  std::vector<exec::SpawnerClient> spawners;
  std::vector<int> descriptors;
  while (spawners.size() < parts) {
    auto spawner = exec::SpawnerClient::fork_spawner(entry, descriptors);
    if (!spawner) return refuse(node::kRefused, no_spawner(spawner.error()));
    descriptors.push_back(spawner->descriptor());
    spawners.push_back(std::move(*spawner));
  }
  NodeOptions where = node_options(options);
  node::ShipOptions ship{.extra = options.ship, .size_max = options.ship_bytes_max, .nothing_here = options.background};
  node::ClusterRunRequest request = make_request(std::move(graph), std::move(options), std::move(environment));
  auto files = node::look_for_files(request.graph, ship);
  if (!files) return refuse(request.dry_run ? kFailed : node::kRefused, "run: " + files.error());
  if (auto idle = idle_directory(request, *files, parts); !idle.empty())
    return refuse(request.dry_run ? kFailed : node::kRefused, idle);
  request.files = std::move(*files);
  node::RunResult result;
  int status = run_loop([&] { return run(where, &request, &spawners, &entry, &result); });
  if (result.signal != 0) node::die_by(result.signal);
  return status;
}

}  // namespace sluice::cli
