// The machine alone, fed by hand. Whole clusters are in sim/.
#include "cluster/membership.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;

net::Endpoint endpoint(std::uint8_t number) { return {fmt::format("10.0.0.{}", number), 7117}; }

Profile profile(std::uint8_t number) {
  return {.name = fmt::format("n{}", number), .endpoint = endpoint(number), .labels = {}, .version = "0.1.0"};
}

/// Node 1, and what it says and hears.
class MembershipTest : public testing::Test {
 protected:
  MembershipTest() : machine_(options(), node(1), profile(1), 1, now_) {}

  // Time stands still while a test tells it news after news: each is pushed all the same.
  static MembershipOptions options() {
    MembershipOptions made;
    made.incarnation_start = 10;
    made.instance = 100;
    made.push_gap = {};
    return made;
  }

  static std::string announcement(std::uint8_t number, std::uint64_t incarnation = 1, std::uint64_t instance = 1) {
    auto made = make_announcement(node(number), {incarnation, instance}, profile(number));
    return encode_update(made->view());
  }
  static std::string accusation(MemberState state, std::uint8_t subject, std::uint64_t incarnation,
                                std::uint8_t accuser, LossReason reason = LossReason::silent) {
    return encode_update(Accusation{state, node(subject), {incarnation, 1}, node(accuser), reason});
  }
  void hear(std::uint8_t sender, const GossipBody& body, const std::vector<std::string>& updates = {}) {
    GossipWriter writer(body);
    for (const std::string& update : updates) writer.add(update);
    machine_.on_datagram(node(sender), endpoint(sender), writer.take(), now_);
  }
  void meet(std::uint8_t first, std::uint8_t last) {
    for (std::uint8_t number = first; number <= last; ++number) hear(number, Rumours{}, {announcement(number)});
    drain();
  }
  struct Sent {
    net::Endpoint to;
    std::string payload;
    GossipMessage message;
  };
  std::vector<Sent> sent() {
    std::vector<Sent> all;
    while (auto datagram = machine_.poll_datagram()) all.push_back({datagram->to, std::move(datagram->payload), {}});
    for (Sent& each : all) each.message = *decode_gossip(each.payload);
    return all;
  }
  template <class Body>
  std::vector<Sent> sent_of() {
    std::vector<Sent> all = sent();
    std::erase_if(all, [](const Sent& each) { return !std::holds_alternative<Body>(each.message.body); });
    // The updates borrow from payloads, which may have moved.
    for (Sent& each : all) each.message = *decode_gossip(each.payload);
    return all;
  }
  template <class Event>
  std::vector<Event> events_of() {
    std::vector<Event> found;
    while (auto event = machine_.poll_event())
      if (auto* wanted = std::get_if<Event>(&event->what)) found.push_back(*wanted);
    return found;
  }
  void drain() {
    sent();
    while (machine_.poll_event()) {
    }
    while (auto request = machine_.poll_redial()) machine_.on_redial(request->id, RedialResult::reached, now_);
    sent();
  }
  /// In steps of its own deadlines, as a shell that is never late; others `answer` its pings and ping it.
  void run(Duration duration, const std::vector<std::uint8_t>& answering = {}) {
    TimePoint end = now_ + duration;
    while (machine_.poll_deadline() && *machine_.poll_deadline() <= end) {
      now_ = std::max(now_, *machine_.poll_deadline());
      machine_.on_deadline(now_);
      answer(answering);
    }
    now_ = end;
  }
  void answer(const std::vector<std::uint8_t>& answering) {
    for (const Sent& each : sent())
      for (std::uint8_t number : answering)
        if (const auto* ping = std::get_if<Ping>(&each.message.body); ping != nullptr && each.to == endpoint(number))
          hear(number, Ack{ping->sequence, 1, ping->digest});
    while (auto request = machine_.poll_redial()) {
      bool answers = std::ranges::any_of(answering, [&](std::uint8_t number) { return node(number) == request->id; });
      machine_.on_redial(request->id, answers ? RedialResult::reached : RedialResult::silent, now_);
    }
  }
  MemberState state_of(std::uint8_t number) { return machine_.find(node(number))->state; }

  TimePoint now_{1h};
  Membership machine_;
};

TEST_F(MembershipTest, AloneItHasNoTimerAndSaysNothing) {
  EXPECT_FALSE(machine_.poll_deadline());
  EXPECT_THAT(sent(), IsEmpty());
  EXPECT_THAT(machine_.members(), SizeIs(1));
}

