#include "link/record_junction.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "base/random.h"
#include "link/records_for_test.h"
#include "link/spill_file.h"

namespace sluice::link {
namespace {

using testing::ElementsAre;

std::unique_ptr<SpillStore> file_of(std::uint64_t capacity) {
  return std::make_unique<SpillFile>(SpillFile::open("/tmp", capacity).value());
}

JunctionShape shape_of(std::size_t inputs, std::size_t outputs,
                       std::vector<std::pair<std::size_t, std::size_t>> links) {
  JunctionShape shape{.inputs = std::vector<JunctionShape::Input>(inputs), .outputs = outputs, .links = {}};
  for (auto [input, output] : links) shape.links.push_back({.input = input, .output = output});
  return shape;
}

// Writes what there is for an output, and returns it.
std::string write_all(RecordJunction& junction, std::size_t output) {
  std::string text;
  for (auto delivery = junction.delivery(output); delivery.value() != nullptr; delivery = junction.delivery(output)) {
    text += (*delivery)->batch.bytes();
    junction.on_written(output);
  }
  return text;
}

TEST(RecordJunction, CopiesToEveryOutput) {
  RecordJunction junction(shape_of(1, 2, {{0, 0}, {0, 1}}));
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 3)));
  junction.on_end(0);
  EXPECT_FALSE(junction.over(0));
  EXPECT_EQ(write_all(junction, 0), "1\n2\n3\n");
  EXPECT_TRUE(junction.over(0));
  EXPECT_FALSE(junction.finished());
  EXPECT_EQ(write_all(junction, 1), "1\n2\n3\n");
  EXPECT_TRUE(junction.finished());
}

TEST(RecordJunction, SlowestOutputClosesTheTap) {
  RecordJunction junction(shape_of(1, 2, {{0, 0}, {0, 1}}), {.window_bytes = 300});
  RecordId next = 1;
  for (; junction.wants(0); ++next) {
    ASSERT_TRUE(junction.on_batch(0, numbers(next, next)));
    write_all(junction, 0);
  }
  EXPECT_EQ(next, 4u);
  EXPECT_EQ(write_all(junction, 1), "1\n2\n3\n");
  EXPECT_TRUE(junction.wants(0));
}

TEST(RecordJunction, TellsWhichLinkHasNoRoomAndWhichHasNothingToDo) {
  RecordJunction junction(shape_of(1, 2, {{0, 0}, {0, 1}}), {.window_bytes = 300});
  for (RecordId next = 1; junction.wants(0); ++next) {
    ASSERT_TRUE(junction.on_batch(0, numbers(next, next)));
    EXPECT_FALSE(junction.idle(0));
    write_all(junction, 0);
  }
  EXPECT_FALSE(junction.blocks(0));
  EXPECT_TRUE(junction.idle(0));
  EXPECT_TRUE(junction.blocks(1));
  EXPECT_FALSE(junction.idle(1));
  while (junction.delivery(1).value()->batch.last() < 3) junction.on_written(1);
  EXPECT_FALSE(junction.idle(1)) << "its last record is being written";
  junction.on_reader_gone(1, 0);
  EXPECT_FALSE(junction.blocks(1));
}

TEST(RecordJunction, MergesInTurns) {
  RecordJunction junction(shape_of(2, 1, {{0, 0}, {1, 0}}));
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 1)));
  ASSERT_TRUE(junction.on_batch(0, numbers(2, 2)));
  ASSERT_TRUE(junction.on_batch(1, numbers(7, 7)));
  EXPECT_EQ(write_all(junction, 0), "1\n7\n2\n");
  junction.on_end(0);
  EXPECT_FALSE(junction.over(0));
  junction.on_end(1);
  EXPECT_TRUE(junction.over(0));
}

TEST(RecordJunction, SharedRecordsGoToWhoAsksAndComeBackFromWhoLeaves) {
  JunctionShape shape = shape_of(1, 2, {{0, 0}, {0, 1}});
  shape.inputs[0].shares = true;
  RecordJunction junction(std::move(shape));
  junction.set_shared_delivery_max(0, 4);
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 6)));
  junction.on_end(0);
  EXPECT_EQ(junction.delivery(0).value()->batch.bytes(), "1\n2\n");
  EXPECT_EQ(write_all(junction, 1), "3\n4\n5\n6\n");
  EXPECT_FALSE(junction.over(1)) << "what the other has may come back";
  junction.on_reader_gone(0, 1);  // it has seen a part of the first
  EXPECT_EQ(write_all(junction, 1), "2\n");
  EXPECT_TRUE(junction.over(1));
  EXPECT_EQ(junction.counts(0).delivered, (RecordAmount{.records = 1, .bytes = 2}));
  EXPECT_EQ(junction.counts(0).accepted, junction.counts(0).delivered) << "what it gave back is another's";
  EXPECT_EQ(junction.counts(1).delivered, (RecordAmount{.records = 5, .bytes = 10}));
}

