#include "rpc/call_multiplexer.h"

#include <gmock/gmock.h>

#include "rpc/joined_calls_for_test.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::Pointee;
using Kind = CallEvent::Kind;

constexpr StreamId kFirst{1};

auto ended_with(Code code) { return Pointee(testing::Field(&Status::code, code)); }

// --- the life of a call ----------------------------------------------------------------------------------------------

TEST(CallMultiplexer, AUnaryCallGoesThereAndBack) {
  JoinedCalls joined;
  StreamId call = joined.client.start({"Test/Method", 5s, OnBehalf{net::Role::run, "ann"}}, joined.now).value();
  joined.client.write(call, "question");
  joined.client.finish_writing(call);
  joined.exchange();
  EXPECT_THAT(events_of(joined.server), ElementsAre(CallEvent{Kind::started, call}, CallEvent{Kind::readable, call}));
  EXPECT_EQ(joined.server.request(call).method, "Test/Method");
  EXPECT_EQ(joined.server.request(call).on_behalf->name, "ann");
  EXPECT_EQ(joined.server.deadline(call), joined.now + 5s);
  EXPECT_THAT(joined.server.read(call), Optional(std::string("question")));
  EXPECT_TRUE(joined.server.read_to_end(call));

  joined.server.write(call, "answer");
  joined.server.finish(call, {});
  joined.exchange();
  EXPECT_THAT(events_of(joined.client), ElementsAre(CallEvent{Kind::readable, call}, CallEvent{Kind::over, call}));
  EXPECT_THAT(joined.client.read(call), Optional(std::string("answer")));
  EXPECT_TRUE(joined.client.read_to_end(call));
  EXPECT_THAT(joined.client.over(call), ended_with(Code::ok));
  joined.client.release(call);
  EXPECT_EQ(joined.client.calls() + joined.server.calls(), 0u);
  EXPECT_EQ(joined.client.poll_deadline(), std::nullopt);
  EXPECT_FALSE(joined.client.transmits());
}

TEST(CallMultiplexer, AUnaryCallIsOneBatchEachWay) {
  JoinedCalls joined;
  std::string bytes;
  for (int i = 0; i < 100; ++i) {
    StreamId call = joined.client.start({"Test/Method", {}, {}}, joined.now).value();
    joined.client.write(call, "question");
    joined.client.finish_writing(call);
  }
  joined.client.poll_transmit(bytes);
  EXPECT_FALSE(joined.client.transmits());
  EXPECT_EQ(bytes.size(), 100 * (2 * kFrameHeaderSize + 2 + std::string("Test/Method").size() + 8));
}

TEST(CallMultiplexer, MessagesOfAStreamArriveInOrder) {
  JoinedCalls joined;
  StreamId call = joined.start();
  for (int i = 0; i < 100; ++i) joined.client.write(call, std::to_string(i));
  joined.exchange();
  for (int i = 0; i < 100; ++i) EXPECT_THAT(joined.server.read(call), Optional(std::to_string(i)));
  EXPECT_FALSE(joined.server.read_to_end(call));
  joined.client.finish_writing(call);
  joined.exchange();
  EXPECT_TRUE(joined.server.read_to_end(call));
}

TEST(CallMultiplexer, TheLargestMessageArrivesThroughASmallerWindow) {
  JoinedCalls joined;
  StreamId call = joined.start();
  std::string message(kMessageMax, 'x');
  joined.client.write(call, message);
  joined.exchange();
  EXPECT_TRUE(joined.server.read(call) == message);
}

TEST(CallMultiplexer, CallsTakeTurns) {
  JoinedCalls joined;
  StreamId large = joined.start();
  StreamId small = joined.start();
  joined.client.write(large, std::string(kWindow / 2, 'x'));
  joined.client.write(small, "quick");
  joined.move(joined.client, joined.server);
  EXPECT_EQ(joined.server.read(large), std::nullopt);
  EXPECT_THAT(joined.server.read(small), Optional(std::string("quick")));
}

TEST(CallMultiplexer, AHandlerMayEndBeforeItsCallerHasSentEverything) {
  JoinedCalls joined;
  StreamId call = joined.start();
  joined.server.finish(call, {Code::invalid_argument, "no"});
  joined.client.write(call, "more");  // crosses the end
  joined.client.finish_writing(call);
  joined.exchange();
  EXPECT_THAT(joined.client.over(call), ended_with(Code::invalid_argument));
  joined.client.write(call, "too late");
  EXPECT_FALSE(joined.client.transmits());
  EXPECT_EQ(joined.server.calls(), 0u);
}

