#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <future>
#include <numeric>
#include <thread>

#include "link/record_descriptors.h"
#include "link/record_world_for_test.h"
#include "link/records_for_test.h"

namespace sluice::link {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using SupplyKind = RecordSupplyEnd::Kind;
using IntakeKind = RecordIntakeEnd::Kind;

std::vector<RecordId> all_up_to(RecordId last) {
  std::vector<RecordId> ids(last);
  std::iota(ids.begin(), ids.end(), RecordId{1});
  return ids;
}

/// What several sinks got, in the order of ids.
template <class... Sinks>
std::vector<RecordId> got_by(const Sinks&... sinks) {
  std::vector<RecordId> all;
  for (const auto& got : {sinks.got()...}) all.insert(all.end(), got.begin(), got.end());
  std::ranges::sort(all);
  return all;
}

class RecordLinkOver : public testing::TestWithParam<Wire> {
 protected:
  RecordWorld world{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Wires, RecordLinkOver, testing::Values(Wire::tcp, Wire::local, Wire::tls),
                         [](const auto& param) { return to_text(param.param); });

TEST_P(RecordLinkOver, CarriesEveryRecordOnceAndInOrder) {
  SourceScript source(300'000, 777);
  SinkScript sink;
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::ended) << world.intake_ends.at(1).message;
  EXPECT_TRUE(sink.got() == all_up_to(300'000));
  EXPECT_EQ(world.supply_end->counts.acknowledged, 300'000u);
  EXPECT_EQ(world.intake_ends.at(1).settled, 300'000u);
  EXPECT_EQ(source.settled_below(), 300'001u);
  EXPECT_TRUE(sink.destroyed());
}

TEST_P(RecordLinkOver, FourConsumersShareTheRecords) {
  SourceScript source(200'000, 500);
  SinkScript sinks[4];
  world.start_source(source, 4);
  for (ConsumerNumber i = 0; i < 4; ++i) world.start_sink(i, sinks[i]);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_TRUE(got_by(sinks[0], sinks[1], sinks[2], sinks[3]) == all_up_to(200'000));
  for (const auto& [number, end] : world.intake_ends) EXPECT_EQ(end.kind, IntakeKind::ended) << end.message;
}

TEST_P(RecordLinkOver, AnEmptyStreamEnds) {
  SourceScript source(0, 1);
  SinkScript sink;
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended);
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::ended);
}

TEST_P(RecordLinkOver, ABrokenConnectionIsReplacedAndNothingIsLostOrRepeated) {
  SourceScript source(200'000, 400);
  SinkScript sink({.room = 10'000});
  world.start_source(source);
  world.start_sink(1, sink);
  for (std::size_t taken = 10'000; taken < 100'000; taken += 10'000) {
    ASSERT_TRUE(world.run_until([&] { return sink.count() == taken; }));
    world.cut(1);
    sink.give_room(10'000);
  }
  sink.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::ended) << world.intake_ends.at(1).message;
  EXPECT_TRUE(sink.got() == all_up_to(200'000));
  EXPECT_GE(world.dialled[1], 5) << "two cuts may fall on one connection";
  EXPECT_THAT(world.events<RecordConsumerGone>(), IsEmpty());
}

TEST_P(RecordLinkOver, WhatALostConsumerHadGoesToAnother) {
  SourceScript source(50'000, 100);
  SinkScript lost({.settles = false}), other({.room = 0});
  world.start_source(source, 2);
  world.start_sink(1, lost);
  world.start_sink(2, other);
  ASSERT_TRUE(world.run_until([&] { return lost.count() > 0; }));
  world.intakes.erase(1);  // as if its process had been killed
  world.supply->lose(1, "its node is dead");
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerGone>().empty(); }));
  other.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_TRUE(got_by(other) == all_up_to(50'000));
  EXPECT_GT(world.events<RecordConsumerGone>().front().given_back, 0u);
}

TEST_P(RecordLinkOver, ASlowReaderClosesTheTap) {
  SourceScript source(10'000'000, 1000);
  SinkScript sink({.room = 0});
  RecordSupplyOptions options;
  options.producer.pending_bytes_max = 100'000;
  world.start_source(source, 1, options);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return world.supply->progress().waiting_bytes >= 100'000; }));
  // A line has seven bytes here; what waits, the window of 64 KiB at the start, and one batch.
  EXPECT_LT(source.pulled(), (100'000u + 65'536) / 4 + 2000);
  sink.give_room(100'000);
  ASSERT_TRUE(world.run_until([&] { return sink.count() == 100'000; }));
  EXPECT_LT(source.pulled(), 10'000'000u);
  world.supply->cancel("enough");
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::cancelled);
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::aborted);
  EXPECT_EQ(world.intake_ends.at(1).message, "enough");
}

TEST_P(RecordLinkOver, TheEndWaitsForEveryAcknowledgement) {
  SourceScript source(10, 3);
  SinkScript sink({.settles = false});
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return sink.count() >= 4; }));  // the first window
  EXPECT_FALSE(world.supply_end);
  EXPECT_FALSE(world.intake_ends.contains(1));
  EXPECT_EQ(world.supply->progress().acknowledged, 0u);
  sink.settle();
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended);
  EXPECT_EQ(world.supply_end->counts.acknowledged, 10u);
}

TEST_P(RecordLinkOver, ASinkIsKeptAfterABadEndUntilItIsReleased) {
  SourceScript source(1'000'000, 100);
  SinkScript sink({.room = 10});
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return sink.count() == 10; }));
  source.fail("the disk is on fire");
  sink.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::failed_local);
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::aborted);
  EXPECT_THAT(world.intake_ends.at(1).message, HasSubstr("on fire"));
  EXPECT_FALSE(sink.destroyed());
  world.intakes.at(1).release();
  EXPECT_TRUE(sink.destroyed());
}

TEST_P(RecordLinkOver, ARecordThatIsSentBackIsTheOwnersToJudge) {
  SourceScript source(3, 3);
  SinkScript sink({.settles = false});
  int judged = 0;
  world.on_event = [&](RecordSupplyEvent event) {
    auto* rejected = std::get_if<RecordRejected>(&event);
    if (rejected == nullptr) return;
    EXPECT_EQ(rejected->reason, "no");
    if (++judged == 1) return world.supply->bury(std::move(rejected->record));
    world.supply->retry(std::move(rejected->record));
  };
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return sink.count() == 3; }));
  sink.reject_all(NackCause::failed);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->counts.buried, 1u);
  EXPECT_EQ(world.supply_end->counts.acknowledged, 2u);
  EXPECT_THAT(sink.got(), SizeIs(5));
}

TEST_P(RecordLinkOver, AConsumerDrainsAndLeaves) {
  SourceScript source(100'000'000, 100);
  SinkScript leaving, staying;
  world.start_source(source, 2);
  world.start_sink(1, leaving);
  world.start_sink(2, staying);
  ASSERT_TRUE(world.run_until([&] { return leaving.count() > 1000; }));
  world.intakes.at(1).drain();
  ASSERT_TRUE(world.run_until([&] { return world.intake_ends.contains(1); }));
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::ended);
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerLeft>().empty(); }));
  std::size_t before = staying.count();
  ASSERT_TRUE(world.run_until([&] { return staying.count() > before; }));
  EXPECT_FALSE(world.supply_end);
}

