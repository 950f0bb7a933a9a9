#pragma once
// The verbs of the command line. Each is looked up by name before anything of it is built, so that a verb costs nothing
// to those that are not called.
#include <span>
#include <string>
#include <vector>

#include "cli/exit_status.h"

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

/// A verb behind a noun: `cert issue`.
struct SubVerb {
  const char* name;
  const char* summary;
  int (*run)(const Arguments& arguments);
};
/// Runs the one that the first argument names, or explains them all.
int run_sub_verb(const char* noun, const char* summary, std::span<const SubVerb> verbs, const Arguments& arguments);

int cert_verb(const Arguments& arguments);
int config_verb(const Arguments& arguments);
int context_verb(const Arguments& arguments);
int dev_verb(const Arguments& arguments);
int flow_verb(const Arguments& arguments);
int init_verb(const Arguments& arguments);
int keygen_verb(const Arguments& arguments);
int leave_verb(const Arguments& arguments);
int logs_verb(const Arguments& arguments);
int nodes_verb(const Arguments& arguments);
int ps_verb(const Arguments& arguments);
int rm_verb(const Arguments& arguments);
int start_verb(const Arguments& arguments);
int stop_verb(const Arguments& arguments);
int scale_verb(const Arguments& arguments);
int top_verb(const Arguments& arguments);
int wait_verb(const Arguments& arguments);
int worker_verb(const Arguments& arguments);
int run_verb(const Arguments& arguments);
int completion_verb(const Arguments& arguments);
int complete_verb(const Arguments& arguments);
int version_verb(const Arguments& arguments);
int help_verb(const Arguments& arguments);

/// Prints to stdout. The status: kSuccess, or kFailed with a message if stdout does not take it (a full disk). A reader
/// that went away is no failure.
int print(const std::string& text);

/// Whether somebody may still read what `print` writes.
bool stdout_has_reader();

/// Prints "sluice: MESSAGE" to stderr and returns `status`.
int refuse(int status, const std::string& message);

}  // namespace sluice::cli
