#include "link/record_producer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "link/records_for_test.h"

namespace sluice::link {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr TimePoint kNow{1h};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// A consumer that says what a test lets it say, and keeps what it hears.
class Peer {
 public:
  Peer(RecordProducer& producer, ConsumerNumber number, std::uint32_t generation = 1)
      : producer_(producer), number_(number) {
    auto taken = producer.on_connected(number, generation);
    EXPECT_TRUE(taken) << taken.error();
  }
  std::string say(const ConsumerFrame& frame) {
    auto taken = producer_.on_bytes(number_, bytes_of(encode(frame)));
    return taken ? "" : taken.error();
  }
  Peer& attach(DeliveryNumber next = 1) {
    EXPECT_EQ(say(RecordAttach{.next = next}), "");
    return *this;
  }
  Peer& grant(DeliveryNumber deliveries, std::uint64_t bytes = 1 << 20) {
    EXPECT_EQ(say(RecordCredit{.deliveries = deliveries, .bytes = bytes}), "");
    return *this;
  }
  Peer& ack(DeliveryNumber up_to, std::vector<DeliveryRange> ranges = {}) {
    EXPECT_EQ(say(RecordAck{.up_to = up_to, .ranges = std::move(ranges)}), "");
    return *this;
  }
  /// The records that it is sent now; other frames go to `heard`.
  std::vector<std::string> records() {
    std::vector<std::string> records;
    while (auto transmit = producer_.poll_transmit(number_)) {
      std::string wire = transmit->head + std::string(transmit->table) + std::string(transmit->bytes);
      auto bytes = bytes_of(wire);
      while (auto frame = decoder_.next(bytes).value()) {
        if (auto* delivery = std::get_if<RecordDelivery>(&*frame)) {
          attempts.push_back(delivery->batch.attempt());
          starved = delivery->starved;
          for_each_record(delivery->batch, [&](RecordId, std::string_view record) {
            records.emplace_back(record.substr(0, record.size() - 1));
          });
        } else {
          heard.push_back(std::move(*frame));
        }
      }
    }
    return records;
  }
  void lose() {
    producer_.on_disconnected(number_, kNow);
    decoder_ = ProducerFrameDecoder(1 << 20);
  }

  std::vector<ProducerFrame> heard;
  std::vector<std::uint16_t> attempts;
  Starved starved;

 private:
  RecordProducer& producer_;
  ConsumerNumber number_;
  ProducerFrameDecoder decoder_{1 << 20};
};

bool said_end(const Peer& peer) {
  return std::ranges::any_of(peer.heard,
                             [](const ProducerFrame& frame) { return std::holds_alternative<RecordEnd>(frame); });
}

TEST(RecordProducer, SendsAsMuchAsThereIsCreditFor) {
  RecordProducer producer;
  producer.on_batch(numbers(1, 5));
  Peer peer(producer, 1);
  EXPECT_THAT(peer.attach().records(), IsEmpty());
  EXPECT_THAT(peer.grant(2).records(), ElementsAre("1", "2"));
  EXPECT_TRUE(peer.starved.of_records);
  EXPECT_THAT(peer.grant(4, 1 << 20).records(), ElementsAre("3", "4"));
  EXPECT_EQ(producer.counts(), (RecordCounts{.accepted = 5, .pending = 1, .in_flight = 4}));
}

TEST(RecordProducer, CreditInBytesHoldsBackToo) {
  RecordProducer producer;
  producer.on_batch(numbers(10, 14));
  Peer peer(producer, 1);
  EXPECT_THAT(peer.attach().grant(100, 7).records(), ElementsAre("10", "11"));
  EXPECT_TRUE(peer.starved.of_bytes);
}

TEST(RecordProducer, ARecordLongerThanAllCreditIsSentAlone) {
  RecordProducer producer;
  producer.on_batch(numbers(1000, 1002));
  Peer peer(producer, 1);
  EXPECT_THAT(peer.attach().grant(100, 1).records(), ElementsAre("1000"));
  EXPECT_THAT(peer.ack(1).records(), ElementsAre("1001"));
}

TEST(RecordProducer, ATapIsClosedWhenTooMuchWaits) {
  RecordProducer producer({.pending_bytes_max = 4});
  producer.on_batch(numbers(1, 2));
  EXPECT_FALSE(producer.wants_input());
  Peer peer(producer, 1);
  peer.attach().grant(1).records();
  EXPECT_TRUE(producer.wants_input());
}

TEST(RecordProducer, FewRecordsAreSharedByAllThatAreReady) {
  RecordProducer producer;
  Peer one(producer, 1), two(producer, 2);
  one.attach().grant(100);
  two.attach().grant(100);
  producer.on_batch(numbers(1, 4));
  EXPECT_THAT(one.records(), ElementsAre("1", "2"));
  EXPECT_THAT(two.records(), ElementsAre("3", "4"));
}

TEST(RecordProducer, TheReadiestGetsTheNext) {
  RecordProducer producer;
  Peer busy(producer, 1), free(producer, 2);
  busy.attach().grant(4);
  producer.on_batch(numbers(1, 3));
  EXPECT_THAT(busy.records(), ElementsAre("1", "2", "3"));
  free.attach().grant(4);
  producer.on_batch(numbers(4, 4));
  EXPECT_THAT(free.records(), ElementsAre("4"));
}

TEST(RecordProducer, AConnectionThatTakesNothingIsNotReady) {
  RecordProducer producer({.outbox_bytes_max = 2});
  Peer stuck(producer, 1), quick(producer, 2);
  stuck.attach().grant(100);
  producer.on_batch(numbers(1, 1));
  quick.attach().grant(100);
  producer.on_batch(numbers(2, 4));
  EXPECT_THAT(quick.records(), ElementsAre("2", "3", "4"));
}

TEST(RecordProducer, WhatALostConsumerHadGoesToAnotherFirst) {
  RecordProducer producer;
  Peer lost(producer, 1);
  lost.attach().grant(5);
  producer.on_batch(numbers(1, 7));
  EXPECT_THAT(lost.records(), ElementsAre("1", "2", "3", "4", "5"));
  lost.ack(1, {{3, 3}});
  producer.on_lost(1, "killed");
  Peer other(producer, 2);
  EXPECT_THAT(other.attach().grant(100).records(), ElementsAre("2", "4", "5", "6", "7"));
  EXPECT_THAT(other.attempts, ElementsAre(2, 2, 1));
  auto event = producer.poll_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<RecordConsumerGone>(*event).given_back, 3u);
}

