#pragma once
// HTTP at a node: who may come in by it (tokens), under which names it is called, and the port of --http. The Unix socket and
// the node's own port serve HTTP too; the router brings those connections here.
// Threading: belongs to the control loop.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/http_door.h"
#include "net/async.h"
#include "node/connection_router.h"

namespace sluice::node {

class HttpDoors final {
 public:
  struct Options {
    std::string listen;       // of --http; empty: no port of its own
    std::string tokens_file;  // of --http-tokens; empty: http.tokens in the data directory
    std::string data_directory;
    std::vector<std::string> names;  // that a request may call the node by, beside localhost
    std::uint16_t node_port = 0;
    std::function<bool()> is_ready;
    std::function<net::Awaitable<std::string>()> metrics;
  };
  /// Listens, if it shall; makes a token if there is none and it listens. Connections go to `router`, which brings them to
  /// `serve`. Everything given by reference outlives the doors. Errors: a sentence that names the option or the file.
  static std::expected<std::unique_ptr<HttpDoors>, std::string> open(net::asio::any_io_executor executor,
                                                                     Options options, ConnectionRouter& router,
                                                                     Logger& log);
  ~HttpDoors();

  /// Serves until the connection ends.
  net::Awaitable<void> serve(std::shared_ptr<net::Connection> connection, const rpc::DispatchTable& table,
                             api::RunDoor& run_door);
  /// Accepts no more.
  void close();

 private:
  struct Impl;
  explicit HttpDoors(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