// --- peers that break the rules -----------------------------------------------------------------------------------

std::string frames(std::initializer_list<ConsumerFrame> all) {
  std::string text;
  for (const auto& frame : all) text += encode(frame);
  return text;
}

struct BadPeer {
  std::string name;
  std::string says;
  std::string why;
};

class BadPeerOfARecordLink : public testing::TestWithParam<BadPeer> {};
INSTANTIATE_TEST_SUITE_P(
    Peers, BadPeerOfARecordLink,
    testing::Values(
        BadPeer{"Garbage", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "a kind that record links do not have"},
        BadPeer{"HugeFrame", std::string("\x08\xff\xff\xff", 4), "a length that its kind does not allow"},
        BadPeer{"FrameOfAProducer", std::string("\x01\x0f\xff\xff", 4), "a frame of a producer"},
        BadPeer{"NoAttach", frames({RecordCredit{.deliveries = 4, .bytes = 100}}), "did not attach first"},
        BadPeer{"AbsurdCredit", frames({RecordAttach{}, RecordCredit{.deliveries = ~0ULL, .bytes = ~0ULL}}), "credit"},
        BadPeer{"CreditTakenBack",
                frames({RecordAttach{}, RecordCredit{.deliveries = 2, .bytes = 9},
                        RecordCredit{.deliveries = 1, .bytes = 9}}),
                "took credit back"},
        BadPeer{"AckOfWhatWasNotSent", frames({RecordAttach{}, RecordAck{.up_to = 1000, .ranges = {}}}),
                "acknowledged delivery 1000"},
        BadPeer{"NackOfWhatWasNotSent", frames({RecordAttach{}, RecordNack{.delivery = 7}}), "sent delivery 7 back"},
        BadPeer{"DoneTooEarly", frames({RecordAttach{}, RecordDone{}}), "confirmed an end"}),
    [](const auto& param) { return param.param.name; });