TEST(RecordJunction, WhatWaitsWhenTheReaderLeavesIsForgotten) {
  RecordJunction junction(shape_of(1, 2, {{0, 0}, {0, 1}}));
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 3)));
  ASSERT_TRUE(junction.on_batch(0, numbers(4, 5)));
  ASSERT_EQ(junction.delivery(0).value()->batch.count(), 3u);
  EXPECT_EQ(junction.counts(0).under_way(), (RecordAmount{.records = 5, .bytes = 10}));
  junction.on_reader_gone(0, 2);
  ASSERT_TRUE(junction.on_batch(0, numbers(6, 6)));
  JunctionCounts counts = junction.counts(0);
  EXPECT_EQ(counts.accepted, (RecordAmount{.records = 5, .bytes = 10}));
  EXPECT_EQ(counts.delivered, (RecordAmount{.records = 2, .bytes = 4}));
  EXPECT_EQ(counts.forgotten, (RecordAmount{.records = 3, .bytes = 6}));
  EXPECT_EQ(counts.dropped, RecordAmount());
}

TEST(RecordJunction, ReaderThatLeavesHoldsNobodyUp) {
  RecordJunction junction(shape_of(1, 2, {{0, 0}, {0, 1}}), {.window_bytes = 1});
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 1)));
  write_all(junction, 1);
  EXPECT_FALSE(junction.wants(0));
  junction.on_reader_gone(0, 0);
  EXPECT_TRUE(junction.wants(0));
  EXPECT_FALSE(junction.unread(0));
  junction.on_reader_gone(1, 0);
  EXPECT_TRUE(junction.unread(0));
  EXPECT_FALSE(junction.wants(0));
  EXPECT_TRUE(junction.finished());
}

TEST(RecordJunction, FailureOfAStoreNamesTheLink) {
  class FullStore final : public SpillStore {
    std::uint64_t capacity() const override { return 1000; }
    std::uint64_t size() const override { return 0; }
    std::expected<void, std::string> append(std::string_view) override { return std::unexpected("no room"); }
    std::expected<void, std::string> take(std::span<char>) override { return std::unexpected("empty"); }
  };
  JunctionShape shape = shape_of(1, 2, {{0, 0}, {0, 1}});
  shape.links[1].slow = SlowRule::spill;
  shape.links[1].store = std::make_unique<FullStore>();
  RecordJunction junction(std::move(shape), {.window_bytes = 1});
  ASSERT_TRUE(junction.on_batch(0, numbers(1, 1)));
  write_all(junction, 0);
  auto put = junction.on_batch(0, numbers(2, 2));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().link, 1u);
  EXPECT_EQ(put.error().why, "no room");
}

// --- at random, beside a model that keeps every record -----------------------------------------------------------

class RandomJunction {
 public:
  explicit RandomJunction(std::uint64_t seed) : random_(seed) {
    inputs_ = 1 + below(3);
    outputs_ = 1 + below(3);
    JunctionShape shape = shape_of(inputs_, outputs_, {});
    for (std::size_t i = 0; i < inputs_; ++i) shape.inputs[i].shares = below(3) == 0;
    for (std::size_t i = 0; i < inputs_; ++i)
      for (std::size_t o = 0; o < outputs_; ++o)
        if (below(2) == 0 || o == i % outputs_ || i == o % inputs_) add(shape, i, o);
    sent_.resize(inputs_);
    sent_bytes_.resize(inputs_);
    ended_.resize(inputs_);
    got_.resize(links_.size());
    got_bytes_.resize(links_.size());
    junction_.emplace(std::move(shape), JunctionOptions{.window_bytes = 200 + below(2000),
                                                        .drop_window_bytes = 200 + below(2000),
                                                        .shared_bytes_max = 200 + below(2000)});
    for (std::size_t o = 0; o < outputs_; ++o) junction_->set_shared_delivery_max(o, 1 + below(300));
  }

  void run() {
    for (int step = 0; step < 3000 && !junction_->finished(); ++step) {
      take_step();
      for (std::size_t l = 0; l < links_.size(); ++l) check_balance(l);
    }
    for (std::size_t i = 0; i < inputs_; ++i) end(i);
    for (std::size_t o = 0; o < outputs_; ++o) drain(o);
    for (std::size_t o = 0; o < outputs_; ++o) drain(o);  // what one that left has given back
    EXPECT_TRUE(junction_->finished());
    for (std::size_t i = 0; i < inputs_; ++i) check(i);
  }

 private:
  struct Link {
    std::size_t input, output;
    SlowRule slow;
    bool shares;
  };

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  void add(JunctionShape& shape, std::size_t input, std::size_t output) {
    bool shares = shape.inputs[input].shares;
    auto slow = shares ? SlowRule::block : static_cast<SlowRule>(below(3));
    shape.links.push_back({.input = input, .output = output, .slow = slow});
    if (slow == SlowRule::spill) shape.links.back().store = file_of(1 + below(3000));
    links_.push_back({input, output, slow, shares});
  }

