#include "flow/record_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace sluice::flow {
namespace {

using testing::HasSubstr;

std::string key(std::string_view field, std::string_view record) {
  auto key = RecordKey::read(field);
  return key ? key->of(record) : key.error();
}

TEST(RecordKey, IsAColumnBetweenTabsOrCommas) {
  EXPECT_EQ(key("1", "a\tb,c\td"), "a");
  EXPECT_EQ(key("2", "a\tb,c\td"), "b,c");
  EXPECT_EQ(key("4", "a\tb,c\td"), "");
  EXPECT_EQ(key("2", "a,b,c"), "b");
  EXPECT_EQ(key("3", "a,b,c\r"), "c");
  EXPECT_EQ(key("2", R"(x,"a, ""b""",y)"), R"(a, "b")");
  EXPECT_EQ(key("3", R"(x,"a, ""b""",y)"), "y");
  EXPECT_EQ(key("1", ""), "");
  EXPECT_EQ(key("2", "\"never closed"), "");
}

TEST(RecordKey, IsWhatAJsonPointerPointsAt) {
  EXPECT_EQ(key("/user/id", R"({"user":{"id":"k7"}})"), "k7");
  EXPECT_EQ(key("/user/id", R"({"user":{"id":7}})"), "7");
  EXPECT_EQ(key("/a/1", R"({"a":[1,[2, 3]]})"), "[2,3]");
  EXPECT_EQ(key("/nothing", R"({"a":1})"), "");
  EXPECT_EQ(key("/a", "no json"), "");
  std::string deep = R"({"id":7,"a":)" + std::string(200'000, '[') + std::string(200'000, ']') + "}";
  EXPECT_EQ(key("/id", deep), "7");
  EXPECT_FALSE(key("/a", deep).empty());
}

TEST(RecordKey, IsWhatARegularExpressionMatches) {
  EXPECT_EQ(key("~id=([0-9]+)", "x id=42 y"), "42");
  EXPECT_EQ(key("~[a-z]+", "12 abc"), "abc");
  EXPECT_EQ(key("~^z", "abc"), "");
  EXPECT_EQ(key("~b+$", std::string(1'000'000, 'a') + "bb"), "bb");
}

TEST(RecordKey, IsRefusedIfItNamesNoField) {
  EXPECT_THAT(key("0", ""), HasSubstr("names no field"));
  EXPECT_THAT(key("name", ""), HasSubstr("@by=2"));
  EXPECT_THAT(key("/a~b", ""), HasSubstr("RFC 6901"));
  EXPECT_THAT(key("~(", ""), HasSubstr("malformed"));
  EXPECT_THAT(key("~(\\d+)", ""), HasSubstr("a digit is [0-9]"));
  EXPECT_THAT(key("~", ""), HasSubstr("the regular expression is empty"));
}

TEST(RecordKey, SendsTheSameKeyToTheSameWorker) {
  auto by = RecordKey::read("1").value();
  std::set<std::uint32_t> workers;
  for (int i = 0; i < 100; ++i) {
    std::string record = std::to_string(i) + ",x";
    std::uint32_t worker = by.worker_for(record, 8);
    EXPECT_LT(worker, 8u);
    EXPECT_EQ(by.worker_for(std::to_string(i) + ",y", 8), worker);
    workers.insert(worker);
  }
  EXPECT_EQ(workers.size(), 8u);
}

}  // namespace
}  // namespace sluice::flow