TEST(RecordProducer, AConsumerGoesOnWhereItWasAfterItsConnectionBroke) {
  RecordProducer producer;
  producer.on_batch(numbers(1, 4));
  Peer peer(producer, 1);
  EXPECT_THAT(peer.attach().grant(1).records(), ElementsAre("1"));
  EXPECT_THAT(peer.grant(3).records(), ElementsAre("2", "3"));
  peer.lose();
  Peer again(producer, 1);
  EXPECT_THAT(again.attach(2).records(), ElementsAre("2", "3")) << "that delivery did not come";
  EXPECT_EQ(producer.counts().in_flight, 3u);
}

TEST(RecordProducer, AConsumerThatDoesNotComeBackIsGone) {
  RecordProducer producer({.reattach_max = 10s});
  producer.on_batch(numbers(1, 1));
  Peer peer(producer, 1);
  peer.attach().grant(1).records();
  peer.lose();
  ASSERT_EQ(producer.poll_deadline(), kNow + 10s);
  producer.on_deadline(kNow + 9s);
  EXPECT_EQ(producer.counts().in_flight, 1u);
  producer.on_deadline(kNow + 10s);
  EXPECT_EQ(producer.counts().pending, 1u);
  EXPECT_THAT(producer.on_connected(1, 1).error(), HasSubstr("is over"));
}

TEST(RecordProducer, ALaterGenerationReplacesAnEarlierOneForEver) {
  RecordProducer producer;
  producer.on_batch(numbers(1, 1));
  Peer old(producer, 1, 4);
  EXPECT_THAT(old.attach().grant(1).records(), ElementsAre("1"));
  Peer young(producer, 1, 5);
  EXPECT_THAT(young.attach().grant(1).records(), ElementsAre("1"));
  EXPECT_THAT(producer.on_connected(1, 4).error(), HasSubstr("replaced by generation 5"));
}