TEST_F(MembershipTest, APingIsAnswered) {
  hear(2, Ping{77, 1, 0});
  std::vector<Sent> acks = sent_of<Ack>();
  ASSERT_THAT(acks, SizeIs(1));
  EXPECT_EQ(std::get<Ack>(acks[0].message.body).sequence, 77U);
  EXPECT_EQ(acks[0].to, endpoint(2));
}

TEST_F(MembershipTest, AnAnnouncementIsAJoinAndIsPushedOn) {
  hear(2, Rumours{}, {announcement(2), announcement(3)});
  EXPECT_THAT(events_of<MemberJoined>(), SizeIs(2));
  EXPECT_THAT(sent_of<Rumours>(), SizeIs(2));  // to both
  EXPECT_THAT(machine_.members(), SizeIs(3));
}

TEST_F(MembershipTest, OldNewsIsNoNews) {
  meet(2, 3);
  hear(2, Rumours{}, {announcement(3), accusation(MemberState::dead, 3, 0, 2)});
  EXPECT_THAT(events_of<MemberLost>(), IsEmpty());
  EXPECT_EQ(state_of(3), MemberState::alive);
}

TEST_F(MembershipTest, TheDeadStayDeadUntilALaterIncarnation) {
  meet(2, 3);
  hear(2, Rumours{}, {accusation(MemberState::dead, 3, 1, 2, LossReason::refused)});
  std::vector<MemberLost> lost = events_of<MemberLost>();
  ASSERT_THAT(lost, SizeIs(1));
  EXPECT_EQ(lost[0].member.reason, LossReason::refused);
  hear(2, Rumours{}, {announcement(3)});
  EXPECT_EQ(state_of(3), MemberState::dead);
  hear(2, Rumours{}, {announcement(3, 2)});
  EXPECT_EQ(state_of(3), MemberState::alive);
  EXPECT_THAT(events_of<MemberJoined>(), SizeIs(1));
}

TEST_F(MembershipTest, WhoeverIsAccusedObjectsAndStaysTrue) {
  meet(2, 5);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 1, 10, 2)});
  EXPECT_EQ(machine_.find(node(1))->incarnation, 11U);
  bool told_accuser = false;
  for (const Sent& each : sent_of<Rumours>())
    for (const Update& update : each.message.updates)
      if (const auto* own = std::get_if<AnnouncementView>(&update); own != nullptr && own->id == node(1))
        told_accuser = told_accuser || each.to == endpoint(2);
  EXPECT_TRUE(told_accuser);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 1, 10, 2)});  // heard again
  EXPECT_EQ(machine_.find(node(1))->incarnation, 11U);
}

TEST_F(MembershipTest, ASuspectIsDeadWhenItDoesNotObject) {
  meet(2, 6);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 3, 1, 2)});
  EXPECT_EQ(state_of(3), MemberState::suspect);
  run(3500ms, {2, 4, 5, 6});
  EXPECT_EQ(state_of(3), MemberState::dead);
}

TEST_F(MembershipTest, ASuspectThatObjectsIsAlive) {
  meet(2, 6);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 3, 1, 2)});
  hear(3, Rumours{}, {announcement(3, 2)});
  EXPECT_EQ(state_of(3), MemberState::alive);
  EXPECT_THAT(events_of<MemberChanged>(), SizeIs(1));
  run(10s, {2, 3, 4, 5, 6});
  EXPECT_EQ(state_of(3), MemberState::alive);
}

TEST_F(MembershipTest, TheSilentAreFoundByProbing) {
  meet(2, 6);
  run(5s, {2, 3, 4, 5});
  EXPECT_EQ(state_of(6), MemberState::dead);
  for (std::uint8_t number = 2; number <= 5; ++number) EXPECT_EQ(state_of(number), MemberState::alive);
}

TEST_F(MembershipTest, TheWordOfASuspectOrAStrangerDoesNotCount) {
  meet(2, 6);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 3, 1, 2)});
  hear(2, Rumours{}, {accusation(MemberState::suspect, 4, 1, 3), accusation(MemberState::suspect, 5, 1, 99)});
  EXPECT_EQ(state_of(4), MemberState::alive);
  EXPECT_EQ(state_of(5), MemberState::alive);
  hear(2, Rumours{}, {accusation(MemberState::dead, 4, 1, 3)});
  EXPECT_EQ(state_of(4), MemberState::suspect);
}

TEST_F(MembershipTest, AVerdictThatIsNoNewsIsOnlyASuspicion) {
  meet(2, 6);
  hear(2, Records{}, {accusation(MemberState::dead, 4, 1, 2)});
  EXPECT_EQ(state_of(4), MemberState::suspect);
}