TEST(CallMultiplexer, AnAnswerThatIsNotReadYetOutlivesTheEnd) {
  JoinedCalls joined;
  StreamId call = joined.start();
  joined.server.write(call, "answer");
  joined.server.finish(call, {Code::aborted, "half"});
  joined.exchange();
  EXPECT_THAT(joined.client.over(call), ended_with(Code::aborted));
  EXPECT_THAT(joined.client.read(call), Optional(std::string("answer")));
}

TEST(CallMultiplexer, AMethodWithoutAProperNameIsNotCalled) {
  JoinedCalls joined;
  for (const std::string& name : {std::string(), std::string("a b"), std::string(kMethodNameMax + 1, 'm')})
    EXPECT_EQ(joined.client.start({name, {}, {}}, joined.now).error().code, Code::invalid_argument);
}

// --- ends that are not the handler's ---------------------------------------------------------------------------------

TEST(CallMultiplexer, CancellingReachesTheHandler) {
  JoinedCalls joined;
  StreamId call = joined.start();
  events_of(joined.server);
  joined.client.cancel(call);
  EXPECT_THAT(joined.client.over(call), ended_with(Code::cancelled));
  joined.exchange();
  EXPECT_THAT(events_of(joined.server), ElementsAre(CallEvent{Kind::over, call}));
  EXPECT_THAT(joined.server.over(call), ended_with(Code::cancelled));
  EXPECT_EQ(joined.server.calls(), 1u);  // until the handler has seen it
  joined.server.write(call, "nobody reads this");
  joined.server.finish(call, {});
  EXPECT_EQ(joined.server.calls(), 0u);
  EXPECT_FALSE(joined.server.transmits());
}

TEST(CallMultiplexer, ACallThatWasNeverSentIsTakenBackSilently) {
  JoinedCalls joined;
  StreamId call = joined.client.start({"Test/Method", {}, {}}, joined.now).value();
  joined.client.release(call);
  EXPECT_FALSE(joined.client.transmits());
  StreamId next = joined.start();
  EXPECT_THAT(events_of(joined.server), ElementsAre(CallEvent{Kind::started, next}));
}

TEST(CallMultiplexer, BothSidesEndACallAtItsDeadline) {
  JoinedCalls joined;
  StreamId call = joined.start("Test/Method", 100ms);
  EXPECT_EQ(joined.client.poll_deadline(), joined.now + 100ms);
  EXPECT_EQ(joined.server.poll_deadline(), joined.now + 100ms);
  joined.client.on_deadline(joined.now + 99ms);
  EXPECT_EQ(joined.client.over(call), nullptr);
  joined.server.on_deadline(joined.now + 100ms);
  EXPECT_THAT(joined.server.over(call), ended_with(Code::deadline_exceeded));
  joined.client.on_deadline(joined.now + 100ms);
  EXPECT_THAT(joined.client.over(call), ended_with(Code::deadline_exceeded));
  joined.exchange();  // the end and the cancellation cross
  joined.server.finish(call, {});
  joined.client.release(call);
  EXPECT_EQ(joined.client.calls() + joined.server.calls(), 0u);
}

TEST(CallMultiplexer, TheServersDeadlineAloneReachesTheClient) {
  JoinedCalls joined;
  StreamId call = joined.start("Test/Method", 100ms);
  joined.server.on_deadline(joined.now + 100ms);
  joined.exchange();
  EXPECT_THAT(joined.client.over(call), ended_with(Code::deadline_exceeded));
}

TEST(CallMultiplexer, AServerThatHangsUpTellsEveryCallerWhy) {
  JoinedCalls joined;
  StreamId one = joined.start("Test/Method", 1s);
  StreamId two = joined.start();
  joined.server.end_all({Code::unauthenticated, "revoked"});
  joined.exchange();
  for (StreamId call : {one, two}) {
    EXPECT_THAT(joined.server.over(call), ended_with(Code::unauthenticated));
    EXPECT_THAT(joined.client.over(call), ended_with(Code::unauthenticated));
    joined.server.finish(call, {});
    joined.client.release(call);
  }
  EXPECT_EQ(joined.client.calls() + joined.server.calls(), 0u);
}

