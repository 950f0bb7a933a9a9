#include "link/worker_frames.h"

#include <gmock/gmock.h>

#include <cstring>

#include "base/random.h"

namespace sluice::link {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr std::size_t kRecordMax = std::size_t{2} << 20;

std::string from_hex(std::string_view text) {
  std::string bytes, digits;
  for (char c : text) {
    if (c == ' ') continue;
    digits += c;
    if (digits.size() < 2) continue;
    bytes.push_back(static_cast<char>(std::stoi(digits, nullptr, 16)));
    digits.clear();
  }
  return bytes;
}

// What the reader makes of a stream that comes in pieces of `step`; the last line is its refusal, if there is one.
std::vector<std::string> read(std::string_view stream, std::size_t step = ~std::size_t{0}) {
  WorkerFrameReader reader(kRecordMax);
  std::vector<std::string> found;
  while (!stream.empty()) {
    auto room = reader.room();
    std::size_t size = std::min({step, room.size(), stream.size()});
    std::memcpy(room.data(), stream.data(), size);
    stream.remove_prefix(size);
    reader.on_bytes(size);
    while (true) {
      auto frame = reader.next();
      if (!frame) {
        found.push_back(frame.error());
        return found;
      }
      if (!*frame) break;
      found.push_back(std::to_string(static_cast<int>((*frame)->kind)) + ":" + std::string((*frame)->body));
    }
  }
  if (!reader.between_frames()) found.emplace_back("within a frame");
  return found;
}

std::string frame(WorkerFrameKind kind, std::string_view body = {}) {
  std::string stream;
  append_worker_frame(stream, kind, body);
  return stream;
}

std::vector<std::pair<RecordId, std::string>> records_of(const WorkerOutputs& outputs) {
  std::vector<std::pair<RecordId, std::string>> found;
  outputs.for_each([&](RecordId id, std::string_view record) { found.emplace_back(id, record); });
  return found;
}

// The bytes of docs/protocol-workers.md: every later version must read and write them.
TEST(WorkerFrames, AreAsTheDocumentShows) {
  auto hello = decode_worker_hello(from_hex("534c574b 0001 0000 0000 00000001 0000 0002 7078"));
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->major, 1);
  EXPECT_EQ(hello->concurrency, 1u);
  EXPECT_FALSE(hello->source);
  EXPECT_EQ(hello->library, "px");
  std::string stream;
  append_worker_welcome(stream, {.worker = 1, .record_max = std::uint64_t{64} << 20, .flow = "", .stage = "./"});
  EXPECT_EQ(stream,
            from_hex("0000001e 10 000000 534c574b 0001 0000 00000000 00000001 0000000004000000 0000 0002 2e2f"));
  auto credit = decode_worker_credit(from_hex("00000001 00000001 0000000000010000"));
  ASSERT_TRUE(credit);
  EXPECT_EQ(credit->records, 1u);
  EXPECT_EQ(credit->bytes, 65536u);
  stream.clear();
  append_worker_records(stream, RecordBatch::of_delimited(7, '\n', "ab\n").value(), 1);
  EXPECT_EQ(stream, from_hex("00000016 11 000000 0000000000000007 00000001 00000001 00000002 6162"));
  std::string body = from_hex("00000001 0000000000000007 00000002 4142");
  auto outputs = decode_worker_outputs(body, kRecordMax);
  ASSERT_TRUE(outputs);
  EXPECT_THAT(records_of(*outputs), ElementsAre(Pair(7, "AB")));
  auto done = decode_worker_done(from_hex("0000000000000007 00000001"));
  ASSERT_TRUE(done);
  EXPECT_THAT(*done, ElementsAre(WorkerRange{.first = 7, .count = 1}));
}

TEST(WorkerFrames, RecordsAreGivenWithoutTheirDelimiters) {
  std::string delimited, sized;
  append_worker_records(delimited, RecordBatch::of_delimited(3, '\n', "a\n\nbcd\n").value(), 2);
  std::uint32_t sizes[] = {1, 0, 3};
  append_worker_records(sized, RecordBatch::of_sized(3, sizes, "abcd"), 2);
  EXPECT_EQ(delimited, sized);
}