TEST_F(MembershipTest, ARefusedConnectionIsADeath) {
  meet(2, 6);
  machine_.on_connection_closed(node(4), now_);
  bool asked = false;
  while (auto request = machine_.poll_redial()) asked = asked || request->id == node(4);
  EXPECT_TRUE(asked);
  machine_.on_redial(node(4), RedialResult::refused, now_);
  std::vector<MemberLost> lost = events_of<MemberLost>();
  ASSERT_THAT(lost, SizeIs(1));
  EXPECT_EQ(lost[0].member.reason, LossReason::refused);
  EXPECT_THAT(sent_of<Rumours>(), SizeIs(4));
}

TEST_F(MembershipTest, AConnectionThatBreaksBeforeItIsOneIsTriedOnceMoreAtOnce) {
  meet(2, 6);
  auto asked = [&] {
    bool found = false;
    while (auto request = machine_.poll_redial()) found = found || request->id == node(4);
    return found;
  };
  asked();
  machine_.on_redial(node(4), RedialResult::broken, now_);
  EXPECT_TRUE(asked());
  EXPECT_EQ(state_of(4), MemberState::alive);
  machine_.on_redial(node(4), RedialResult::broken, now_);
  EXPECT_FALSE(asked()) << "who hangs up each time is not dialled without a pause";
  machine_.on_redial(node(4), RedialResult::refused, now_);
  EXPECT_EQ(state_of(4), MemberState::dead);
}

TEST_F(MembershipTest, ARefusalThatWasRefutedIsNotBelievedTwice) {
  meet(2, 6);
  machine_.on_redial(node(4), RedialResult::refused, now_);
  hear(4, Rumours{}, {announcement(4, 2)});
  drain();
  machine_.on_redial(node(4), RedialResult::refused, now_);
  EXPECT_EQ(state_of(4), MemberState::alive);
  EXPECT_THAT(sent_of<Ping>(), SizeIs(1));      // it looks instead
  hear(4, Rumours{}, {announcement(4, 3, 2)});  // but a new process may die as well
  machine_.on_redial(node(4), RedialResult::refused, now_);
  EXPECT_EQ(state_of(4), MemberState::dead);
}

TEST_F(MembershipTest, AnAnswerOverAConnectionCountsAsOne) {
  meet(2, 6);
  TimePoint end = now_ + 10s;
  while (now_ < end) {  // 6 answers no datagram, but takes connections
    now_ = *machine_.poll_deadline();
    machine_.on_deadline(now_);
    for (const Sent& each : sent())
      if (const auto* ping = std::get_if<Ping>(&each.message.body); ping != nullptr && each.to != endpoint(6))
        hear(static_cast<std::uint8_t>(each.to.address.back() - '0'), Ack{ping->sequence, 1, ping->digest});
    while (auto request = machine_.poll_redial()) machine_.on_redial(request->id, RedialResult::reached, now_);
  }
  EXPECT_EQ(state_of(6), MemberState::alive);
}

TEST_F(MembershipTest, WhoeverHearsNobodyLosesAllInSilenceAndTakesThemBackAtAWord) {
  meet(2, 6);
  drain();
  TimePoint end = now_ + 6s;
  std::vector<std::string> accused;
  while (machine_.poll_deadline() && *machine_.poll_deadline() <= end) {
    now_ = *machine_.poll_deadline();
    machine_.on_deadline(now_);
    for (const Sent& each : sent())
      for (const Update& update : each.message.updates)
        if (std::holds_alternative<Accusation>(update)) accused.push_back(each.to.address);
    while (auto request = machine_.poll_redial()) machine_.on_redial(request->id, RedialResult::silent, now_);
  }
  EXPECT_EQ(machine_.present_count(), 1U);
  EXPECT_THAT(accused, IsEmpty());
  EXPECT_THAT(events_of<MemberLost>(), SizeIs(5));
  run(20s, {3});                               // one of the lost, drawn at random, is asked twice a second
  EXPECT_EQ(state_of(3), MemberState::alive);  // at the same incarnation
}

TEST_F(MembershipTest, WhoeverWasNotRunningAccusesNobodyForIt) {
  meet(2, 6);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 3, 1, 2)});
  run(300ms, {2, 4, 5, 6});
  drain();
  now_ += 10s;
  machine_.on_deadline(now_);
  EXPECT_THAT(events_of<MemberLost>(), IsEmpty());
  EXPECT_EQ(machine_.present_count(), 6U);
  EXPECT_FALSE(sent_of<Ping>().empty());  // it asks whether it was given up
}