TEST_P(BadPeerOfARecordLink, IsCutOffAndTheOthersGoOn) {
  RecordWorld world;
  SourceScript source(100'000, 100);
  SinkScript good({.room = 100});
  world.start_source(source, 2);
  world.start_sink(1, good);
  ASSERT_TRUE(world.run_until([&] { return good.count() > 0; }));
  UniqueFd bad = world.connect_by_hand(2);
  ASSERT_TRUE(write_all(bad.get(), GetParam().says));
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerGone>().empty(); }));
  EXPECT_THAT(world.events<RecordConsumerGone>().front().reason, HasSubstr(GetParam().why));
  good.give_room(1'000'000);
  // It is told why, and its connection is closed.
  EXPECT_THAT(read_all(bad.get()), HasSubstr(GetParam().why));
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_TRUE(good.got() == all_up_to(100'000));
}

// It grants more than any socket takes, and reads nothing of it.
TEST(RecordLinks, AConsumerThatNeverReadsIsCutOffAndTheOthersGoOn) {
  RecordWorld world;
  SourceScript source(1'000'000, 1000);
  SinkScript good({.room = 100});
  RecordSupplyOptions options;
  options.producer.flight_bytes_max = std::size_t{64} << 20;
  options.stall_max = 100ms;
  world.start_source(source, 2, options);
  UniqueFd deaf = world.connect_by_hand(2);
  ASSERT_TRUE(write_all(deaf.get(), frames({RecordAttach{}, RecordCredit{.deliveries = 1 << 23, .bytes = 1 << 30}})));
  world.start_sink(1, good);
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerGone>().empty(); }));
  EXPECT_THAT(world.events<RecordConsumerGone>().front().reason, HasSubstr("read nothing for 0.1 s"));
  EXPECT_GT(world.events<RecordConsumerGone>().front().given_back, 0u);
  good.give_room(10'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_EQ(world.supply_end->counts.acknowledged, 1'000'000u);
  EXPECT_EQ(good.count(), 1'000'000u);
}