TEST(CallMultiplexer, ALostConnectionEndsEveryCallOnBothSides) {
  JoinedCalls joined;
  StreamId one = joined.start("Test/Method", 1s);
  StreamId two = joined.start();
  events_of(joined.client);
  joined.client.on_lost({Code::unavailable, "cut"});
  EXPECT_THAT(events_of(joined.client), ElementsAre(CallEvent{Kind::over, one}, CallEvent{Kind::over, two}));
  EXPECT_THAT(joined.client.over(two), Pointee(Status{Code::unavailable, "cut"}));
  EXPECT_EQ(joined.client.start({"Test/Method", {}, {}}, joined.now).error().code, Code::unavailable);
  EXPECT_EQ(joined.client.poll_deadline(), std::nullopt);

  joined.server.finish(one, {});  // its end was not sent yet
  joined.server.on_lost({Code::cancelled, "cut"});
  EXPECT_THAT(joined.server.over(two), ended_with(Code::cancelled));
  EXPECT_EQ(joined.server.calls(), 1u);
  joined.server.finish(two, {});
  EXPECT_EQ(joined.server.calls(), 0u);
}

// --- limits ----------------------------------------------------------------------------------------------------------

TEST(CallMultiplexer, TooManyCallsAreRefusedAndTheConnectionLives) {
  JoinedCalls joined({.calls_max = 2});
  StreamId one = joined.start();
  joined.start();
  StreamId refused = joined.start();
  EXPECT_THAT(joined.client.over(refused), ended_with(Code::resource_exhausted));
  EXPECT_EQ(joined.server.calls(), 2u);
  joined.server.finish(one, {});
  joined.exchange();
  EXPECT_EQ(joined.client.over(joined.start()), nullptr);
}

TEST(CallMultiplexer, ACancelledCallCountsUntilItsHandlerHasEnded) {
  JoinedCalls joined({.calls_max = 1});
  StreamId cancelled = joined.start();
  joined.client.release(cancelled);
  StreamId next = joined.start();
  EXPECT_THAT(joined.client.over(next), ended_with(Code::resource_exhausted));
  joined.server.finish(cancelled, {});
  EXPECT_EQ(joined.client.over(joined.start()), nullptr);
}

// What a reader that has stopped costs, and that it goes on where it stopped.
TEST(CallMultiplexer, AStalledReaderStopsItsWriterAndNobodyElse) {
  JoinedCalls joined;
  StreamId stalled = joined.start();
  StreamId other = joined.start();
  events_of(joined.server);
  std::size_t written = 0;
  while (joined.server.writable(stalled)) {
    joined.server.write(stalled, std::string(1000, 'x'));
    ++written;
    joined.exchange();
  }
  EXPECT_LE(joined.client.held(), kWindow);
  EXPECT_LE(joined.server.queued(), kQueueLow + 1000 + kMessageCost);
  EXPECT_THAT(events_of(joined.server), IsEmpty());

  joined.server.write(other, "goes past");
  joined.exchange();
  EXPECT_THAT(joined.client.read(other), Optional(std::string("goes past")));

  std::size_t read = 0;
  for (; joined.client.read(stalled); ++read) joined.exchange();
  EXPECT_EQ(read, written);
  EXPECT_TRUE(joined.server.writable(stalled));
  EXPECT_THAT(events_of(joined.server), Contains(CallEvent{Kind::writable, stalled}));
}

