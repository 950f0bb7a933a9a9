#pragma once
// The shell that runs a stage which is more than plain words, and what that shell would do itself.
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/environment.h"
#include "flow/shell_text.h"

namespace sluice::flow {

enum class ShellKind { bash, posix, other };

struct Shell {
  ShellKind kind = ShellKind::bash;
  std::string path;
};

/// `wanted` is a name or a path (`--shell`), or empty: bash, and sh on a host that has none.
/// Errors: a sentence for the user.
std::expected<Shell, std::string> find_shell(std::string_view wanted, std::string_view search_path);

/// Whether the shell would run `name` itself and not a file: a keyword, a builtin, an exported function. `true` and
/// `false` may be executed: nothing tells the two apart. Of a shell that we do not know everything is its own.
bool shell_runs_itself(const Shell& shell, std::string_view name, const exec::Environment& environment);

/// Whether `name` is a reserved word of bash or a POSIX shell, which it is only unquoted.
bool is_shell_keyword(std::string_view name);

/// Whether the environment makes the shell do something before or besides its text (BASH_ENV, SHELLOPTS, BASHOPTS):
/// then even plain words must go through it.
bool shell_is_customised(const Shell& shell, const exec::Environment& environment);

/// How the shell reads its text: bash knows extended patterns at its start if BASHOPTS says so; a shell that we do not know
/// may (ksh does), and then refuses them itself if not.
ShellDialect shell_dialect(const Shell& shell, const exec::Environment& environment);

/// The arguments, the shell's name included, that run `text`.
std::vector<std::string> shell_arguments(const Shell& shell, std::string_view text, bool inner_pipefail);

}  // namespace sluice::flow
