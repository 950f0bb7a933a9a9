#include "link/record_framing.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "base/random.h"

namespace sluice::link {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct CutStream {
  std::vector<std::string> records;
  std::string rewritten;
  std::string error;
};

// Cuts `stream`, which comes in pieces of `step` bytes.
CutStream cut(RecordCutter::Options options, std::string_view stream, std::size_t step = 1000) {
  RecordCutter cutter(options);
  CutStream result;
  RecordId next = 1;
  auto take = [&](std::expected<RecordBatch, std::string> batch) {
    if (!batch) {
      result.error = batch.error();
      return;
    }
    for_each_record(*batch, [&](RecordId id, std::string_view record) {
      EXPECT_EQ(id, next++);
      bool delimited = batch->shape().layout == RecordLayout::delimited;
      result.records.emplace_back(record.substr(0, record.size() - (delimited ? 1 : 0)));
    });
    append_framed(*batch, options.framing, result.rewritten);
  };
  while (!stream.empty() && result.error.empty()) {
    auto room = cutter.room();
    std::size_t size = std::min({stream.size(), step, room.size()});
    std::memcpy(room.data(), stream.data(), size);
    stream.remove_prefix(size);
    take(cutter.on_bytes(size));
  }
  if (result.error.empty()) take(cutter.on_end());
  return result;
}

TEST(RecordFraming, Lines) {
  for (std::size_t step : {1u, 2u, 1000u}) {
    EXPECT_THAT(cut({}, "a\n\nbc\n", step).records, ElementsAre("a", "", "bc"));
    CutStream unfinished = cut({}, "a\nb", step);
    EXPECT_THAT(unfinished.records, ElementsAre("a", "b"));
    EXPECT_EQ(unfinished.rewritten, "a\nb\n");
  }
  EXPECT_THAT(cut({}, "").records, IsEmpty());
}

TEST(RecordFraming, ZeroBytes) {
  EXPECT_THAT(cut({.framing = RecordFraming::null}, "a\nb\0c\0"s).records, ElementsAre("a\nb", "c"));
}

TEST(RecordFraming, Lengths) {
  std::string stream = "\0\0\0\3a\nb\0\0\0\0\0\0\0\1z"s;
  for (std::size_t step : {1u, 3u, 1000u}) {
    CutStream result = cut({.framing = RecordFraming::len}, stream, step);
    EXPECT_THAT(result.records, ElementsAre("a\nb", "", "z"));
    EXPECT_EQ(result.rewritten, stream);
  }
  EXPECT_THAT(cut({.framing = RecordFraming::len}, "\0\0\0\3ab"s).error, HasSubstr("ends within record 1"));
}

TEST(RecordFraming, Json) {
  std::string stream = R"({"a": [1, "}"]} [2] "x\"y\\" 12 true{"b":
 null}   -1)";
  for (std::size_t step : {1u, 3u, 1000u}) {
    CutStream result = cut({.framing = RecordFraming::json}, stream, step);
    EXPECT_EQ(result.error, "");
    EXPECT_THAT(result.records,
                ElementsAre(R"({"a": [1, "}"]})", "[2]", R"("x\"y\\")", "12", "true", "{\"b\":\n null}", "-1"));
  }
  EXPECT_EQ(cut({.framing = RecordFraming::json}, "[1]\n\n2 ").rewritten, "[1]\n2\n");
  EXPECT_THAT(cut({.framing = RecordFraming::json}, "1 [2").error, HasSubstr("within the JSON of record 2"));
  EXPECT_THAT(cut({.framing = RecordFraming::json}, "1 ]").error, HasSubstr("closes nothing"));
}

TEST(RecordFraming, ALongRecordTakesWhatItNeeds) {
  std::string record(5'000'000, 'x');
  for (std::size_t step : {std::size_t{4096}, std::size_t{1} << 20}) {
    CutStream result = cut({}, "a\n" + record + "\nb\n", step);
    EXPECT_THAT(result.records, ElementsAre("a", record, "b"));
  }
}

TEST(RecordFraming, ARecordBeyondTheLimitIsAnError) {
  for (RecordFraming framing : {RecordFraming::lines, RecordFraming::null, RecordFraming::len, RecordFraming::json}) {
    std::string fits, too_long;
    std::vector<std::uint32_t> sizes{10, 11};
    std::string bytes = "\"" + std::string(8, 'x') + "\"\"" + std::string(9, 'x') + "\"";
    RecordBatch batch = RecordBatch::of_sized(1, sizes, bytes);
    if (framing == RecordFraming::lines || framing == RecordFraming::null) {
      char delimiter = framing == RecordFraming::lines ? '\n' : '\0';
      fits = bytes.substr(0, 10) + delimiter;
      too_long = fits + bytes.substr(10) + delimiter;
    } else {
      append_framed(batch, framing, too_long);
      append_framed(batch.take_front(1), framing, fits);
    }
    for (std::size_t step : {1u, 5u, 1000u}) {
      EXPECT_EQ(cut({.framing = framing, .record_max = 10}, fits, step).error, "");
      EXPECT_THAT(cut({.framing = framing, .record_max = 10}, too_long, step).error, HasSubstr("longer than 10 bytes"));
    }
  }
}

TEST(RecordFraming, PiecesDoNotMatter) {
  SeededRandom random(random_seed());
  for (int run = 0; run < 300; ++run) {
    std::string stream;
    for (std::uint64_t size = random.below(3000); size > 0; --size) stream.push_back("ab\n"[random.below(3)]);
    std::vector<std::string> whole = cut({}, stream, 5000).records;
    std::size_t block = 1 + random.below(100);
    EXPECT_EQ(cut({.block_size = block}, stream, 1 + random.below(50)).records, whole);
  }
}

}  // namespace
}  // namespace sluice::link