  void take_step() {
    std::size_t input = below(inputs_), output = below(outputs_);
    switch (below(40)) {
      case 0:
        if (below(20) == 0) end(input);
        return;
      case 1:
        if (below(20) == 0 && !junction_->reader_gone(output)) leave(output);
        return;
      default:
        break;
    }
    if (below(2) == 0 && junction_->wants(input)) {
      RecordId first = sent_[input] + 1;
      sent_[input] += 1 + below(30);
      RecordBatch batch = numbers(first, sent_[input]);
      sent_bytes_[input] += batch.size();
      ASSERT_TRUE(junction_->on_batch(input, std::move(batch)));
    } else if (!junction_->reader_gone(output)) {
      write(output);
    }
  }

  void end(std::size_t input) {
    if (!ended_[input]) junction_->on_end(input);
    ended_[input] = true;
  }

  void note(std::size_t link, RecordBatch batch, std::uint32_t count) {
    for_each_record(batch, [&](RecordId, std::string_view record) {
      if (count == 0) return;
      --count;
      got_[link].push_back(std::stoul(std::string(record)));
      got_bytes_[link] += record.size();
    });
  }

  bool write(std::size_t output) {
    auto delivery = junction_->delivery(output);
    EXPECT_TRUE(delivery);
    if (!delivery || *delivery == nullptr) return false;
    note((*delivery)->link, (*delivery)->batch, (*delivery)->batch.count());
    junction_->on_written(output);
    return true;
  }

  void leave(std::size_t output) {
    auto delivery = junction_->delivery(output);
    ASSERT_TRUE(delivery);
    std::uint32_t begun = 0;
    if (*delivery != nullptr) {
      begun = static_cast<std::uint32_t>(below((*delivery)->batch.count() + 1));
      note((*delivery)->link, (*delivery)->batch, begun);
    }
    junction_->on_reader_gone(output, begun);
  }

  void drain(std::size_t output) {
    while (!junction_->reader_gone(output) && write(output)) {
    }
  }

  void check_balance(std::size_t number) {
    const Link& link = links_[number];
    JunctionCounts counts = junction_->counts(number);
    RecordAmount left = counts.under_way();
    EXPECT_EQ(counts.delivered, (RecordAmount{.records = got_[number].size(), .bytes = got_bytes_[number]}));
    EXPECT_LE(left.records, counts.accepted.records);
    EXPECT_LE(left.bytes, counts.accepted.bytes);
    bool gone = junction_->reader_gone(link.output);
    if (link.shares || gone) {
      EXPECT_EQ(left, RecordAmount());
    } else {
      EXPECT_EQ(counts.accepted, (RecordAmount{.records = sent_[link.input], .bytes = sent_bytes_[link.input]}));
      EXPECT_EQ(counts.forgotten, RecordAmount());
      EXPECT_EQ(left.records == 0, junction_->idle(number));
      EXPECT_EQ(left.bytes == 0, junction_->idle(number));
    }
  }

  void check(std::size_t input) {
    std::multiset<RecordId> shared;
    bool shares = false, read_to_the_end = false;
    for (std::size_t l = 0; l < links_.size(); ++l) {
      const Link& link = links_[l];
      if (link.input != input) continue;
      JunctionCounts counts = junction_->counts(l);
      EXPECT_EQ(counts.delivered.records, got_[l].size());
      bool stayed = !junction_->reader_gone(link.output);
      if (link.shares) {
        shares = true;
        read_to_the_end = read_to_the_end || stayed;
        shared.insert(got_[l].begin(), got_[l].end());
        continue;
      }
      EXPECT_TRUE(std::ranges::is_sorted(got_[l]));
      EXPECT_TRUE(std::ranges::adjacent_find(got_[l]) == got_[l].end()) << "a record came twice";
      if (stayed) {
        EXPECT_EQ(counts.delivered.records + counts.dropped.records, sent_[input]);
      }
      if (link.slow != SlowRule::drop) {
        EXPECT_EQ(counts.dropped, RecordAmount());
      }
    }
    if (!shares) return;
    EXPECT_EQ(std::set<RecordId>(shared.begin(), shared.end()).size(), shared.size()) << "a record came twice";
    if (read_to_the_end) {
      EXPECT_EQ(shared.size(), sent_[input]);
    }
  }

  SeededRandom random_;
  std::size_t inputs_ = 0, outputs_ = 0;
  std::vector<Link> links_;
  std::vector<RecordId> sent_;
  std::vector<std::uint64_t> sent_bytes_;
  std::vector<bool> ended_;
  std::vector<std::vector<RecordId>> got_;  // by link
  std::vector<std::uint64_t> got_bytes_;    // likewise
  std::optional<RecordJunction> junction_;
};

TEST(RecordJunction, LosesAndRepeatsNothingAtRandom) {
  std::uint64_t base = random_seed();
  for (std::uint64_t seed = base; seed < base + 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomJunction(seed).run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace sluice::link