TEST(CallMultiplexer, MessagesThatNobodyReadsEndTheCallThatWentBeyond) {
  JoinedCalls joined({.held_max = 100'000});
  StreamId first = joined.start();
  StreamId second = joined.start();
  joined.client.write(first, std::string(60'000, 'x'));
  joined.client.write(second, std::string(60'000, 'x'));
  joined.exchange();
  EXPECT_EQ(joined.client.over(first), nullptr);
  EXPECT_THAT(joined.client.over(second), ended_with(Code::resource_exhausted));
  EXPECT_THAT(joined.server.over(second), ended_with(Code::resource_exhausted));
  EXPECT_LE(joined.server.held(), 100'000u);
}

TEST(CallMultiplexer, AnswersThatNobodyTakesEndTheCallThatWentBeyond) {
  JoinedCalls joined({.queued_max = 100'000});
  StreamId first = joined.start();
  StreamId second = joined.start();
  joined.server.write(first, std::string(60'000, 'x'));
  joined.server.write(second, std::string(60'000, 'x'));
  EXPECT_EQ(joined.server.over(first), nullptr);
  EXPECT_THAT(joined.server.over(second), ended_with(Code::resource_exhausted));
  EXPECT_LE(joined.server.queued(), 100'000u);
}

// --- peers that are none ---------------------------------------------------------------------------------------------

std::string fault_of(CallMultiplexer& calls, const std::string& bytes) {
  auto taken = calls.on_bytes(bytes, TimePoint{});
  return taken ? "" : taken.error().message;
}

std::string fault_of_server(const std::string& bytes) {
  CallMultiplexer server({.side = Side::server});
  return fault_of(server, bytes);
}

TEST(CallMultiplexer, AServerRefusesWhatNoClientSends) {
  std::string request = request_of(1);
  EXPECT_EQ(fault_of_server(request), "");
  EXPECT_THAT(fault_of_server(request_of(2)), HasSubstr("out of order for call 2"));
  EXPECT_THAT(fault_of_server(request_of(3) + request), HasSubstr("out of order for call 1"));
  EXPECT_THAT(fault_of_server(request + request), HasSubstr("out of order"));
  EXPECT_THAT(fault_of_server(frame_of(FrameType::message, 0, 1)), HasSubstr("before the request for call 1"));
  EXPECT_THAT(fault_of_server(request + frame_of(FrameType::end, 0, 1, {"\0\0\0", 3})), HasSubstr("end from a client"));
  std::string message = frame_of(FrameType::message, 0, 1, "x");
  std::string done = frame_of(FrameType::done, 0, 1);
  std::string half = frame_of(FrameType::message, frame_flag::more, 1, "x");
  EXPECT_EQ(fault_of_server(request + message + done), "");
  EXPECT_THAT(fault_of_server(request + done + message), HasSubstr("after the last"));
  EXPECT_THAT(fault_of_server(request + done + done), HasSubstr("twice"));
  EXPECT_THAT(fault_of_server(request + half + done), HasSubstr("half of one"));
  EXPECT_THAT(fault_of_server(request + frame_of(FrameType::message, 3, 1, "x")), HasSubstr("can't be the last"));
  EXPECT_THAT(fault_of_server(request + frame_of(FrameType::message, frame_flag::more, 1)), HasSubstr("empty piece"));
  EXPECT_THAT(fault_of_server(request + frame_of(FrameType::credit, 0, 1, {"\0\0\0\0", 4})), HasSubstr("no bytes"));
  EXPECT_THAT(fault_of_server(request + frame_of(FrameType::credit, 0, 1, "\xff\xff\xff\xff")),
              HasSubstr("more credit"));
}

TEST(CallMultiplexer, AServerRefusesMoreThanItGranted) {
  std::string bytes = request_of(1);
  bytes += frame_of(FrameType::message, 0, 1, std::string(kWindow - kMessageCost, 'x'));
  EXPECT_EQ(fault_of_server(bytes), "");
  EXPECT_THAT(fault_of_server(bytes + frame_of(FrameType::message, 0, 1)), HasSubstr("0 were granted for call 1"));
}

TEST(CallMultiplexer, AClientRefusesWhatNoServerSends) {
  std::string end = frame_of(FrameType::end, 0, 1, {"\0\0\0", 3});
  std::string half = frame_of(FrameType::message, frame_flag::more, 1, "x");
  auto fault = [](const std::string& bytes) {
    JoinedCalls joined;
    joined.start();
    return fault_of(joined.client, bytes);
  };
  EXPECT_EQ(fault(end), "");
  EXPECT_THAT(fault(end + end), HasSubstr("after the end for call 1"));
  EXPECT_THAT(fault(half + end), HasSubstr("half of a message"));
  EXPECT_THAT(fault(request_of(3)), HasSubstr("from a server"));
  EXPECT_THAT(fault(frame_of(FrameType::cancel, 0, 1)), HasSubstr("from a server"));
  EXPECT_THAT(fault(frame_of(FrameType::message, frame_flag::last, 1)), HasSubstr("can't be the last"));
  EXPECT_THAT(fault(frame_of(FrameType::message, 0, 3)), HasSubstr("before the request"));
}

TEST(CallMultiplexer, AClientThatAsksAndNeverReadsIsCutOff) {
  CallMultiplexer server({.side = Side::server, .calls_max = 1});
  std::string fault;
  std::uint32_t number = 1;
  for (; fault.empty() && number < 200'000; number += 2) fault = fault_of(server, request_of(number));
  EXPECT_THAT(fault, HasSubstr("does not read"));
}

TEST(CallMultiplexer, FramesThatCrossAnEndCostNothing) {
  JoinedCalls joined;
  StreamId call = joined.start();
  joined.client.release(call);
  joined.server.write(call, std::string(1000, 'x'));
  joined.server.finish(call, {});
  joined.exchange();
  EXPECT_EQ(joined.client.held(), 0u);
  EXPECT_EQ(joined.server.calls(), 0u);
}

}  // namespace
}  // namespace sluice::rpc
