#include "link/delivery_set.h"

#include <gmock/gmock.h>

#include <set>

#include "base/random.h"

namespace sluice::link {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(DeliverySet, GrowsFromOne) {
  DeliverySet set;
  EXPECT_EQ(set.up_to(), 0u);
  set.add({.first = 1, .last = 3});
  EXPECT_EQ(set.up_to(), 3u);
  EXPECT_EQ(set.last(), 3u);
}

TEST(DeliverySet, AGapKeepsWhatIsAboveApart) {
  DeliverySet set;
  set.add({.first = 4, .last = 5});
  set.add({.first = 1, .last = 2});
  EXPECT_EQ(set.up_to(), 2u);
  EXPECT_EQ(set.last(), 5u);
  EXPECT_THAT(set.above(9), ElementsAre(DeliveryRange{4, 5}));
  EXPECT_THAT(set.missing_in({.first = 1, .last = 7}), ElementsAre(DeliveryRange{3, 3}, DeliveryRange{6, 7}));
  EXPECT_THAT(set.add({.first = 3, .last = 3}), ElementsAre(DeliveryRange{3, 3}));
  EXPECT_EQ(set.up_to(), 5u);
  EXPECT_THAT(set.above(9), IsEmpty());
}

TEST(DeliverySet, DoesWhatASetOfNumbersDoes) {
  SeededRandom random(random_seed());
  for (int run = 0; run < 200; ++run) {
    DeliverySet set;
    std::set<DeliveryNumber> model;
    for (int step = 0; step < 40; ++step) {
      DeliveryRange range{.first = 1 + random.below(50), .last = 0};
      range.last = range.first + random.below(8);
      std::set<DeliveryNumber> fresh;
      for (DeliveryNumber number = range.first; number <= range.last; ++number)
        if (!model.contains(number)) fresh.insert(number);
      auto flatten = [](const std::vector<DeliveryRange>& ranges) {
        std::set<DeliveryNumber> numbers;
        for (const DeliveryRange& part : ranges)
          for (DeliveryNumber number = part.first; number <= part.last; ++number) numbers.insert(number);
        return numbers;
      };
      ASSERT_EQ(flatten(set.missing_in(range)), fresh);
      ASSERT_EQ(flatten(set.add(range)), fresh);
      model.merge(fresh);
      ASSERT_EQ(set.size(), model.size());
      ASSERT_EQ(set.last(), *model.rbegin());
      for (DeliveryNumber number = 1; number < 60; ++number) ASSERT_EQ(set.contains(number), model.contains(number));
      ASSERT_FALSE(set.contains(set.up_to() + 1));
      std::set<DeliveryNumber> all = flatten(set.above(1000));
      for (DeliveryNumber number = 1; number <= set.up_to(); ++number) all.insert(number);
      ASSERT_EQ(all, model);
    }
  }
}

}  // namespace
}  // namespace sluice::link