TEST_F(MembershipTest, ALittleLateEverybodyGetsTheTimeBack) {
  meet(2, 6);
  hear(2, Rumours{}, {accusation(MemberState::suspect, 3, 1, 2)});
  TimePoint suspected = now_;
  unsigned slowest = 1;
  while (now_ < suspected + 3200ms) {  // always half a second late
    now_ = *machine_.poll_deadline() + 500ms;
    machine_.on_deadline(now_);
    slowest = std::max(slowest, machine_.slowness());
    answer({2, 4, 5, 6});
  }
  EXPECT_EQ(state_of(3), MemberState::suspect);
  EXPECT_GT(slowest, 1U);  // until the answers come
}

TEST_F(MembershipTest, ALeaveIsSpreadAndThenItIsSilent) {
  meet(2, 6);
  machine_.leave(now_);
  EXPECT_FALSE(machine_.may_go());
  EXPECT_THAT(sent_of<Rumours>(), SizeIs(4));
  run(100ms);
  EXPECT_TRUE(machine_.may_go());
  drain();
  hear(2, Ping{1, 1, 0});
  EXPECT_THAT(sent(), IsEmpty());
  EXPECT_FALSE(machine_.poll_deadline());
}

TEST_F(MembershipTest, AJoinFromAnotherAddressIsVerifiedFirst) {
  GossipWriter writer(Join{.instance = 1, .digest = 0, .wants_list = true});
  writer.add(announcement(7));
  machine_.on_datagram(node(7), endpoint(99), writer.take(), now_);
  EXPECT_FALSE(machine_.find(node(7)));
  std::vector<Sent> pings = sent_of<Ping>();
  ASSERT_THAT(pings, SizeIs(1));
  EXPECT_EQ(pings[0].to, endpoint(7));
  hear(7, Ack{std::get<Ping>(pings[0].message.body).sequence, 1, 0});
  EXPECT_TRUE(machine_.find(node(7)));
  std::vector<Sent> lists = sent_of<Records>();
  ASSERT_THAT(lists, SizeIs(1));
  EXPECT_EQ(lists[0].to, endpoint(99));
}

TEST_F(MembershipTest, WhoeverRestartedIsLostAndJoins) {
  meet(2, 4);
  hear(3, Rumours{}, {announcement(3, 2, 2)});
  std::vector<std::string> told;
  while (auto event = machine_.poll_event()) {
    if (const auto* lost = std::get_if<MemberLost>(&event->what)) told.emplace_back(reason_name(lost->member.reason));
    if (std::holds_alternative<MemberJoined>(event->what)) told.emplace_back("joined");
  }
  EXPECT_THAT(told, testing::ElementsAre("restarted", "joined"));
}

TEST_F(MembershipTest, ANewProfileIsALaterIncarnation) {
  meet(2, 4);
  Profile changed = profile(1);
  changed.labels["gpu"] = "yes";
  machine_.set_profile(changed, now_);
  EXPECT_EQ(machine_.find(node(1))->incarnation, 11U);
  EXPECT_EQ(machine_.find(node(1))->profile.labels.at("gpu"), "yes");
  EXPECT_THAT(sent_of<Rumours>(), SizeIs(3));
}

TEST_F(MembershipTest, GarbageIsCountedAndDropped) {
  machine_.on_datagram(node(2), endpoint(2), "garbage", now_);
  machine_.on_datagram(node(2), endpoint(2), "", now_);
  EXPECT_EQ(machine_.malformed(), 2U);
  EXPECT_THAT(sent(), IsEmpty());
}

TEST_F(MembershipTest, MembersAreOrderedByName) {
  meet(2, 6);
  std::vector<std::string> names;
  for (const Member& member : machine_.members()) names.push_back(member.profile.name);
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_EQ(machine_.find_named("n4").size(), 1U);
  EXPECT_THAT(machine_.find_named("nobody"), IsEmpty());
}

TEST_F(MembershipTest, ThereIsALimitToTheMembers) {
  MembershipOptions options;
  options.members_max = 3;
  Membership small(options, node(1), profile(1), 1, now_);
  for (std::uint8_t number = 2; number < 10; ++number) {
    GossipWriter writer{Rumours{}};
    writer.add(announcement(number));
    small.on_datagram(node(number), endpoint(number), writer.take(), now_);
  }
  EXPECT_EQ(small.present_count(), 3U);
}

}  // namespace
}  // namespace sluice::cluster
