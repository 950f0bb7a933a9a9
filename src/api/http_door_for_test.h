#pragma once
// For tests: the door at one end of a socket pair, raw HTTP text at the other, and a node that is not one.
#include <gmock/gmock.h>
#include <sluice/v1/cluster.pb.h>
#include <sluice/v1/flows.pb.h>
#include <sluice/v1/host.pb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/http_door.h"
#include "base/log.h"
#include "rpc/wakeup.h"

namespace sluice::api {

using namespace std::chrono_literals;

/// A flow whose behaviour is its pipeline's text:
///   cat     gives what it gets
///   fail    can't be started
///   false   ends with status 1, without output
///   grep    ends with status 1, with output
///   head    gives "first" and reads nothing
///   lost    gives "part", then its node is lost
///   wait    neither reads nor ends, until it is cancelled
///   flood   gives bytes without end
class FakeFlow final : public RunningFlow {
 public:
  static constexpr std::size_t kPipe = 64 << 10;

  explicit FakeFlow(std::string text) : text_(std::move(text)) {
    if (text_ == "grep") held_ = "found\n";
    if (text_ == "head") held_ = "first\n";
    if (text_ == "lost") held_ = "part";
    input_ended_ = text_ != "cat" && text_ != "wait" && text_ != "flood";
  }

  net::Awaitable<std::expected<void, rpc::Status>> write_input(std::span<const std::byte> bytes) override {
    if (text_ != "wait" && text_ != "cat") co_return std::unexpected(rpc::Status{rpc::Code::aborted, "nobody reads"});
    std::string_view left(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!left.empty() && !cancelled) {
      std::size_t size = std::min(left.size(), kPipe - held_.size());
      held_ += left.substr(0, size);
      left.remove_prefix(size);
      most_held = std::max(most_held, held_.size());
      changed_.notify();
      if (!left.empty()) co_await changed_.wait();
    }
    co_return std::expected<void, rpc::Status>{};
  }
  void close_input() override {
    input_ended_ = true;
    changed_.notify();
  }
  net::Awaitable<std::size_t> read_output(std::span<std::byte> into) override {
    while (!cancelled && (text_ == "wait" || (held_.empty() && !input_ended_ && text_ != "flood")))
      co_await changed_.wait();
    if (cancelled) co_return 0;
    if (text_ == "flood") held_.assign(into.size(), 'x');
    std::size_t size = std::min(into.size(), held_.size());
    std::copy_n(reinterpret_cast<const std::byte*>(held_.data()), size, into.begin());
    held_.erase(0, size);
    given += size;
    changed_.notify();
    co_return size;
  }
  net::Awaitable<FlowResult> finish() override {
    FlowResult result;
    result.exit_status = text_ == "false" || text_ == "grep" ? 1 : text_ == "lost" ? 125 : 0;
    if (cancelled) result = {143, {rpc::Code::cancelled, "the client went away"}};
    if (text_ == "lost") result.outcome = {rpc::Code::unavailable, "node n2 was lost"};
    co_return result;
  }
  void cancel() override {
    cancelled = true;
    changed_.notify();
  }

  bool cancelled = false;
  std::size_t most_held = 0;
  std::size_t given = 0;

 private:
  std::string text_;
  std::string held_;
  bool input_ended_ = false;
  rpc::Wakeup changed_;
};

class FakeRunDoor final : public RunDoor {
 public:
  net::Awaitable<std::expected<std::unique_ptr<RunningFlow>, rpc::Status>> start(RunText text,
                                                                                 rpc::Caller caller) override {
    last_text = text;
    last_caller = caller;
    if (text.pipeline == "fail")
      co_return std::unexpected(rpc::Status{rpc::Code::invalid_argument, "'fail' is no pipeline"});
    auto made = std::make_unique<FakeFlow>(text.pipeline);
    flow = made.get();
    co_return made;
  }

  RunText last_text;
  rpc::Caller last_caller;
  FakeFlow* flow = nullptr;  // the last one; gone when its run has been answered
};

/// The client's end: sends and receives while the loop runs.
class RawClient final {
 public:
  RawClient(boost::asio::io_context& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}

