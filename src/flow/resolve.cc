#include "flow/resolve.h"

#include <fmt/format.h>

#include "exec/program_lookup.h"

namespace sluice::flow {
namespace {

constexpr int kNotExecutable = 126;  // POSIX XCU 2.8.2
constexpr int kNotFound = 127;

PlanProblem lookup_problem(const Stage& stage, std::size_t index, exec::LookupError error) {
  const std::string& name = stage.plain_words->front();
  std::string title = title_of_stage(stage.name, index);
  bool is_path = name.find('/') != std::string::npos;
  if (error == exec::LookupError::not_executable)
    return {index, kNotExecutable,
            fmt::format("{}: {}: found, but it may not be executed; nothing was started", title, name)};
  return {index, kNotFound,
          fmt::format("{}: {}: {}; nothing was started", title, name,
                      is_path ? "no such file" : "command not found in PATH")};
}

std::string_view shell_name(const Shell& shell) {
  std::string_view path = shell.path;
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Resolver::Resolver(const PlanContext& context)
    : context_(context),
      search_path_(context.environment.get("PATH").value_or(exec::kDefaultPath)),
      customised_(shell_is_customised(context.shell, context.environment)) {}

ResolvedStage Resolver::resolve(const Stage& stage, std::size_t index) const {
  ResolvedStage resolved;
  std::string why_shell = reason_for_shell(stage);
  if (!why_shell.empty()) {
    resolved.how = fmt::format("{}: {}", shell_name(context_.shell), why_shell);
    resolved.in_shell = true;
    resolved.program.path = context_.shell.path;
    resolved.program.arguments = shell_arguments(context_.shell, stage.shell_text, context_.inner_pipefail);
    return resolved;
  }
  const std::string& name = stage.plain_words->front();
  resolved.program.arguments = *stage.plain_words;
  resolved.program.script_shell = context_.shell.path;
  resolved.program.error = stage.error_joins_output ? exec::Stream::as_stdout : exec::Stream::inherited;
  auto path = find(name);
  if (path) {
    resolved.how = "exec " + (name.find('/') == std::string::npos ? *path : name);
    resolved.program.path = *path;
    return resolved;
  }
  resolved.how = "exec ?";
  resolved.problem = lookup_problem(stage, index, path.error());
  return resolved;
}

std::expected<std::string, exec::LookupError> Resolver::find(const std::string& name) const {
  bool elsewhere = context_.directory && !name.starts_with('/') && name.find('/') != std::string::npos;
  if (!elsewhere) return exec::find_program(name, search_path_);
  if (context_.directory->empty()) return std::unexpected(exec::LookupError::not_found);
  auto found = exec::find_program(*context_.directory + "/" + name, search_path_);
  if (!found) return found;
  return name;  // it runs in that folder, and a script sees its own name as it was typed
}

std::string Resolver::reason_for_shell(const Stage& stage) const {
  if (stage.without_shell) return {};
  if (!stage.plain_words) return "more than plain words";
  if (customised_) return "BASH_ENV, SHELLOPTS or BASHOPTS is set";
  const std::string& name = stage.plain_words->front();
  if (!shell_runs_itself(context_.shell, name, context_.environment)) return {};
  // A quoted keyword is a command's name; a quoted builtin is still the builtin.
  bool known_grammar = context_.shell.kind != ShellKind::other;
  if (known_grammar && stage.first_word_quoted && is_shell_keyword(name)) return {};
  return fmt::format("'{}' is its own", name);
}

}  // namespace sluice::flow