// It has read all that it was sent, and its program takes its time.
TEST(RecordLinks, AConsumerThatIsSlowIsNotCutOff) {
  RecordWorld world;
  SourceScript source(100'000, 100);
  SinkScript slow({.room = 10});
  RecordSupplyOptions options;
  options.stall_max = 20ms;
  options.producer.reattach_max = 1ms;
  world.start_source(source, 1, options);
  world.start_sink(1, slow);
  ASSERT_TRUE(world.run_until([&] { return slow.count() == 10; }));
  auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(world.run_until([&] { return std::chrono::steady_clock::now() - begin > 200ms; }));
  EXPECT_THAT(world.events<RecordConsumerGone>(), IsEmpty());
  slow.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_TRUE(slow.got() == all_up_to(100'000));
}

// A generation that was replaced says what it would have said, on connection after connection.
TEST(RecordLinks, AnEarlierGenerationThatComesAgainAndAgainHarmsNobody) {
  RecordWorld world;
  SourceScript source(100'000, 100);
  SinkScript current({.room = 100}), other({.room = 100});
  world.start_source(source, 2);
  world.generations[1] = 2;
  world.start_sink(1, current);
  world.start_sink(2, other);
  ASSERT_TRUE(world.run_until([&] { return current.count() + other.count() > 0; }));
  for (std::size_t times = 1; times <= 50; ++times) {
    UniqueFd stale = world.connect_by_hand(1, 1);
    write_all(stale.get(), frames({RecordAttach{}, RecordAck{.up_to = 3, .ranges = {}}, RecordDone{.deliveries = 3}}));
    EXPECT_THAT(read_all(stale.get(), 4 + 40), HasSubstr("generation 1 of consumer 1"));
    ASSERT_TRUE(world.run_until([&] { return world.events<RecordConsumerRefused>().size() == times; }));
  }
  EXPECT_THAT(world.events<RecordConsumerGone>(), IsEmpty());
  current.give_room(1'000'000);
  other.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_TRUE(got_by(current, other) == all_up_to(100'000));
}

TEST_P(RecordLinkOver, FiftyCutsLoseNothingAndLeaveNoDescriptorBehind) {
  std::size_t before = open_descriptors();
  {
    RecordWorld each(GetParam());
    SourceScript source(200'000, 100);
    SinkScript sink({.room = 1000});
    each.start_source(source);
    RecordIntakeOptions options;
    options.redial_min = options.redial_max = 1ms;
    each.start_sink(1, sink, options);
    ASSERT_TRUE(each.run_until([&] { return sink.count() == 1000; }));
    std::size_t used = open_descriptors();
    for (int cuts = 1; cuts <= 50; ++cuts) {
      each.cut(1);
      ASSERT_TRUE(each.run_until([&] { return each.dialled[1] > cuts; })) << "after cut " << cuts;
      std::size_t had = sink.count();
      sink.give_room(1000);
      ASSERT_TRUE(each.run_until([&] { return sink.count() > had; })) << "it flows again after cut " << cuts;
    }
    EXPECT_LE(open_descriptors(), used + 8) << "connections that are over are closed";
    sink.give_room(1'000'000);
    ASSERT_TRUE(each.run_to_end());
    EXPECT_EQ(each.supply_end->kind, SupplyKind::ended) << each.supply_end->message;
    EXPECT_EQ(each.intake_ends.at(1).kind, IntakeKind::ended) << each.intake_ends.at(1).message;
    EXPECT_THAT(each.events<RecordConsumerGone>(), IsEmpty());
    EXPECT_TRUE(sink.got() == all_up_to(200'000));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(RecordLinks, AConnectionThatSaysNothingIsClosedInTime) {
  RecordWorld world;
  SourceScript source(10, 1);
  RecordSupplyOptions options;
  options.attach_max = 50ms;
  world.start_source(source, 1, options);
  UniqueFd silent = world.connect_by_hand(1);
  EXPECT_EQ(read_all(silent.get()), "");
  SinkScript sink;
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_THAT(sink.got(), SizeIs(10));
}

TEST(RecordLinks, AConsumerThatDoesNotComeBackIsGone) {
  RecordWorld world;
  SourceScript source(1'000, 10);
  RecordSupplyOptions options;
  options.producer.reattach_max = 50ms;
  world.start_source(source, 2, options);
  UniqueFd peer = world.connect_by_hand(1);
  ASSERT_TRUE(write_all(peer.get(), frames({RecordAttach{}, RecordCredit{.deliveries = 10, .bytes = 1000}})));
  ASSERT_TRUE(happens(peer.get(), POLLIN));
  peer.reset();
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerGone>().empty(); }));
  EXPECT_GT(world.events<RecordConsumerGone>().front().given_back, 0u);
  SinkScript sink;
  world.start_sink(2, sink);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_TRUE(got_by(sink) == all_up_to(1'000));
}

TEST(RecordLinks, AnEarlierGenerationIsRefused) {
  RecordWorld world;
  SourceScript source(1'000'000, 10);
  SinkScript current({.room = 100}), stale;
  world.start_source(source);
  world.generations[1] = 2;
  world.start_sink(1, current);
  ASSERT_TRUE(world.run_until([&] { return current.count() > 0; }));
  UniqueFd peer = world.connect_by_hand(1, 1);
  EXPECT_THAT(read_all(peer.get(), 4 + 40), HasSubstr("generation 1 of consumer 1"));
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerRefused>().empty(); }));
  std::size_t before = current.count();
  current.give_room(1000);
  EXPECT_TRUE(world.run_until([&] { return current.count() > before; }));
}

TEST(RecordLinks, AConsumerThatConfirmsNoEndHoldsItUpNoLongerThanTheFarewell) {
  RecordWorld world;
  SourceScript source(0, 1);
  RecordSupplyOptions options;
  options.farewell_max = 50ms;
  world.start_source(source, 1, options);
  UniqueFd peer = world.connect_by_hand(1);
  ASSERT_TRUE(write_all(peer.get(), frames({RecordAttach{}})));
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended);
}

// --- an intake and what may become of its producer ------------------------------------------------------------------

TEST(RecordLinks, AProducerThatBreaksTheRulesIsLeft) {
  RecordWorld world;
  SinkScript sink;
  std::optional<RecordIntakeEnd> end;
  RecordIntakeOptions options{.owner = world.owner_.options().owner};
  RecordIntakeCallbacks callbacks{.dial = nullptr, .on_end = [&](RecordIntakeEnd how) { end = std::move(how); }};
  RecordIntake intake = start_intake(world.loops, sink.make(), options, std::move(callbacks));
  Wired wired = connect(Wire::tcp);
  intake.connect(std::move(wired.one));
  ASSERT_TRUE(write_all(wired.other.socket.get(), "HTTP/1.1 400 Bad Request\r\n\r\n"));
  ASSERT_TRUE(world.run_until([&] { return end.has_value(); }));
  EXPECT_EQ(end->kind, IntakeKind::cut);
  EXPECT_THAT(end->message, HasSubstr("broke the protocol"));
  EXPECT_FALSE(sink.destroyed());
}

TEST(RecordLinks, AnIntakeThatReachesNobodyGivesUpInTime) {
  RecordWorld world;
  SinkScript sink;
  world.dial_failure = {.why = "connection refused"};
  world.start_sink(1, sink, {.reattach_max = 100ms, .redial_min = 5ms});
  ASSERT_TRUE(world.run_until([&] { return world.intake_ends.contains(1); }));
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::cut);
  EXPECT_EQ(world.intake_ends.at(1).message, "connection refused");
  EXPECT_GT(world.dialled[1], 1);
}

TEST(RecordLinks, AnIntakeThatIsRefusedForGoodDialsNoMore) {
  RecordWorld world;
  SinkScript sink;
  world.dial_failure = {.why = "no such link", .for_good = true};
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return world.intake_ends.contains(1); }));
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::aborted);
  EXPECT_EQ(world.dialled[1], 1);
}

TEST(RecordLinks, ACancelledConsumerGivesBackAndTheLinkGoesOn) {
  RecordWorld world;
  SourceScript source(10'000, 10);
  SinkScript cancelled({.settles = false}), other({.room = 0});
  world.start_source(source, 2);
  world.start_sink(1, cancelled);
  world.start_sink(2, other);
  ASSERT_TRUE(world.run_until([&] { return cancelled.count() > 0; }));
  world.intakes.at(1).cancel("its stage was stopped");
  ASSERT_TRUE(world.run_until([&] { return !world.events<RecordConsumerGone>().empty(); }));
  EXPECT_EQ(world.events<RecordConsumerCancelled>().front().reason, "its stage was stopped");
  other.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::cancelled);
  EXPECT_TRUE(got_by(other) == all_up_to(10'000));
}

TEST(RecordLinks, ClosingTheLoopsEndsBothEnds) {
  RecordWorld world;
  SourceScript source(1'000'000, 10);
  SinkScript sink({.room = 5});
  world.start_source(source);
  world.start_sink(1, sink);
  ASSERT_TRUE(world.run_until([&] { return sink.count() == 5; }));
  world.loops.close();
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::cancelled);
  EXPECT_TRUE(world.intake_ends.contains(1));
}

TEST(RecordLinks, LeavesNoDescriptorBehind) {
  std::size_t before = open_descriptors();
  {
    RecordWorld world;
    SourceScript source(10'000, 10);
    SinkScript sink;
    world.start_source(source);
    world.start_sink(1, sink);
    ASSERT_TRUE(world.run_to_end());
  }
  EXPECT_EQ(open_descriptors(), before);
}

// --- programs at the ends -----------------------------------------------------------------------------------------

TEST_P(RecordLinkOver, CarriesAStreamOfLinesToProgramsAndBack) {
  PipeEnds in = make_pipe(), out[2] = {make_pipe(), make_pipe()};
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += std::to_string(i) + "\n";
  world.start_source(std::make_unique<DescriptorSource>(std::move(in.read_end), RecordCutter::Options{}, true), 2);
  for (ConsumerNumber i : {0u, 1u})
    world.start_sink(i, std::make_unique<DescriptorSink>(std::move(out[i].write_end), RecordFraming::lines, true));
  std::thread writer([&, into = std::move(in.write_end)] { write_all(into.get(), text); });
  std::future<std::string> came[2];
  for (int i : {0, 1}) came[i] = std::async(std::launch::async, [&out, i] { return read_all(out[i].read_end.get()); });
  EXPECT_TRUE(world.run_to_end());
  writer.join();
  std::vector<int> lines;
  for (auto& one : came) {
    std::string part = one.get();
    EXPECT_TRUE(part.empty() || part.back() == '\n');
    std::size_t at = 0;
    for (std::size_t end = 0; (end = part.find('\n', at)) != std::string::npos; at = end + 1)
      lines.push_back(std::stoi(part.substr(at, end - at)));
  }
  std::ranges::sort(lines);
  std::vector<int> all(300'000);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE(lines == all);
}

TEST(RecordLinks, RecordsKeepTheFramingOfTheirStream) {
  for (auto [framing, text] : {std::pair{RecordFraming::len, std::string("\0\0\0\x02hi\0\0\0\0", 10)},
                               std::pair{RecordFraming::null, std::string("a\0bc\0", 5)},
                               std::pair{RecordFraming::json, std::string("[1]\n2\n")}}) {
    RecordWorld world;
    PipeEnds in = make_pipe(), out = make_pipe();
    world.start_source(
        std::make_unique<DescriptorSource>(std::move(in.read_end), RecordCutter::Options{.framing = framing}, true));
    world.start_sink(1, std::make_unique<DescriptorSink>(std::move(out.write_end), framing, true));
    ASSERT_TRUE(write_all(in.write_end.get(), text));
    in.write_end.reset();
    EXPECT_TRUE(world.run_to_end());
    EXPECT_EQ(read_all(out.read_end.get()), text);
  }
}

TEST(RecordLinks, ARecordLongerThanAFrameIsCarriedWhole) {
  RecordWorld world;
  PipeEnds in = make_pipe(), out = make_pipe();
  std::string line = std::string(5'000'000, 'x') + "\nshort\n";
  world.start_source(std::make_unique<DescriptorSource>(std::move(in.read_end), RecordCutter::Options{}, true));
  world.start_sink(1, std::make_unique<DescriptorSink>(std::move(out.write_end), RecordFraming::lines, true));
  std::thread writer([&, into = std::move(in.write_end)] { write_all(into.get(), line); });
  auto came = std::async(std::launch::async, [&] { return read_all(out.read_end.get()); });
  EXPECT_TRUE(world.run_to_end());
  writer.join();
  EXPECT_TRUE(came.get() == line);
}

TEST(RecordLinks, AProgramThatReadsNoMoreLeavesTheRestToTheOthers) {
  RecordWorld world;
  SourceScript source(100'000, 100);
  SinkScript other({.room = 0});
  PipeEnds out = make_pipe();
  world.start_source(source, 2);
  world.start_sink(1, std::make_unique<DescriptorSink>(std::move(out.write_end), RecordFraming::lines, true));
  world.start_sink(2, other);
  ASSERT_TRUE(world.run_until([&] { return world.supply->progress().acknowledged > 0; }));
  EXPECT_NE(read_all(out.read_end.get(), 1), "");
  out.read_end.reset();
  ASSERT_TRUE(world.run_until([&] { return world.intake_ends.contains(1); }));
  EXPECT_EQ(world.intake_ends.at(1).kind, IntakeKind::reader_closed);
  other.give_room(1'000'000);
  ASSERT_TRUE(world.run_to_end());
  EXPECT_EQ(world.supply_end->kind, SupplyKind::ended) << world.supply_end->message;
  EXPECT_EQ(world.supply_end->counts.acknowledged, 100'000u);
  EXPECT_EQ(other.count(), 100'000 - world.intake_ends.at(1).settled);
}

TEST(RecordLinks, ASourceWhoseTapIsClosedIsReadNoMoreAndItsWriterSeesTheCancel) {
  RecordWorld world;
  SinkScript sink({.room = 0});
  PipeEnds in = make_pipe();
  world.start_source(std::make_unique<DescriptorSource>(std::move(in.read_end), RecordCutter::Options{}, true));
  world.start_sink(1, sink);
  std::size_t wrote = 0;
  std::thread writer([&] {
    std::string block = std::string(99, 'y') + "\n";
    while (write_all(in.write_end.get(), block)) wrote += block.size();
  });
  ASSERT_TRUE(world.run_until([&] { return world.supply->progress().waiting_bytes >= std::size_t{1} << 20; }));
  world.supply->cancel("enough");
  EXPECT_TRUE(world.run_to_end());
  writer.join();
  EXPECT_LT(wrote, std::size_t{3} << 20);
}

}  // namespace
}  // namespace sluice::link