TEST(RecordProducer, ARejectedRecordIsHeldUntilItsOwnerDecides) {
  RecordProducer producer;
  producer.on_batch(numbers(1, 3));
  Peer peer(producer, 1);
  peer.attach().grant(3).records();
  EXPECT_EQ(peer.say(RecordNack{.delivery = 2, .cause = NackCause::failed, .reason = "status 3"}), "");
  auto rejected = std::get<RecordRejected>(*producer.poll_event());
  EXPECT_EQ(rejected.record.bytes(), "2\n");
  EXPECT_EQ(rejected.reason, "status 3");
  peer.ack(3);
  EXPECT_EQ(producer.counts(), (RecordCounts{.accepted = 3, .acknowledged = 2, .held = 1}));
  EXPECT_EQ(producer.settled_below(), 2u);
  producer.retry(rejected.record);
  EXPECT_THAT(peer.grant(9).records(), ElementsAre("2"));
  EXPECT_EQ(peer.say(RecordNack{.delivery = 4}), "");
  producer.bury(std::get<RecordRejected>(*producer.poll_event()).record);
  EXPECT_EQ(producer.counts(), (RecordCounts{.accepted = 3, .acknowledged = 2, .buried = 1}));
  EXPECT_EQ(producer.settled_below(), 4u);
}

TEST(RecordProducer, TheEndPassesOnlyAfterEveryAcknowledgement) {
  RecordProducer producer;
  producer.on_batch(numbers(1, 2));
  producer.on_source_end();
  Peer one(producer, 1), two(producer, 2);
  one.attach().grant(2).records();
  two.attach().grant(2).records();
  EXPECT_FALSE(said_end(two)) << "what the other has may still come to it";
  one.ack(2).records();
  two.records();
  ASSERT_TRUE(said_end(one));
  ASSERT_TRUE(said_end(two));
  EXPECT_FALSE(producer.finished());
  EXPECT_EQ(one.say(RecordDone{.deliveries = 2}), "");
  EXPECT_EQ(two.say(RecordDone{.deliveries = 0}), "");
  EXPECT_TRUE(producer.finished());
}

// It says at once all that it has to say; the end has not been repeated to it when its confirmation is read.
TEST(RecordProducer, AConsumerThatComesBackConfirmsTheEndThatItWasToldBefore) {
  RecordProducer producer;
  producer.on_source_end();
  Peer peer(producer, 1);
  peer.attach().records();
  ASSERT_TRUE(said_end(peer));
  peer.lose();
  ASSERT_TRUE(producer.on_connected(1, 1));
  std::string frames = encode(RecordAttach{.next = 1}) + encode(RecordDone{.deliveries = 0});
  EXPECT_TRUE(producer.on_bytes(1, bytes_of(frames)));
  EXPECT_TRUE(producer.finished());
  EXPECT_FALSE(producer.poll_event());
}

TEST(RecordProducer, AConsumerThatDrainsGetsNothingNewAndItsOwnEnd) {
  RecordProducer producer;
  Peer leaving(producer, 1), staying(producer, 2);
  leaving.attach().grant(9);
  producer.on_batch(numbers(1, 1));
  leaving.records();
  EXPECT_EQ(leaving.say(RecordDrain{}), "");
  staying.attach().grant(9);
  producer.on_batch(numbers(2, 3));
  EXPECT_THAT(staying.records(), ElementsAre("2", "3"));
  EXPECT_THAT(leaving.records(), IsEmpty());
  EXPECT_FALSE(said_end(leaving));
  leaving.ack(1).records();
  ASSERT_TRUE(said_end(leaving));
  EXPECT_EQ(leaving.say(RecordDone{.deliveries = 1}), "");
  EXPECT_TRUE(std::holds_alternative<RecordConsumerLeft>(*producer.poll_event()));
}

TEST(RecordProducer, APausedConsumerGetsNothing) {
  RecordProducer producer;
  Peer peer(producer, 1);
  peer.attach().grant(9);
  EXPECT_EQ(peer.say(RecordPause{}), "");
  producer.on_batch(numbers(1, 1));
  EXPECT_THAT(peer.records(), IsEmpty());
  EXPECT_EQ(peer.say(RecordResume{}), "");
  EXPECT_THAT(peer.records(), ElementsAre("1"));
}

TEST(RecordProducer, ALocalConsumerIsGivenWhatItTakes) {
  RecordProducer producer;
  producer.attach_local(1, 2);
  producer.on_batch(numbers(1, 9));
  auto first = producer.poll_delivery(1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->batch.count(), 2u);
  EXPECT_FALSE(producer.poll_delivery(1));
  producer.settle(1, {.first = 1, .last = 2});
  EXPECT_FALSE(producer.poll_delivery(1)) << "what is settled is no room";
  producer.grant(1, 4);
  EXPECT_EQ(producer.poll_delivery(1)->batch.count(), 4u);
  EXPECT_EQ(producer.counts().pending, 3u);
}

