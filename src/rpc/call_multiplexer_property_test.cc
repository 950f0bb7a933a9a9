// Random calls between two machines that are joined back to back, their bytes split at random, against a naive model: what
// one side's application wrote, the other's reads, in order and complete; and nobody holds more than the limits say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "base/random.h"
#include "rpc/call_multiplexer.h"
#include "rpc/joined_calls_for_test.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;

constexpr MultiplexerOptions kTight{.window = 2000, .calls_max = 8, .held_max = 40'000, .queued_max = 60'000};

/// What the applications of both sides did with one call.
struct ModelCall {
  std::vector<std::string> from_client, from_server;
  std::size_t read_by_server = 0, read_by_client = 0;
  std::optional<Status> finished;  // by the handler
  bool started_at_server = false;
  bool client_done = false;
  bool disturbed = false;  // cancelled, past its deadline, refused or beyond a limit: the end may overtake messages
};

class RandomCalls {
 public:
  explicit RandomCalls(std::uint64_t seed) : random_(seed), joined_(kTight) {}

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) step();
    settle();
  }

 private:
  void step() {
    switch (random_.below(12)) {
      case 0:
        return start();
      case 1:
      case 2:
        return client_writes();
      case 3:
      case 4:
        return server_writes();
      case 5:
        return client_reads();
      case 6:
        return server_reads();
      case 7:
        return finish_or_cancel();
      case 8:
        return pass_time(std::chrono::milliseconds(random_.below(20)));
      default:
        return move_some(random_.below(2) == 0);
    }
  }

  std::string message() {
    std::size_t limit = random_.below(20) == 0 ? 15'000 : 300;
    return std::string(random_.below(limit), static_cast<char>('a' + random_.below(26)));
  }

  StreamId any(std::vector<StreamId>& calls) { return calls[random_.below(calls.size())]; }

  void start() {
    if (at_client_.size() >= 12) return;
    std::optional<std::chrono::milliseconds> timeout;
    if (random_.below(3) == 0) timeout = std::chrono::milliseconds(random_.below(2000));
    StreamId call = joined_.client.start({"Test/Method", timeout, {}}, joined_.now).value();
    at_client_.push_back(call);
    model_[call].disturbed = timeout.has_value();
  }

  void client_writes() {
    if (at_client_.empty()) return;
    StreamId call = any(at_client_);
    ModelCall& model = model_[call];
    if (model.client_done || !joined_.client.writable(call)) return;
    if (random_.below(6) == 0) {
      joined_.client.finish_writing(call);
      model.client_done = true;
      return;
    }
    model.from_client.push_back(message());
    joined_.client.write(call, model.from_client.back());
  }

  void server_writes() {
    if (at_server_.empty()) return;
    StreamId call = any(at_server_);
    if (!joined_.server.writable(call)) return;
    model_[call].from_server.push_back(message());
    joined_.server.write(call, model_[call].from_server.back());
  }

  void client_reads() {
    if (at_client_.empty()) return;
    StreamId call = any(at_client_);
    ModelCall& model = model_[call];
    while (auto got = joined_.client.read(call)) {
      ASSERT_LT(model.read_by_client, model.from_server.size());
      ASSERT_EQ(*got, model.from_server[model.read_by_client++]);
    }
    const Status* over = joined_.client.over(call);
    if (over == nullptr) return;
    if (over->code == Code::resource_exhausted) model.disturbed = true;
    check_end(model, *over);
    joined_.client.release(call);
    std::erase(at_client_, call);
  }

  // A call that nothing has disturbed has brought everything, and its handler's own status.
  void check_end(const ModelCall& model, const Status& over) {
    if (model.disturbed) return;
    ASSERT_TRUE(model.finished.has_value());
    EXPECT_EQ(over, *model.finished);
    EXPECT_EQ(model.read_by_client, model.from_server.size());
  }

  void server_reads() {
    if (at_server_.empty()) return;
    StreamId call = any(at_server_);
    ModelCall& model = model_[call];
    while (auto got = joined_.server.read(call)) {
      ASSERT_LT(model.read_by_server, model.from_client.size());
      ASSERT_EQ(*got, model.from_client[model.read_by_server++]);
    }
    if (!joined_.server.read_to_end(call) || joined_.server.over(call) != nullptr) return;
    EXPECT_TRUE(model.client_done);
    EXPECT_EQ(model.read_by_server, model.from_client.size());
  }

  void finish_or_cancel() {
    if (random_.below(3) == 0 && !at_client_.empty()) return cancel(any(at_client_));
    if (!at_server_.empty() && random_.below(2) == 0) finish(any(at_server_));
  }

  void cancel(StreamId call) {
    model_[call].disturbed = true;
    if (random_.below(2) == 0) return joined_.client.cancel(call);
    joined_.client.release(call);
    std::erase(at_client_, call);
  }

  void finish(StreamId call) {
    ModelCall& model = model_[call];
    if (joined_.server.over(call) != nullptr) model.disturbed = true;
    model.finished = Status{random_.below(2) == 0 ? Code::ok : Code::aborted, std::to_string(random_.below(100))};
    joined_.server.finish(call, *model.finished);
    std::erase(at_server_, call);
  }

  void pass_time(Duration duration) {
    joined_.now += duration;
    joined_.client.on_deadline(joined_.now);
    joined_.server.on_deadline(joined_.now);
  }

  // Some of the bytes that are under way in one direction arrive.
  void move_some(bool to_server) {
    std::string& wire = to_server ? to_server_ : to_client_;
    CallMultiplexer& from = to_server ? joined_.client : joined_.server;
    CallMultiplexer& to = to_server ? joined_.server : joined_.client;
    from.poll_transmit(wire);
    std::size_t size = random_.below(wire.size() + 1);
    // A copy of just these bytes, so that a sanitizer sees a look beyond them.
    auto piece = std::make_unique<char[]>(size);
    std::copy_n(wire.begin(), size, piece.get());
    auto taken = to.on_bytes({piece.get(), size}, joined_.now);
    ASSERT_TRUE(taken.has_value()) << taken.error().message;
    wire.erase(0, size);
    see_events();
    ASSERT_LE(joined_.server.calls(), kTight.calls_max);
    ASSERT_LE(to.held(), kTight.held_max);
    ASSERT_LE(from.queued(), kTight.queued_max);
  }

  void see_events() {
    for (const CallEvent& event : events_of(joined_.server)) {
      if (event.kind != CallEvent::Kind::started) continue;
      EXPECT_FALSE(model_[event.stream].started_at_server);
      model_[event.stream].started_at_server = true;
      at_server_.push_back(event.stream);
    }
    events_of(joined_.client);
  }

  // Everything comes to an end, and nothing is left.
  void settle() {
    for (int i = 0; i < 5000 && !(at_client_.empty() && at_server_.empty() && quiet()); ++i) {
      move_some(true);
      move_some(false);
      client_reads();
      server_reads();
      if (!at_server_.empty()) finish(at_server_.front());
    }
    EXPECT_TRUE(at_client_.empty());
    EXPECT_EQ(joined_.client.calls(), 0u);
    EXPECT_EQ(joined_.server.calls(), 0u);
    EXPECT_EQ(joined_.server.held() + joined_.client.held(), 0u);
    EXPECT_EQ(joined_.server.queued() + joined_.client.queued(), 0u);
    EXPECT_EQ(joined_.server.poll_deadline(), std::nullopt);
    EXPECT_EQ(joined_.client.poll_deadline(), std::nullopt);
  }

  bool quiet() const {
    return to_server_.empty() && to_client_.empty() && !joined_.client.transmits() && !joined_.server.transmits();
  }

  SeededRandom random_;
  JoinedCalls joined_;
  std::string to_server_, to_client_;  // under way
  std::map<StreamId, ModelCall> model_;
  std::vector<StreamId> at_client_, at_server_;  // that the application still has
};

