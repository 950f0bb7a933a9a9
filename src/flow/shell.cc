#include "flow/shell.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "exec/program_lookup.h"

namespace sluice::flow {
namespace {

// POSIX XCU 2.4, and what bash and dash add to it.
constexpr std::string_view kKeywords[] = {"!",    "{",      "}",    "[[",   "]]",    "case", "coproc",   "do",
                                          "done", "elif",   "else", "esac", "fi",    "for",  "function", "if",
                                          "in",   "select", "then", "time", "until", "while"};
// The builtins of bash 5.2 and dash 0.5.12 together, but for true and false: a name too many costs a shell, a name too
// few a wrong result.
constexpr std::string_view kBuiltins[] = {
    ".",       ":",       "[",         "alias",    "bg",      "bind",     "break",   "builtin", "caller", "cd",
    "chdir",   "command", "compgen",   "complete", "compopt", "continue", "declare", "dirs",    "disown", "echo",
    "enable",  "eval",    "exec",      "exit",     "export",  "fc",       "fg",      "getopts", "hash",   "help",
    "history", "jobs",    "kill",      "let",      "local",   "logout",   "mapfile", "popd",    "printf", "pushd",
    "pwd",     "read",    "readarray", "readonly", "return",  "set",      "shift",   "shopt",   "source", "suspend",
    "test",    "times",   "trap",      "type",     "typeset", "ulimit",   "umask",   "unalias", "unset",  "wait"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

ShellKind kind_of(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  if (name == "bash") return ShellKind::bash;
  if (name == "sh" || name == "dash" || name == "ash") return ShellKind::posix;
  return ShellKind::other;
}

}  // namespace

std::expected<Shell, std::string> find_shell(std::string_view wanted, std::string_view search_path) {
  if (!wanted.empty()) {
    auto path = exec::find_program(wanted, search_path);
    if (!path) {
      const char* why = path.error() == exec::LookupError::not_found ? "not found" : "not executable";
      return std::unexpected(fmt::format("the shell '{}' is {}; name another with --shell", wanted, why));
    }
    return Shell{kind_of(*path), *path};
  }
  for (std::string_view name : {"bash", "sh"})
    for (std::string_view folders : {search_path, exec::kDefaultPath})
      if (auto path = exec::find_program(name, folders)) return Shell{kind_of(*path), *path};
  return std::unexpected("neither bash nor sh is in PATH or the system's folders; name a shell with --shell");
}

bool is_shell_keyword(std::string_view name) { return is_one_of(name, kKeywords); }

bool shell_runs_itself(const Shell& shell, std::string_view name, const exec::Environment& environment) {
  if (shell.kind == ShellKind::other) return true;
  if (is_one_of(name, kKeywords) || is_one_of(name, kBuiltins)) return true;
  return shell.kind == ShellKind::bash && environment.has(fmt::format("BASH_FUNC_{}%%", name));
}

bool shell_is_customised(const Shell& shell, const exec::Environment& environment) {
  if (shell.kind != ShellKind::bash) return false;
  return environment.has("BASH_ENV") || environment.has("SHELLOPTS") || environment.has("BASHOPTS");
}

ShellDialect shell_dialect(const Shell& shell, const exec::Environment& environment) {
  // The options are separated by colons, and no other option's name holds this one.
  bool switched_on = environment.get("BASHOPTS").value_or("").find("extglob") != std::string_view::npos;
  return {.extended_patterns = shell.kind == ShellKind::other || (shell.kind == ShellKind::bash && switched_on)};
}

std::vector<std::string> shell_arguments(const Shell& shell, std::string_view text, bool inner_pipefail) {
  std::vector<std::string> arguments = {shell.path.substr(shell.path.rfind('/') + 1)};
  bool knows_pipefail = shell.kind == ShellKind::bash || arguments[0] == "zsh" || arguments[0].starts_with("ksh");
  if (inner_pipefail && knows_pipefail) arguments.insert(arguments.end(), {"-o", "pipefail"});
  arguments.push_back("-c");
  // A text like "-x" would be taken for an option.
  if (text.starts_with('-') || text.starts_with('+')) arguments.push_back("--");
  arguments.emplace_back(text);
  return arguments;
}

}  // namespace sluice::flow
