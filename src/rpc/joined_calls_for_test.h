#pragma once
// For tests: a client's and a server's machine, joined back to back.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rpc/call_multiplexer.h"

namespace sluice::rpc {

struct JoinedCalls {
  explicit JoinedCalls(MultiplexerOptions options = {})
      : client(with(options, Side::client)), server(with(options, Side::server)) {}

  static MultiplexerOptions with(MultiplexerOptions options, Side side) {
    options.side = side;
    return options;
  }

  /// Moves everything that either has to send.
  void exchange() {
    while (client.transmits() || server.transmits()) {
      move(client, server);
      move(server, client);
    }
  }
  void move(CallMultiplexer& from, CallMultiplexer& to) {
    std::string bytes;
    from.poll_transmit(bytes);
    auto taken = to.on_bytes(bytes, now);
    ASSERT_TRUE(taken.has_value()) << taken.error().message;
  }

  /// Starts a call and lets the server see it.
  StreamId start(std::string method = "Test/Method", std::optional<std::chrono::milliseconds> timeout = {}) {
    auto stream = client.start({std::move(method), timeout, {}}, now);
    EXPECT_TRUE(stream.has_value());
    exchange();
    return stream.value_or(StreamId{});
  }

  TimePoint now{};
  CallMultiplexer client;
  CallMultiplexer server;
};

inline std::vector<CallEvent> events_of(CallMultiplexer& calls) {
  std::vector<CallEvent> events;
  while (auto event = calls.poll_event()) events.push_back(*event);
  return events;
}

/// What a peer sends: frames, one behind the other.
inline std::string frame_of(FrameType type, std::uint8_t flags, std::uint32_t stream, std::string_view payload = {}) {
  std::string bytes;
  put_frame(bytes, {type, flags, StreamId{stream}, payload});
  return bytes;
}
inline std::string request_of(std::uint32_t stream, const CallRequest& request = {"Test/Method", {}, {}}) {
  std::string bytes;
  put_request(bytes, StreamId{stream}, request);
  return bytes;
}

}  // namespace sluice::rpc
