// Any bytes as what a client, or a server, sends on a connection of calls: the machine at the other end refuses them or
// takes them, holds no more than its limits, and itself sends only frames.
//
// The first byte says which side is fed, how it reads and how large the pieces are; the rest are the peer's bytes.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "require.h"
#include "rpc/call_multiplexer.h"

namespace {

using sluice::TimePoint;
using sluice::fuzz::require;
using sluice::rpc::CallEvent;
using sluice::rpc::CallMultiplexer;
using sluice::rpc::Code;
using sluice::rpc::FrameReader;
using sluice::rpc::MultiplexerOptions;
using sluice::rpc::Side;
using sluice::rpc::StreamId;

struct Settings {
  Side side = Side::server;
  bool reads = false;     // the application takes its messages
  bool finishes = false;  // handlers end at once
  bool sends = false;     // what the machine sends leaves it
  std::size_t piece = 1;
};

Settings settings_from(std::uint8_t byte) {
  return {(byte & 1) != 0 ? Side::client : Side::server, (byte & 2) != 0, (byte & 4) != 0, (byte & 8) != 0,
          std::size_t{1} << (byte >> 4)};
}

class Fed {
 public:
  explicit Fed(Settings settings)
      : settings_(settings),
        options_{.side = settings.side, .window = 4096, .calls_max = 16, .held_max = 20'000, .queued_max = 20'000},
        calls_(options_) {
    if (settings.side == Side::client) start_calls();
  }

  void run(std::string_view bytes) {
    while (!bytes.empty()) {
      std::string piece(bytes.substr(0, settings_.piece));  // a copy, so that a look beyond it is seen
      bytes.remove_prefix(piece.size());
      now_ += std::chrono::milliseconds(1);
      auto taken = calls_.on_bytes(piece, now_);
      if (!taken) {
        require(!taken.error().message.empty(), "an error says what is wrong");
        break;
      }
      calls_.on_deadline(now_);
      act();
      check();
    }
    end();
  }

 private:
  void start_calls() {
    for (int i = 0; i < 8; ++i) {
      auto stream = calls_.start({"Fuzz/Method", std::chrono::milliseconds(1000), {}}, now_);
      open_.push_back(*stream);
      calls_.write(*stream, std::string(1000, 'x'));
    }
    std::string bytes;
    calls_.poll_transmit(bytes);  // the server may now answer them
  }

  void act() {
    while (auto event = calls_.poll_event()) {
      if (event->kind == CallEvent::Kind::started) on_started(event->stream);
      if (event->kind == CallEvent::Kind::readable && settings_.reads) read(event->stream);
    }
    if (settings_.sends) send();
  }

  void on_started(StreamId stream) {
    require(sluice::rpc::valid_method_name(calls_.request(stream).method), "a method has a proper name");
    calls_.write(stream, "answer");
    if (settings_.finishes)
      calls_.finish(stream, {Code::ok, "done"});
    else
      open_.push_back(stream);
  }

  void read(StreamId stream) {
    if (std::ranges::find(open_, stream) == open_.end()) return;
    while (calls_.read(stream)) {
    }
  }

  void send() {
    std::string bytes;
    calls_.poll_transmit(bytes);
    FrameReader reader;
    reader.append(bytes);
    while (true) {
      auto frame = reader.next();
      require(frame.has_value(), "what is sent are frames");
      if (!*frame) break;
    }
    require(reader.held() == 0, "what is sent are whole frames");
  }

  void check() const {
    require(calls_.held() <= options_.held_max, "what waits to be read is bounded");
    require(calls_.queued() <= options_.queued_max, "what waits to be sent is bounded");
    require(calls_.calls() <= options_.calls_max, "calls are bounded");
  }

  void end() {
    calls_.on_lost({Code::unavailable, "the connection has ended"});
    while (auto event = calls_.poll_event())
      if (event->kind == CallEvent::Kind::started) open_.push_back(event->stream);
    for (StreamId stream : open_) {
      require(calls_.over(stream) != nullptr, "every call is over with its connection");
      if (settings_.side == Side::client)
        calls_.release(stream);
      else
        calls_.finish(stream, {});
    }
    require(calls_.calls() == 0, "no call is left");
    require(calls_.held() + calls_.queued() == 0, "no message is left");
    require(!calls_.poll_deadline(), "no deadline is left");
  }

  Settings settings_;
  MultiplexerOptions options_;
  CallMultiplexer calls_;
  std::vector<StreamId> open_;
  TimePoint now_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Fed(settings_from(data[0])).run({reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