// SLUICE_SEED repeats one, SLUICE_PROPERTY_CASES says how many there are.
std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(CallMultiplexerProperty, WhatWasWrittenIsReadAndMemoryIsBounded) {
  std::uint64_t first = number_from("SLUICE_SEED", 1);
  std::uint64_t cases = std::getenv("SLUICE_SEED") != nullptr ? 1 : number_from("SLUICE_PROPERTY_CASES", 100);
  for (std::uint64_t seed = first; seed < first + cases && !HasFailure(); ++seed) {
    SCOPED_TRACE("rerun: SLUICE_SEED=" + std::to_string(seed));
    RandomCalls(seed).run(2000);
  }
}

// A server that is fed the bytes of a good client with some of them changed says what is wrong, or goes on; it never holds
// more than its limits.
TEST(CallMultiplexerProperty, MutatedBytesAreRefusedOrHarmless) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    JoinedCalls joined(kTight);
    std::string bytes;
    for (int i = 0; i < 20; ++i) {
      StreamId call = joined.client.start({"Test/Method", 10ms, OnBehalf{net::Role::run, "ann"}}, joined.now).value();
      joined.client.write(call, std::string(random.below(500), 'x'));
      if (random.below(2) == 0) joined.client.finish_writing(call);
      joined.client.poll_transmit(bytes);
      if (random.below(4) == 0) joined.client.release(call);
    }
    for (std::uint64_t i = random.below(5); i-- > 0;) bytes[random.below(bytes.size())] = static_cast<char>(random());
    if (random.below(2) == 0) bytes.resize(random.below(bytes.size() + 1));
    auto taken = joined.server.on_bytes(bytes, joined.now);
    EXPECT_TRUE(taken || !taken.error().message.empty());
    joined.server.on_lost({Code::cancelled, "the connection has ended"});
    for (const CallEvent& event : events_of(joined.server))
      if (event.kind == CallEvent::Kind::started) joined.server.finish(event.stream, {});
    EXPECT_EQ(joined.server.calls(), 0u);
    EXPECT_EQ(joined.server.held(), 0u);
  }
}

}  // namespace
}  // namespace sluice::rpc
