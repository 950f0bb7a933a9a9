#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "exec/entry_state.h"
#include "exec/program_lookup.h"
#include "exec/zygote_client.h"
#include "flow/flow_file.h"
#include "node/embedded_run.h"
#include "node/role_worker.h"
#include "node/signals.h"
#include "node/spawned_role_programs.h"

namespace sluice::cli {
namespace {

struct WorkerOptions {
  node::RoleWorkerRequest request;
  node::RoleCommand command;
  NodeOptions node;
  std::vector<std::string> joins;  // URLs, one after the other
};

using Access = std::expected<std::unique_ptr<node::NodeAccess>, node::RoleWorkerRefusal>;

// A key or a certificate that is refused now will be refused again; a node that is not there may come.
bool is_for_good(int status) { return status == kUsage || status == kRefusedAccess || status == kWrongVersion; }

net::Awaitable<Access> connect(const WorkerOptions* options) {
  Failure failure;
  for (const std::string& url : options->joins) {
    NodeOptions where = options->node;
    if (!url.empty()) where.node = url;
    auto session = co_await NodeSession::open(std::move(where));
    if (session) co_return *std::move(session);
    failure = session.error();
    if (is_for_good(failure.status)) break;
  }
  co_return std::unexpected(node::RoleWorkerRefusal{
      .status = failure.status, .message = failure.message, .for_good = is_for_good(failure.status)});
}

bool is_ending(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT; }

std::optional<int> next_ending(node::Signals& signals) {
  while (auto signal = signals.next())
    if (is_ending(signal->number)) return signal->number;
  return std::nullopt;
}

net::Awaitable<int> serve(const WorkerOptions* options, exec::ZygoteClient* zygote, const exec::EntryState* entry,
                          node::RoleWorkerEnd* result) {
  node::Signals signals(*entry);
  auto executor = co_await net::asio::this_coro::executor;
  auto programs = node::spawned_role_programs(executor, options->command, std::move(*zygote));
  // Named: g++ 12 destroys temporaries of a co_await expression twice.
  node::RoleWorkerRequest request = options->request;
  node::RoleWorkerSurroundings surroundings{.connect = [options] { return connect(options); },
                                            .programs = *programs,
                                            .signal_descriptor = signals.descriptor(),
                                            .next_signal = [&signals] { return next_ending(signals); },
                                            .say = node::say};
  *result = co_await node::run_role_worker(std::move(request), std::move(surroundings));
  co_return result->status;
}

std::expected<WorkerOptions, OptionReader::Stop> read_options(const Arguments& arguments) {
  auto dashes = std::ranges::find(arguments, "--");
  bool completes = asks_for_completion(arguments);
  WorkerOptions options;
  OptionReader reader({.verb = "worker",
                       .description = "Offer a program as a worker to flows that have a stage of its role.\n"
                                      "It needs no address: it dials a node, and a flow reaches it there.\n"
                                      "Ctrl-C lets it finish what it has in hand; a second one ends it at once.",
                       .usage = "--role ROLE [--join URL] -- COMMAND [ARGUMENT...]",
                       .examples = "  sluice worker --role twitter --join sluice://db1:7117 -- ./twitter.js\n"
                                   "  sluice worker --role resize --once -- ./resize --quality 80\n"});
  reader.value("--role", options.request.role, "NAME", "the role of the stages that it is for");
  reader.values("--join", options.joins, "URL", "a node to wait on; several: the next is tried when one is lost");
  reader.value("--flow", options.request.flow, "FLOW", "serve this flow alone: its name or its whole id");
  reader.flag("--once", options.request.once, "end when one flow was served");
  add_node_options(reader, options.node);
  Arguments own(arguments.begin(), completes ? arguments.end() : dashes);
  if (auto read = reader.read(own); !read) return std::unexpected(read.error());
  auto stop = [](const std::string& why) {
    return std::unexpected(OptionReader::Stop{refuse(kUsage, "worker: " + why)});
  };
  if (options.request.role.empty()) return stop("--role is missing: the name that stands as 'role' in the flow's file");
  if (std::string problem = flow::name_problem(options.request.role); !problem.empty())
    return stop(fmt::format("--role '{}': that can't name a role: {}", options.request.role, problem));
  if (dashes == arguments.end() || dashes + 1 == arguments.end())
    return stop("there is no program to run; it stands behind '--': sluice worker --role NAME -- COMMAND");
  options.command.command.assign(dashes + 1, arguments.end());
  if (options.joins.empty()) options.joins.emplace_back();  // whichever node any command would ask
  return options;
}

}  // namespace

int worker_verb(const Arguments& arguments) {
  if (asks_for_completion(arguments)) return read_options(arguments).error().status;
  exec::EntryState entry = exec::EntryState::capture();
  // Forked before anything is loaded, and before there is a thread.
  auto zygote = exec::ZygoteClient::fork_zygote();
  if (!zygote) return refuse(kFailed, fmt::format("worker: cannot fork: {}", std::strerror(zygote.error())));
  auto options = read_options(arguments);
  if (!options) return options.error().status;
  node::RoleCommand& command = options->command;
  command.environment = exec::Environment::of_this_process();
  command.environment.erase("_");
  const std::string& name = command.command.front();
  auto path = exec::find_program(name, command.environment.get("PATH").value_or(exec::kDefaultPath));
  if (!path) {
    bool found = path.error() == exec::LookupError::not_executable;
    return refuse(found ? 126 : 127,
                  fmt::format("worker: {}: {}", name, found ? "found, but it may not be executed" : "no such program"));
  }
  command.path = *path;
  std::error_code ignored;
  command.directory = std::filesystem::current_path(ignored);
  node::RoleWorkerEnd result;
  int status = run_loop([&] { return serve(&*options, &*zygote, &entry, &result); });
  if (result.signal != 0) node::die_by(result.signal);
  return status;
}

}  // namespace sluice::cli
