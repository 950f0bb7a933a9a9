#pragma once
// Contexts: named ways to a cluster, kept in the user's configuration folder (contexts.json). The current one is what a
// command without --node and SLUICE_NODE uses.
#include <expected>
#include <map>
#include <optional>
#include <string>

namespace sluice::cli {

struct Context {
  std::string node;  // URL, HOST:PORT, or the path of a node's Unix socket
  std::string key;   // file; may be empty
  std::string cert;  // file; may be empty
};

struct Contexts {
  std::string current;  // may be empty
  std::map<std::string, Context> all;
};

/// Errors: the file can't be read, or is damaged; the message names it. No file is no error.
std::expected<Contexts, std::string> read_contexts();
std::expected<void, std::string> write_contexts(const Contexts& contexts);

}  // namespace sluice::cli
