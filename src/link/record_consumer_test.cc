#include "link/record_consumer.h"

#include <gmock/gmock.h>

#include "link/records_for_test.h"

namespace sluice::link {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr TimePoint kNow{1h};

RecordConsumerOptions options_with(std::uint64_t records, std::uint64_t bytes = 1000) {
  RecordConsumerOptions options;
  options.records = {.size_min = 1, .size_start = records, .size_max = 64};
  options.bytes = {.size_min = 1, .size_start = bytes, .size_max = 4000};
  return options;
}

/// A producer that says what a test lets it say, and a program that takes all.
class Fixture : public testing::Test {
 protected:
  void connect(RecordConsumerOptions options = options_with(4)) {
    consumer.emplace(options);
    consumer->on_connected();
  }
  template <class Frame>
  std::string hear(const Frame& frame) {
    std::string wire = encode(frame);
    auto taken = consumer->on_bytes(std::as_bytes(std::span(wire)), kNow);
    return taken ? "" : taken.error();
  }
  std::string deliver(DeliveryNumber first, const RecordBatch& batch, Starved starved = {}) {
    std::string why;
    for (const DeliveryPiece& piece : encode_pieces({.first = first, .starved = starved, .batch = batch})) {
      std::string wire = piece.head + std::string(piece.table) + std::string(piece.bytes);
      auto taken = consumer->on_bytes(std::as_bytes(std::span(wire)), kNow);
      if (!taken) why = taken.error();
    }
    return why;
  }
  std::vector<ConsumerFrame> said(TimePoint now = kNow) {
    std::vector<ConsumerFrame> frames;
    while (auto bytes = consumer->poll_transmit(now)) {
      auto rest = std::as_bytes(std::span(*bytes));
      ConsumerFrameDecoder decoder;
      frames.push_back(decoder.next(rest).value().value());
    }
    return frames;
  }
  std::vector<RecordId> take(std::uint32_t records = 1000) {
    std::vector<RecordId> ids;
    if (auto delivery = consumer->poll_delivery({.records = records}, kNow))
      for_each_record(delivery->batch, [&](RecordId id, std::string_view) { ids.push_back(id); });
    return ids;
  }

