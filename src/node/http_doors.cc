#include "node/http_doors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "api/token_file.h"
#include "base/id.h"
#include "cluster/private_file.h"
#include "net/listener.h"

namespace sluice::node {

using Refusal = std::unexpected<std::string>;

struct HttpDoors::Impl {
  Impl(net::asio::any_io_executor to_executor, Options to_options, ConnectionRouter& to_router, Logger& to_log)
      : executor(std::move(to_executor)), options(std::move(to_options)), router(to_router), log(to_log) {}

  std::expected<void, std::string> open() {
    if (auto read = open_tokens(); !read) return read;
    at_socket = options_at(options.node_port);
    at_socket.is_unix_socket = true;
    at_node_port = options_at(options.node_port);
    return options.listen.empty() ? std::expected<void, std::string>() : listen();
  }

  std::expected<void, std::string> open_tokens() {
    std::string path = options.tokens_file.empty() ? options.data_directory + "/http.tokens" : options.tokens_file;
    bool there = ::access(path.c_str(), F_OK) == 0;
    if (!there && !options.tokens_file.empty()) return Refusal(fmt::format("--http-tokens: there is no file {}", path));
    if (!there && !options.listen.empty()) {
      std::string line = fmt::format("run {}\n", NodeId::random().text());
      if (auto written = cluster::create_private_file(path, line); !written) return Refusal(written.error().message);
      log.info("token made for http", {{"role", "run"}, {"file", path}});
      there = true;
    }
    if (!there) return {};
    auto read = api::TokenFile::read(path);
    if (!read) return Refusal(read.error());
    tokens.emplace(std::move(*read));
    return {};
  }

  std::expected<void, std::string> listen() {
    auto at = net::parse_host_port(options.listen);
    if (!at) return Refusal(fmt::format("--http: {}", at.error()));
    std::string address = at->host.empty() || at->host == "localhost" ? "127.0.0.1" : at->host;
    if (!net::is_loopback(address))
      return Refusal(fmt::format(
          "--http {}: plain text is served on loopback only; others use https on the node's port", options.listen));
    auto opened = net::Listener::open_tcp(
        executor, {.address = address, .port = at->port}, [] { return nullptr; },
        [this](std::unique_ptr<net::Connection> connection) { router.on_http_connection(std::move(connection)); }, log);
    if (!opened) return Refusal(fmt::format("--http: {}", opened.error().message));
    listener = std::move(*opened);
    at_own_port = options_at(listener->endpoint().port);
    log.info("http ready", {{"at", net::to_text(listener->endpoint())}});
    return {};
  }

  api::HttpOptions options_at(std::uint16_t port) {
    api::HttpOptions at;
    at.hosts = {.names = {"localhost", "127.0.0.1", "::1"}, .port = port};
    at.hosts.names.insert(at.hosts.names.end(), options.names.begin(), options.names.end());
    at.role_of_token = [this](std::string_view token) {
      return tokens ? tokens->role_of(token) : std::optional<net::Role>();
    };
    at.is_ready = options.is_ready;
    at.metrics = options.metrics;
    at.on_admitted = [this](const net::Connection& connection) { router.on_admitted(connection); };
    return at;
  }

  net::asio::any_io_executor executor;
  Options options;
  ConnectionRouter& router;
  Logger& log;
  std::optional<api::TokenFile> tokens;
  api::HttpOptions at_socket, at_node_port, at_own_port;
  std::unique_ptr<net::Listener> listener;
};

std::expected<std::unique_ptr<HttpDoors>, std::string> HttpDoors::open(net::asio::any_io_executor executor,
                                                                       Options options, ConnectionRouter& router,
                                                                       Logger& log) {
  auto impl = std::make_unique<Impl>(std::move(executor), std::move(options), router, log);
  if (auto opened = impl->open(); !opened) return Refusal(opened.error());
  return std::unique_ptr<HttpDoors>(new HttpDoors(std::move(impl)));
}

HttpDoors::HttpDoors(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpDoors::~HttpDoors() = default;

net::Awaitable<void> HttpDoors::serve(std::shared_ptr<net::Connection> connection, const rpc::DispatchTable& table,
                                      api::RunDoor& run_door) {
  bool local = connection->peer().proof == net::Peer::Proof::local_user;
  const api::HttpOptions& options = local                     ? impl_->at_socket
                                    : connection->encrypted() ? impl_->at_node_port
                                                              : impl_->at_own_port;
  return api::serve_http(std::move(connection), options, table, run_door, impl_->log);
}

void HttpDoors::close() {
  if (impl_->listener) impl_->listener->close();
}

}  // namespace sluice::node
