#pragma once
// Finds the file that a command's name stands for, as a shell does (POSIX XCU 2.9.1.1, bash's hash-less search).
#include <expected>
#include <string>
#include <string_view>

namespace sluice::exec {

enum class LookupError {
  not_found,       // a shell says 127
  not_executable,  // found, but a folder or without the right to execute: a shell says 126
};

/// `name` with a slash is a path; else the folders of `path` (PATH's value) are tried in order, an empty one being
/// the current folder, and an executable file wins over an earlier one that may not be executed.
std::expected<std::string, LookupError> find_program(std::string_view name, std::string_view path);

/// The search path of a shell that finds no PATH in its environment: bash's built-in one on Debian.
inline constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

}  // namespace sluice::exec
