#pragma once
// `sluice start`: builds the parts of a node, wires them together, and shuts them down in order. Reading `daemon.cc` shows
// the whole program.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "exec/zygote_client.h"

namespace sluice::node {

struct StartOptions {
  std::string listen;  // ADDR:PORT; empty: the loopback address and the default port
  std::string data;    // empty: the default folder
  std::string key;     // file; empty: the node's own, which it makes itself
  std::string cert;
  std::vector<std::string> joins;
  std::string discover;  // GROUP:PORT
  std::string interface;
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
  std::string advertise;
  std::string http;         // ADDR:PORT; empty: no plain HTTP
  std::string http_tokens;  // file; empty: http.tokens in the data directory
  std::string run_as;
  bool insecure_loopback = false;
  LogFormat log_format = LogFormat::text;
  LogLevel log_level = LogLevel::info;
};

/// Why a node did not come up, or with what it ended.
struct NodeEnd {
  int status = 0;
  std::string message;  // empty: in good order
};

/// Runs until it is told to leave: by a signal, or by a call.
NodeEnd run_node(StartOptions options, exec::ZygoteClient zygote);

}  // namespace sluice::node