TEST(RecordProducer, CancelIsSaidToAll) {
  RecordProducer producer;
  Peer peer(producer, 1);
  peer.attach();
  producer.cancel("the flow was stopped");
  peer.records();
  ASSERT_EQ(peer.heard.size(), 1u);
  EXPECT_EQ(std::get<RecordCancel>(peer.heard[0]).reason, "the flow was stopped");
  EXPECT_TRUE(producer.finished());
}

struct Abuse {
  const char* name;
  std::vector<ConsumerFrame> frames;
  const char* why;
};

class AbusedRecordProducer : public testing::TestWithParam<Abuse> {};

// Two deliveries were sent to the one that breaks the rules, and credit for three is left.
TEST_P(AbusedRecordProducer, CutsItOffAndHarmsNobodyElse) {
  RecordProducer producer;
  Peer bad(producer, 1);
  bad.attach().grant(5);
  producer.on_batch(numbers(1, 2));
  EXPECT_THAT(bad.records(), ElementsAre("1", "2"));
  std::string why;
  for (const ConsumerFrame& frame : GetParam().frames) why = bad.say(frame);
  EXPECT_THAT(why, HasSubstr(GetParam().why));
  bad.records();
  ASSERT_FALSE(bad.heard.empty());
  EXPECT_EQ(std::get<RecordCancel>(bad.heard.back()).reason, why) << "it is told why";
  Peer good(producer, 2);
  EXPECT_THAT(good.attach().grant(9).records(), ElementsAre("1", "2"));
  good.ack(2);
  producer.on_source_end();
  good.records();
  EXPECT_EQ(good.say(RecordDone{.deliveries = 2}), "");
  EXPECT_TRUE(producer.finished());
}

INSTANTIATE_TEST_SUITE_P(
    Rules, AbusedRecordProducer,
    testing::Values(Abuse{"AttachesTwice", {RecordAttach{}}, "attached twice"},
                    Abuse{"AcknowledgesWhatItWasNotSent", {RecordAck{.up_to = 3}}, "acknowledged delivery 3"},
                    Abuse{"AcknowledgesARangeThatItWasNotSent", {RecordAck{.ranges = {{2, 9}}}}, "delivery 9"},
                    Abuse{"SendsBackWhatItWasNotSent", {RecordNack{.delivery = 3}}, "sent delivery 3 back"},
                    Abuse{"SendsBackNothing", {RecordNack{.delivery = 0}}, "sent delivery 0 back"},
                    Abuse{"TakesCreditBack", {RecordCredit{.deliveries = 4, .bytes = 1 << 20}}, "took credit back"},
                    Abuse{"GrantsAbsurdCreditOfRecords",
                          {RecordCredit{.deliveries = std::uint64_t{1} << 40, .bytes = 1 << 20}},
                          "more than 16777216 records"},
                    Abuse{"GrantsAbsurdCreditOfBytes",
                          {RecordCredit{.deliveries = 5, .bytes = ~std::uint64_t{0}}},
                          "more than 4294967296 bytes"},
                    Abuse{"ConfirmsAnEndThatItWasNotTold", {RecordDone{.deliveries = 2}}, "not told"}),
    [](const auto& test) { return test.param.name; });

TEST(RecordProducer, AConsumerMustAttachFirst) {
  RecordProducer producer;
  Peer peer(producer, 1);
  EXPECT_THAT(peer.say(RecordCredit{.deliveries = 1, .bytes = 1}), HasSubstr("did not attach"));
}

TEST(RecordProducer, AConsumerAttachesWhereItCanGoOn) {
  for (DeliveryNumber next : {0u, 1u, 3u, 6u}) {
    RecordProducer producer;
    Peer peer(producer, 1);
    peer.attach().grant(5);
    producer.on_batch(numbers(1, 2));
    producer.on_batch(numbers(3, 5));
    EXPECT_EQ(peer.records().size(), 5u);
    peer.ack(1);
    peer.lose();
    Peer again(producer, 1);
    bool right = next == 3 || next == 6;
    EXPECT_EQ(again.say(RecordAttach{.next = next}).empty(), right) << next;
  }
}

TEST(RecordProducer, ABrokenFrameIsTheEndOfItsSender) {
  RecordProducer producer;
  Peer peer(producer, 1);
  peer.attach();
  EXPECT_THAT(producer.on_bytes(1, bytes_of("garbage")).error(), HasSubstr("kind"));
  EXPECT_FALSE(producer.connected(1));
}

}  // namespace
}  // namespace sluice::link
