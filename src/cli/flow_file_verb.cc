// `sluice flow check` and `graph`: what a flow file says, without running it.
#include <fmt/format.h>

#include <array>

#include "base/spelling.h"
#include "cli/flow_file_input.h"
#include "cli/option_reader.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "exec/environment.h"
#include "exec/program_lookup.h"
#include "flow/flow_drawing.h"
#include "flow/flow_file.h"
#include "flow/flow_file_graph.h"
#include "flow/shell.h"

namespace sluice::cli {
namespace {

// The commands are read for the shell that `run` would take; where there is none, for one without options.
flow::ShellDialect dialect_here(const Settings& settings) {
  exec::Environment environment = exec::Environment::of_this_process();
  auto shell = flow::find_shell(settings.text("shell"), environment.get("PATH").value_or(exec::kDefaultPath));
  return shell ? flow::shell_dialect(*shell, environment) : flow::ShellDialect{};
}

std::expected<flow::FlowFile, int> read_file(const char* verb, const std::string& name, const Settings& settings) {
  auto text = read_flow_text(name);
  if (!text) return std::unexpected(refuse(kFailed, fmt::format("{}: {}", verb, text.error())));
  auto file = flow::read_flow_file(*text, dialect_here(settings));
  if (file) return *std::move(file);
  say_mistakes(name, file.error());
  return std::unexpected(static_cast<int>(kUsage));
}

int check(const Arguments& arguments) {
  Settings settings;
  std::vector<std::string> operands;
  OptionReader options({.verb = "flow check",
                        .description = "Check a flow file: every mistake is told with its line and column.\n"
                                       "Exit status: 0 if it is right, 2 if it is not.",
                        .usage = "FILE",
                        .examples = "  sluice flow check users.flow.yaml\n"
                                    "  ./make-flow | sluice flow check -\n"});
  options.operands(operands, 1, 1, "a flow file, or - for stdin,", OperandKind::file);
  options.settings(settings);
  if (auto read = options.read(arguments); !read) return read.error().status;
  auto file = read_file("flow check", operands[0], settings);
  if (!file) return file.error();
  if (auto idle = flow::idle_keys(*file); !idle.empty()) {
    say_mistakes(operands[0], idle);
    return kUsage;
  }
  auto runnable = flow::graph_of(*file);
  std::string answer = fmt::format("{}: {}", shown_name(operands[0]), flow::count_of_parts(*file));
  if (!runnable) {
    const flow::FileMistake& first = runnable.error().front();
    answer += fmt::format("; it is right, and can't run yet: line {}: {}", first.place.line, first.message);
  }
  return print(answer + "\n");
}

constexpr const char* kTypes = "text|dot|json";

int graph(const Arguments& arguments) {
  Settings settings;
  std::string format = "text";
  std::vector<std::string> operands;
  OptionReader options({.verb = "flow graph",
                        .description = "Draw the stages and links of a flow file.",
                        .usage = "[--format text|dot|json] FILE",
                        .examples = "  sluice flow graph users.flow.yaml\n"
                                    "  sluice flow graph --format dot users.flow.yaml | dot -Tsvg > users.svg\n"});
  options.value("--format", format, kTypes, "a drawing, the language of Graphviz, or JSON (text)");
  options.operands(operands, 1, 1, "a flow file, or - for stdin,", OperandKind::file);
  options.settings(settings);
  if (auto read = options.read(arguments); !read) return read.error().status;
  const std::array<std::string, 3> formats = {"text", "dot", "json"};
  if (format != "text" && format != "dot" && format != "json")
    return refuse(kUsage, fmt::format("flow graph: --format={} is unknown{}; one of: {}", format,
                                      did_you_mean(format, formats), fmt::join(formats, " ")));
  auto file = read_file("flow graph", operands[0], settings);
  if (!file) return file.error();
  if (format == "dot") return print(flow::draw_as_dot(*file));
  if (format == "text") return print(flow::draw_as_text(*file));
  auto runnable = flow::graph_of(*file);
  return print(flow::draw_as_json(*file, runnable ? std::vector<flow::FileMistake>{} : runnable.error()) + "\n");
}

constexpr SubVerb kSubVerbs[] = {
    {"check", "tell every mistake of one", check},
    {"graph", "draw one", graph},
};

}  // namespace

int flow_verb(const Arguments& arguments) {
  return run_sub_verb("flow", "Flow files: graphs of stages, for `sluice run FILE`.", kSubVerbs, arguments);
}

}  // namespace sluice::cli
