#pragma once
// The verbs of the command line. Each is looked up by name before anything of it is built, so that a verb costs nothing
// to those that are not called.
#include <string>
#include <vector>

namespace sluice::cli {

using Arguments = std::vector<std::string>;  // without the program's name and the verb

struct Verb {
  const char* name;
  const char* summary;
  int (*run)(const Arguments& arguments);
  bool hidden = false;
};

const Verb* find_verb(const std::string& name);
std::vector<std::string> verb_names();

// docs/pipelines.md, "Exit status".
inline constexpr int kSuccess = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

int run_verb(const Arguments& arguments);
int completion_verb(const Arguments& arguments);
int complete_verb(const Arguments& arguments);
int version_verb(const Arguments& arguments);
int help_verb(const Arguments& arguments);

/// Prints to stdout. The status: kSuccess, or kFailed with a message if stdout does not take it (a full disk). A reader
/// that went away is no failure.
int print(const std::string& text);

/// Prints "sluice: MESSAGE" to stderr and returns `status`.
int refuse(int status, const std::string& message);

}  // namespace sluice::cli
