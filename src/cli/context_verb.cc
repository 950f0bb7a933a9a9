#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/spelling.h"
#include "cli/context_file.h"
#include "cli/exit_status.h"
#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "cluster/credential_file.h"

namespace sluice::cli {
namespace {

int list_contexts(const Arguments& arguments) {
  bool json = false;
  OptionReader options({.verb = "context ls",
                        .description = "List the contexts; a * marks the current one.",
                        .usage = "[--json]",
                        .examples = "  sluice context ls\n"});
  options.flag("--json", json, "one object a line");
  if (auto read = options.read(arguments); !read) return read.error().status;
  auto contexts = read_contexts();
  if (!contexts) return refuse(kFailed, contexts.error());
  std::string text;
  std::size_t width = 4;
  for (const auto& [name, context] : contexts->all) width = std::max(width, name.size());
  if (!json && !contexts->all.empty()) text = fmt::format("  {:{}}  NODE\n", "NAME", width);
  for (const auto& [name, context] : contexts->all) {
    bool current = name == contexts->current;
    if (json)
      text += nlohmann::ordered_json{{"name", name}, {"node", context.node}, {"current", current}}.dump() + "\n";
    else
      text += fmt::format("{} {:{}}  {}\n", current ? '*' : ' ', name, width, context.node);
  }
  return print(text);
}

net::Awaitable<int> keep_address(NodeSession& session, std::string& address) {
  address = session.where();
  co_return kSuccess;
}

// The address of the first node that answers, so that later commands need not search.
std::expected<std::string, int> discover_node(NodeOptions options) {
  std::string found;
  int status = with_node(std::move(options), [&found](NodeSession& session) -> net::Awaitable<int> {
    return keep_address(session, found);
  });
  if (status != kSuccess) return std::unexpected(status);
  return found;
}

// A file that can't be used is told now, and not by each command that uses the context.
std::string proof_problem(const NodeOptions& node) {
  if (!node.key.empty())
    if (auto keys = cluster::read_key_file(node.key); !keys) return keys.error().message;
  if (!node.cert.empty())
    if (auto credentials = cluster::read_credential_file(node.cert); !credentials) return credentials.error().message;
  return {};
}

// A context is used from any folder.
std::string absolute(const std::string& path) {
  std::error_code ignored;
  return path.empty() ? path : std::filesystem::absolute(path, ignored).lexically_normal().string();
}

int add_context(const Arguments& arguments) {
  NodeOptions node;
  bool use = false;
  std::vector<std::string> operands;
  OptionReader options({.verb = "context add",
                        .description = "Remember a way to a cluster under a name.",
                        .usage = "NAME --node URL | --discover GROUP:PORT [--key FILE | --cert FILE] [--use]",
                        .examples = "  sluice context add rack --node sluice://10.0.0.5:7117/n1 --use\n"
                                    "  sluice context add lab --discover 239.17.17.17:7118\n"});
  options.value("--node", node.node, "URL", "a node's URL, HOST:PORT, or the path of its socket");
  options.value("--discover", node.discover, "GROUP:PORT", "find a node by multicast, and remember its address");
  options.value("--key", node.key, "FILE", "the cluster key");
  options.value("--cert", node.cert, "FILE", "a certificate from `sluice cert issue`");
  options.settings(node.settings);
  options.flag("--use", use, "make it the current one");
  options.operands(operands, 1, 1, "a name");
  if (auto read = options.read(arguments); !read) return read.error().status;
  if (node.node.empty() == node.discover.empty())
    return refuse(kUsage, "context add: which node is it to use? Give either --node or --discover");
  if (std::string problem = proof_problem(node); !problem.empty())
    return refuse(kRefusedAccess, "context add: " + problem);
  Context context{.node = node.node, .key = absolute(node.key), .cert = absolute(node.cert)};
  std::string answer;
  if (!node.discover.empty()) {
    auto found = discover_node(std::move(node));
    if (!found) return found.error();
    context.node = *found;
    answer = *found + "\n";
  }
  auto contexts = read_contexts();
  if (!contexts) return refuse(kFailed, contexts.error());
  bool replaced = !contexts->all.insert_or_assign(operands[0], std::move(context)).second;
  if (use || contexts->all.size() == 1) contexts->current = operands[0];
  if (auto written = write_contexts(*contexts); !written) return refuse(kFailed, written.error());
  if (replaced) refuse(kSuccess, fmt::format("context add: what '{}' meant before was replaced", operands[0]));
  return answer.empty() ? kSuccess : print(answer);
}

std::string no_such_context(const std::string& name, const Contexts& contexts) {
  std::vector<std::string> names;
  for (const auto& [known, context] : contexts.all) names.push_back(known);
  if (names.empty())
    return fmt::format("there is no context '{}', nor any other; `sluice context add` makes one", name);
  return fmt::format("there is no context '{}'{}; contexts: {}", name, did_you_mean(name, names),
                     fmt::join(names, " "));
}

int use_context(const Arguments& arguments) {
  std::vector<std::string> operands;
  OptionReader options({.verb = "context use",
                        .description = "Make a context the current one; `-` makes none the current one.",
                        .usage = "NAME",
                        .examples = "  sluice context use rack\n"});
  options.operands(operands, 1, 1, "a name", OperandKind::context);
  if (auto read = options.read(arguments); !read) return read.error().status;
  auto contexts = read_contexts();
  if (!contexts) return refuse(kFailed, contexts.error());
  bool none = operands[0] == "-";
  if (!none && !contexts->all.contains(operands[0])) return refuse(kNotFound, no_such_context(operands[0], *contexts));
  contexts->current = none ? "" : operands[0];
  if (auto written = write_contexts(*contexts); !written) return refuse(kFailed, written.error());
  return kSuccess;
}

int remove_context(const Arguments& arguments) {
  std::vector<std::string> operands;
  OptionReader options({.verb = "context rm",
                        .description = "Forget a context.",
                        .usage = "NAME",
                        .examples = "  sluice context rm rack\n"});
  options.operands(operands, 1, 1, "a name", OperandKind::context);
  if (auto read = options.read(arguments); !read) return read.error().status;
  auto contexts = read_contexts();
  if (!contexts) return refuse(kFailed, contexts.error());
  if (contexts->all.erase(operands[0]) == 0) return refuse(kNotFound, no_such_context(operands[0], *contexts));
  if (contexts->current == operands[0]) contexts->current.clear();
  if (auto written = write_contexts(*contexts); !written) return refuse(kFailed, written.error());
  return kSuccess;
}

constexpr SubVerb kSubVerbs[] = {
    {"add", "remember a way to a cluster", add_context},
    {"use", "make one the current one", use_context},
    {"ls", "list them", list_contexts},
    {"rm", "forget one", remove_context},
};

}  // namespace

int context_verb(const Arguments& arguments) {
  return run_sub_verb("context", "Named ways to clusters.", kSubVerbs, arguments);
}

}  // namespace sluice::cli