  std::optional<RecordConsumer> consumer;
};

using RecordConsumerTest = Fixture;

TEST_F(RecordConsumerTest, AttachesAndGrantsItsWindow) {
  connect();
  EXPECT_THAT(said(), ElementsAre(ConsumerFrame(RecordAttach{.next = 1}),
                                  ConsumerFrame(RecordCredit{.deliveries = 4, .bytes = 1000})));
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(RecordConsumerTest, AcknowledgesWhatIsSettledAndGrantsAsMuchAgain) {
  connect();
  said();
  ASSERT_EQ(deliver(1, numbers(1, 3)), "");
  EXPECT_THAT(take(), ElementsAre(1, 2, 3));
  EXPECT_THAT(said(), IsEmpty()) << "the program has them";
  consumer->settle({.first = 1, .last = 3}, kNow);
  EXPECT_THAT(said(), ElementsAre(ConsumerFrame(RecordAck{.up_to = 3}),
                                  ConsumerFrame(RecordCredit{.deliveries = 7, .bytes = 1006})));
}

TEST_F(RecordConsumerTest, AcknowledgesOutOfOrderAsRanges) {
  connect();
  said();
  deliver(1, numbers(1, 4));
  take();
  consumer->settle({.first = 2, .last = 2}, kNow);
  consumer->settle({.first = 4, .last = 4}, kNow);
  EXPECT_EQ(said().at(0), ConsumerFrame(RecordAck{.up_to = 0, .ranges = {{2, 2}, {4, 4}}}));
}

TEST_F(RecordConsumerTest, AnAcknowledgementWaitsForOthersButNotForLong) {
  connect(options_with(64));
  said();
  deliver(1, numbers(1, 8));
  take(1);
  consumer->settle({.first = 1, .last = 1}, kNow);
  EXPECT_FALSE(said().empty()) << "the first is not delayed";
  take(1);
  consumer->settle({.first = 2, .last = 2}, kNow);
  EXPECT_THAT(said(), IsEmpty());
  ASSERT_EQ(consumer->poll_deadline(), kNow + 10ms);
  EXPECT_EQ(said(kNow + 10ms).at(0), ConsumerFrame(RecordAck{.up_to = 2}));
  EXPECT_EQ(consumer->poll_deadline(), std::nullopt);
}

TEST_F(RecordConsumerTest, ARejectedRecordIsSentBackUntilItIsNoted) {
  connect();
  said();
  deliver(1, numbers(1, 2));
  take();
  consumer->reject(1, NackCause::refused, "no number");
  consumer->settle({.first = 2, .last = 2}, kNow);
  ConsumerFrame nack = RecordNack{.delivery = 1, .cause = NackCause::refused, .reason = "no number"};
  EXPECT_EQ(said().at(0), nack);
  consumer->on_disconnected();
  consumer->on_connected();
  std::vector<ConsumerFrame> again = said();
  EXPECT_EQ(again.at(0), ConsumerFrame(RecordAttach{.next = 3}));
  EXPECT_EQ(again.at(1), nack);
  EXPECT_EQ(again.at(2), ConsumerFrame(RecordAck{.up_to = 0, .ranges = {{2, 2}}}));
  EXPECT_EQ(hear(RecordNoted{.delivery = 1}), "");
  EXPECT_EQ(said().at(0), ConsumerFrame(RecordAck{.up_to = 2}));
}

TEST_F(RecordConsumerTest, HandsOutNoMoreWhenTooManyRejectionsAreNotNoted) {
  RecordConsumerOptions options = options_with(4);
  options.rejections_max = 1;
  connect(options);
  said();
  deliver(1, numbers(1, 2));
  EXPECT_THAT(take(1), ElementsAre(1));
  consumer->reject(1, NackCause::failed, "");
  EXPECT_THAT(take(1), IsEmpty());
  hear(RecordNoted{.delivery = 1});
  EXPECT_THAT(take(1), ElementsAre(2));
}

TEST_F(RecordConsumerTest, ItsWindowGrowsWhenTheProgramHadToWaitForAProducerWithoutCredit) {
  connect();
  said();
  for (DeliveryNumber first = 1; first <= 9; first += 4) {
    EXPECT_EQ(deliver(first, numbers(first, first + 3), {.of_records = true}), "");
    take();
    EXPECT_THAT(take(), IsEmpty());
    consumer->settle({.first = first, .last = first + 3}, kNow);
    said();
  }
  EXPECT_GT(consumer->window().deliveries, 4u);
}

TEST_F(RecordConsumerTest, SaysPauseResumeAndDrainOnEachConnection) {
  connect();
  said();
  consumer->pause();
  consumer->drain();
  EXPECT_THAT(said(), ElementsAre(ConsumerFrame(RecordPause{}), ConsumerFrame(RecordDrain{})));
  consumer->on_disconnected();
  EXPECT_THAT(said(), IsEmpty());
  consumer->on_connected();
  EXPECT_EQ(said().size(), 4u);
  consumer->resume();
  EXPECT_THAT(said(), ElementsAre(ConsumerFrame(RecordResume{})));
}

TEST_F(RecordConsumerTest, ConfirmsTheEnd) {
  connect();
  said();
  deliver(1, numbers(1, 1));
  take();
  consumer->settle({.first = 1, .last = 1}, kNow);
  said();
  EXPECT_EQ(hear(RecordEnd{.deliveries = 1}), "");
  EXPECT_TRUE(consumer->ended());
  EXPECT_FALSE(consumer->finished());
  EXPECT_THAT(said(), ElementsAre(ConsumerFrame(RecordDone{.deliveries = 1})));
  EXPECT_TRUE(consumer->finished());
}

TEST_F(RecordConsumerTest, AProducerThatCancelsSaysWhy) {
  connect();
  EXPECT_EQ(hear(RecordCancel{.reason = "stopped"}), "");
  EXPECT_EQ(consumer->cancelled(), "stopped");
}

TEST_F(RecordConsumerTest, RefusesMoreThanItGranted) {
  connect();
  said();
  EXPECT_THAT(deliver(1, numbers(1, 5)), HasSubstr("more records"));
  EXPECT_EQ(said().back(), ConsumerFrame(RecordCancel{.reason = "more records came than there was credit for"}));
  connect(options_with(40, 3));
  said();
  EXPECT_THAT(deliver(1, numbers(1, 2)), HasSubstr("more bytes"));
  connect(options_with(40, 3));
  said();
  EXPECT_EQ(deliver(1, numbers(1000, 1000)), "") << "one record may be longer than the window";
  EXPECT_THAT(deliver(2, numbers(1001, 1001)), HasSubstr("more bytes"));
}

TEST_F(RecordConsumerTest, RefusesGapsAndEndsThatAreWrong) {
  connect();
  said();
  EXPECT_THAT(deliver(2, numbers(1, 1)), HasSubstr("delivery 2 came where 1 was expected"));
  connect();
  EXPECT_THAT(hear(RecordEnd{.deliveries = 1}), HasSubstr("1 deliveries, and 0 came"));
  connect();
  said();
  deliver(1, numbers(1, 1));
  EXPECT_THAT(hear(RecordEnd{.deliveries = 1}), HasSubstr("before everything was acknowledged"));
  connect();
  EXPECT_THAT(hear(RecordNoted{.delivery = 1}), HasSubstr("not sent back"));
  connect();
  said();
  EXPECT_EQ(hear(RecordEnd{.deliveries = 0}), "");
  EXPECT_THAT(deliver(1, numbers(1, 1)), HasSubstr("behind the end"));
}

}  // namespace
}  // namespace sluice::link