TEST(WorkerFrames, AreCutFromPiecesOfAnyLength) {
  std::string stream = frame(WorkerFrameKind::hello, "abc") + frame(WorkerFrameKind::leave) +
                       frame(WorkerFrameKind::outputs, std::string(600'000, 'x')) + frame(WorkerFrameKind::finished);
  auto whole = read(stream);
  EXPECT_THAT(whole, ElementsAre("1:abc", "6:", "3:" + std::string(600'000, 'x'), "7:"));
  for (std::size_t step : {1, 7, 4096, 100'000}) EXPECT_EQ(read(stream, step), whole) << step;
  EXPECT_EQ(read(stream.substr(0, stream.size() - 1)).back(), "within a frame");
}

TEST(WorkerFrames, WhatIsNoFrameIsNamed) {
  EXPECT_THAT(read("Hello, world\n").back(), HasSubstr("does not speak the protocol of workers: 'Hello, w'"));
  EXPECT_THAT(read("\n\x01oops..."s).back(), HasSubstr("'\\x0a\\x01oops..'"));
  EXPECT_THAT(read(frame(WorkerFrameKind::end)).back(), HasSubstr("no header")) << "only a stage says it";
  std::string no_zeros = frame(WorkerFrameKind::leave);
  no_zeros[6] = 1;
  EXPECT_THAT(read(no_zeros).back(), HasSubstr("no header"));
  EXPECT_THAT(read(frame(WorkerFrameKind::fail, std::string(kWorkerBodyMax + 1, 'x'))).back(),
              HasSubstr("'fail' is longer than 65536 bytes"));
  std::string long_record = from_hex("7fffffff 03 000000");
  EXPECT_THAT(read(long_record).back(), HasSubstr("'outputs' is longer than"));
}

TEST(WorkerFrames, BodiesThatAreWrongAreNamed) {
  EXPECT_THAT(decode_worker_hello("SLW").error(), HasSubstr("does not begin with SLWK"));
  EXPECT_THAT(decode_worker_hello(from_hex("534c574b 0001 0000 0000")).error(), HasSubstr("within a field"));
  EXPECT_EQ(decode_worker_hello(from_hex("534c574b 0007 0000"))->major, 7) << "the rest is not ours to judge";
  EXPECT_THAT(decode_worker_credit("abc").error(), HasSubstr("within a field"));
  EXPECT_THAT(decode_worker_done("").error(), HasSubstr("no list of ranges"));
  EXPECT_THAT(decode_worker_done(from_hex("0000000000000007 00000000")).error(), HasSubstr("range of no record"));
  EXPECT_THAT(decode_worker_failure("abc").error(), HasSubstr("within a field"));
  EXPECT_THAT(decode_worker_failure(std::string(8 + 4097, 'x')).error(), HasSubstr("too long a reason"));
  auto outputs = [](std::string_view hex) {
    std::string body = from_hex(hex);
    return decode_worker_outputs(body, 16).error();
  };
  EXPECT_THAT(outputs("0000"), HasSubstr("within a field"));
  EXPECT_THAT(outputs("00000000"), HasSubstr("has no record"));
  EXPECT_THAT(outputs("00000002 0000000000000007 00000000"), HasSubstr("shorter than the table"));
  EXPECT_THAT(outputs("ffffffff 0000000000000007 00000000"), HasSubstr("shorter than the table"));
  EXPECT_THAT(outputs("00000001 0000000000000007 00000002 41"), HasSubstr("not as long as"));
  EXPECT_THAT(outputs("00000001 0000000000000007 00000011 41"), HasSubstr("longer than 16 bytes"));
  std::string two(4 + 2 * 12 + kWorkerBatchMax, '\0');
  two[3] = 2;
  EXPECT_THAT(decode_worker_outputs(two, kRecordMax).error(), HasSubstr("longer than 1 MiB"));
}

TEST(WorkerFrames, BytesThatWereChangedNeverCrashAReader) {
  SeededRandom random(7);
  std::string body;
  for (int i = 0; i < 3; ++i) body += from_hex("0000000000000007 00000004");
  std::string whole = frame(WorkerFrameKind::hello, from_hex("534c574b 0001 0000 0000 00000001 0000 0002 7078")) +
                      frame(WorkerFrameKind::outputs, from_hex("00000001 0000000000000007 00000002 4142")) +
                      frame(WorkerFrameKind::done, body) + frame(WorkerFrameKind::fail, "12345678why");
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = whole.substr(0, random.below(whole.size() + 1));
    for (int j = 0; j < 3 && !changed.empty(); ++j)
      changed[random.below(changed.size())] = static_cast<char>(random.below(256));
    for (const std::string& found : read(changed, 1 + random.below(40))) {
      std::string_view rest = std::string_view(found).substr(std::min<std::size_t>(2, found.size()));
      (void)decode_worker_hello(rest);
      (void)decode_worker_done(rest);
      (void)decode_worker_failure(rest);
      if (auto outputs = decode_worker_outputs(rest, kRecordMax)) (void)records_of(*outputs);
    }
  }
}

}  // namespace
}  // namespace sluice::link
