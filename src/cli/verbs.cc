#include "cli/verbs.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/spelling.h"
#include "base/version.h"
#include "cli/completion.h"
#include "cli/no_such_verb.h"
#include "node/embedded_run.h"

namespace sluice::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"run", "run a pipeline: sluice run \"a | b | c\"", run_verb},
    {"ps", "list the flows of the cluster", ps_verb},
    {"logs", "print what a flow in the background has written", logs_verb},
    {"wait", "wait for a flow in the background", wait_verb},
    {"stop", "end a flow", stop_verb},
    {"scale", "change the number of workers of a stage", scale_verb},
    {"rm", "forget a flow that has ended", rm_verb},
    {"top", "show what flows move, and what holds them back", top_verb},
    {"worker", "offer a program as a worker to flows", worker_verb},
    {"flow", "check and draw flow files", flow_verb},
    {"nodes", "list the nodes of the cluster", nodes_verb},
    {"start", "run a node", start_verb},
    {"leave", "take a node out of the cluster", leave_verb},
    {"dev", "run a whole cluster in this terminal", dev_verb},
    {"init", "write a cluster key and say what to type on the other hosts", init_verb},
    {"keygen", "write a cluster key to a file", keygen_verb},
    {"cert", "issue and revoke certificates", cert_verb},
    {"context", "named ways to clusters", context_verb},
    {"config", "show what is set by variables and files", config_verb},
    {"completion", "print a completion script for bash, zsh or fish", completion_verb},
    {"version", "print the version", version_verb},
    {"help", "explain a verb", help_verb},
    {"__complete", "answer a completion script", complete_verb, true},
};

std::string overview() {
  std::string text = "Sluice: Unix pipes for a cluster.\n\nUsage: sluice VERB [ARGUMENTS]\n\nVerbs:\n";
  for (const Verb& verb : kVerbs)
    if (!verb.hidden) text += fmt::format("  {:12}{}\n", verb.name, verb.summary);
  return text +
         "\nExamples:\n"
         "  sluice run \"tr -cs A-Za-z '\\n' < book.txt | sort | uniq -c | sort -rn | head\"\n"
         "  sluice run --dry-run 'zcat log.gz | grep error | wc -l'\n"
         "\n'sluice help VERB' or 'sluice VERB --help' says more.\n";
}

}  // namespace

const Verb* find_verb(const std::string& name) {
  for (const Verb& verb : kVerbs)
    if (name == verb.name) return &verb;
  return nullptr;
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : kVerbs)
    if (!verb.hidden) names.emplace_back(verb.name);
  return names;
}

int print(const std::string& text) { return node::print_to_stdout(text) == 0 ? kSuccess : kFailed; }

bool stdout_has_reader() {
  pollfd polled{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return ::poll(&polled, 1, 0) <= 0 || (polled.revents & POLLERR) == 0;
}

int refuse(int status, const std::string& message) {
  node::say(message);
  return status;
}

namespace {

// The name of the verb is still being typed, or the verb knows the rest.
int complete_sub_verb(std::span<const SubVerb> verbs, Candidates names, const Arguments& arguments) {
  if (arguments.size() <= 2) {
    names.emplace_back("--help");
    return print_candidates(names, arguments.size() < 2 ? "" : arguments[1]);
  }
  Arguments rest = {kCompleteArgument};
  rest.insert(rest.end(), arguments.begin() + 2, arguments.end());
  for (const SubVerb& verb : verbs)
    if (arguments[1] == verb.name) return verb.run(rest);
  return kSuccess;
}

}  // namespace

int run_sub_verb(const char* noun, const char* summary, std::span<const SubVerb> verbs, const Arguments& arguments) {
  std::string usage = fmt::format("{}\n\nUsage: sluice {} VERB [ARGUMENTS]\n\nVerbs:\n", summary, noun);
  std::vector<std::string> names;
  for (const SubVerb& verb : verbs) {
    usage += fmt::format("  {:12}{}\n", verb.name, verb.summary);
    names.emplace_back(verb.name);
  }
  usage += fmt::format("\n'sluice {} VERB --help' says more.\n", noun);
  if (asks_for_completion(arguments)) return complete_sub_verb(verbs, std::move(names), arguments);
  if (arguments.empty())
    return refuse(kUsage, fmt::format("{}: a verb is missing, one of: {}", noun, fmt::join(names, " ")));
  if (arguments[0] == "--help" || arguments[0] == "-h") return print(usage);
  for (const SubVerb& verb : verbs)
    if (arguments[0] == verb.name) return verb.run(Arguments(arguments.begin() + 1, arguments.end()));
  return refuse(kUsage, fmt::format("{}: {}", noun, no_such_verb(arguments[0], names)));
}

std::string no_such_verb(const std::string& typed, std::vector<std::string> names) {
  std::string verbs = fmt::format("{}", fmt::join(names, " "));
  // Options that stand where a verb would.
  bool outermost = std::ranges::find(names, "version") != names.end();
  names.emplace_back("--help");
  if (outermost) names.emplace_back("--version");
  std::string meant = nearest_name(typed, names);
  const char* kind = typed.starts_with('-') ? "option" : "verb";
  if (!meant.empty())
    return fmt::format("there is no {} '{}'; did you mean '{}'? Verbs: {}", kind, typed, meant, verbs);
  return fmt::format("there is no {} '{}'; verbs: {}", kind, typed, verbs);
}

int version_verb(const Arguments& arguments) {
  if (arguments.empty()) return print(fmt::format("sluice {}\n", kVersion));
  if (arguments == Arguments{"--json"}) return print(fmt::format("{{\"version\":\"{}\"}}\n", kVersion));
  if (arguments == Arguments{"--help"} || arguments == Arguments{"-h"})
    return print(
        "Print the version of this program.\n\nUsage: sluice version [--json]\n\n"
        "Examples:\n  sluice version\n  sluice version --json\n");
  const std::vector<std::string> options = {"--json", "--help"};
  return refuse(kUsage,
                fmt::format("version: unexpected argument '{}'{}", arguments[0], did_you_mean(arguments[0], options)));
}

int help_verb(const Arguments& arguments) {
  if (arguments.empty()) return print(overview());
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help")
    return print(
        "Explain Sluice, or one verb of it.\n\nUsage: sluice help [VERB [VERB]]\n\n"
        "Examples:\n  sluice help run\n  sluice help cert issue\n");
  const Verb* verb = find_verb(arguments[0]);
  if (verb == nullptr || verb->hidden) return refuse(kUsage, "help: " + no_such_verb(arguments[0], verb_names()));
  // `help cert issue` is `cert issue --help`; a verb that has none behind it says itself what it does not take.
  bool behind_noun = arguments.size() > 1 && (verb->run == cert_verb || verb->run == context_verb ||
                                              verb->run == config_verb || verb->run == flow_verb);
  return behind_noun ? verb->run({arguments[1], "--help"}) : verb->run({"--help"});
}

}  // namespace sluice::cli
