#pragma once
// What a node is started with: the options of `sluice start`, after configuration files and variables were read.
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"

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

}  // namespace sluice::node