  void send(std::string_view text) {
    while (!text.empty()) {
      ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent > 0) text.remove_prefix(static_cast<std::size_t>(sent));
      if (sent < 0 && errno != EAGAIN) return;
      if (sent < 0) turn();
    }
  }
  /// As much as the other end takes now; says how much that was.
  std::size_t send_some(std::string_view text) {
    ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  void end_sending() { ::shutdown(socket_.get(), SHUT_WR); }
  void close() { socket_.reset(); }

  void receive() {
    char buffer[64 << 10];
    while (socket_) {
      ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got > 0) received += std::string_view(buffer, static_cast<std::size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN)) ended = true;
      if (got <= 0) return;
    }
  }
  /// Runs the loop until `done` or the deadline; false: the deadline.
  bool until(const std::function<bool()>& done) {
    const TimePoint deadline = Clock::now() + 20s;
    while (true) {
      receive();
      if (done()) return true;
      if (Clock::now() > deadline) return false;
      turn();
    }
  }
  bool until_received(std::string_view text) {
    return until([&] { return received.find(text) != received.npos; });
  }
  std::string until_end() {
    EXPECT_TRUE(until([&] { return ended; })) << received;
    return received;
  }
  void turn() {
    loop_.restart();
    loop_.run_one_for(1ms);
  }

  std::string received;
  bool ended = false;

 private:
  boost::asio::io_context& loop_;
  UniqueFd socket_;
};

class HttpDoorTest : public testing::Test {
 protected:
  HttpDoorTest() {
    options.limits.linger_time = 1ms;
    options.hosts = {{"localhost", "127.0.0.1", "::1"}, 7117};
    options.role_of_token = [](std::string_view token) -> std::optional<net::Role> {
      if (token == "reader") return net::Role::read;
      return std::nullopt;
    };
    table.set_audit([this](const rpc::CallInfo& info, bool allowed) -> std::expected<void, std::string> {
      audit.push_back(info.method + (allowed ? " allowed" : " refused"));
      return {};
    });
  }
  ~HttpDoorTest() override {
    clients.clear();
    for (auto& connection : connections) connection->close();
    const TimePoint deadline = Clock::now() + 20s;
    while (serving > 0 && Clock::now() < deadline) {
      loop.restart();
      loop.run_one_for(5ms);
    }
    EXPECT_EQ(serving, 0);
  }

  static net::Peer admin() { return {.proof = net::Peer::Proof::local_user, .role = net::Role::admin, .name = "root"}; }
  static net::Peer stranger() { return {}; }

  RawClient& connect(net::Peer peer = admin()) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    net::Connection::Parts parts;
    parts.socket.reset(ends[0]);
    parts.peer = std::move(peer);
    parts.remote = "test";
    auto connection = std::make_shared<net::Connection>(loop.get_executor(), std::move(parts));
    connections.push_back(connection);
    ++serving;
    boost::asio::co_spawn(loop, serve_http(connection, options, table, run_door, log),
                          [this](const std::exception_ptr& exception) {
                            if (exception) std::rethrow_exception(exception);
                            --serving;
                          });
    return *clients.emplace_back(std::make_unique<RawClient>(loop, UniqueFd(ends[1])));
  }

  /// One request on a connection of its own that is to end behind the answer.
  std::string answer_to(std::string_view request, net::Peer peer = admin()) {
    RawClient& client = connect(std::move(peer));
    client.send(request);
    return client.until_end();
  }

  static std::string post(const std::string& path, const std::string& body,
                          const std::string& type = "application/json", const std::string& more = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: localhost:7117\r\nConnection: close\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
  }
  static std::string get(const std::string& path, const std::string& more = "") {
    return "GET " + path + " HTTP/1.1\r\nHost: localhost:7117\r\nConnection: close\r\n" + more + "\r\n";
  }

  boost::asio::io_context loop{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{loop.get_executor()};
  Logger log{{.level = LogLevel::error}};
  HttpOptions options;
  rpc::DispatchTable table;
  FakeRunDoor run_door;
  std::vector<std::string> audit;
  std::vector<std::shared_ptr<net::Connection>> connections;
  std::vector<std::unique_ptr<RawClient>> clients;
  int serving = 0;
};

inline int status_in(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::atoi(std::string(answer.substr(9, 3)).c_str()) : 0;
}

/// The body of an answer with a length, as it came.
inline std::string body_in(const std::string& answer) {
  std::size_t end = answer.find("\r\n\r\n");
  return end == answer.npos ? "" : answer.substr(end + 4);
}

}  // namespace sluice::api
