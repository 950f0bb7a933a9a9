#include "net/first_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;

// The layout that docs/protocol.md promises to every later version.
TEST(FirstFrame, HasTheBytesOfTheProtocol) {
  std::string expected("SLUI\0\1\0\0\2\0\3abc", 14);
  EXPECT_EQ(encode(FirstFrame{.use = Use::bytes, .body = "abc"}), expected);
  EXPECT_EQ(encode(FirstAnswer{.status = FirstStatus::refused, .message = "abc"}), expected);
}

TEST(FirstFrame, ComesBackAsItWasSent) {
  for (Use use : {Use::calls, Use::bytes, Use::records})
    for (std::size_t size : {std::size_t{0}, std::size_t{1}, kFirstBodyMax}) {
      std::string bytes = encode(FirstFrame{.use = use, .body = std::string(size, 'x')});
      auto decoded = decode_first_frame(bytes + "what follows");
      ASSERT_TRUE(decoded && *decoded);
      EXPECT_EQ((*decoded)->frame.version, ProtocolVersion{});
      EXPECT_EQ((*decoded)->frame.use, use);
      EXPECT_EQ((*decoded)->frame.body, std::string(size, 'x'));
      EXPECT_EQ((*decoded)->taken, bytes.size());
    }
}

TEST(FirstAnswer, ComesBackAsItWasSent) {
  FirstAnswer answer{.version = {1, 0}, .status = FirstStatus::wrong_version, .message = "no"};
  auto decoded = decode_first_answer(encode(answer) + "what follows");
  ASSERT_TRUE(decoded && *decoded);
  EXPECT_EQ((*decoded)->frame.version, answer.version);
  EXPECT_EQ((*decoded)->frame.status, answer.status);
  EXPECT_EQ((*decoded)->frame.message, "no");
}

TEST(FirstAnswer, CutsALongMessage) {
  auto decoded = decode_first_answer(encode(FirstAnswer{.message = std::string(5000, 'x')}));
  ASSERT_TRUE(decoded && *decoded);
  EXPECT_EQ((*decoded)->frame.message.size(), kFirstBodyMax);
}

TEST(FirstFrame, WaitsForTheRestAtEveryTruncation) {
  std::string bytes = encode(FirstFrame{.use = Use::bytes, .body = "a body"});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    auto frame = decode_first_frame(std::string_view(bytes).substr(0, size));
    ASSERT_TRUE(frame) << size;
    EXPECT_FALSE(*frame) << size;
    auto answer = decode_first_answer(std::string_view(bytes).substr(0, size));
    ASSERT_TRUE(answer) << size;
    EXPECT_FALSE(*answer) << size;
  }
}

TEST(FirstFrame, RefusesAStrangerAtItsFirstWrongByte) {
  EXPECT_THAT(decode_first_frame("G").error(), HasSubstr("not Sluice's protocol"));
  EXPECT_FALSE(decode_first_frame("SLUX"));
  EXPECT_FALSE(decode_first_answer("HTTP/1.1 400 Bad Request\r\n\r\n"));
  EXPECT_FALSE(decode_first_answer("SLU!"));
}

TEST(FirstFrame, RefusesABodyThatIsTooLongBeforeItCame) {
  std::string header("SLUI\0\1\0\0\1\4\1", 11);  // 1025 bytes
  EXPECT_THAT(decode_first_frame(header).error(), HasSubstr("1025 bytes; at most 1024"));
  EXPECT_FALSE(decode_first_answer(header));
}

TEST(FirstFrame, RefusesAUseThatIsUnknownInThisVersion) {
  EXPECT_THAT(decode_first_frame(std::string_view("SLUI\0\1\0\0\7\0\0", 11)).error(), HasSubstr("use 7"));
  EXPECT_FALSE(decode_first_answer(std::string_view("SLUI\0\1\0\0\3\0\0", 11)));
}

// Another major may have uses that we do not know; it is answered, not dropped.
TEST(FirstFrame, AnswersAnotherMajorWithWrongVersion) {
  auto decoded = decode_first_frame(std::string_view("SLUI\0\2\0\5\7\0\0", 11));
  ASSERT_TRUE(decoded && *decoded);
  FirstAnswer answer = answer_to((*decoded)->frame);
  EXPECT_EQ(answer.status, FirstStatus::wrong_version);
  EXPECT_EQ(answer.version.major, kProtocolMajor);
  EXPECT_EQ(answer.message, "this node speaks protocol 1.0, you speak 2.5");
}

TEST(FirstFrame, AgreesOnTheLowerMinor) {
  EXPECT_EQ(answer_to({.version = {1, 9}}).version, (ProtocolVersion{1, kProtocolMinor}));
  EXPECT_EQ(answer_to({.version = {1, 0}}).version, (ProtocolVersion{1, 0}));
  EXPECT_EQ(answer_to({.version = {1, 9}}).status, FirstStatus::accepted);
}

TEST(FirstFrame, SurvivesGarbage) {
  SeededRandom random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = encode(FirstFrame{.use = Use::bytes, .body = "a body"});
    for (std::uint64_t changes = random.below(4); changes > 0; --changes)
      bytes[random.below(bytes.size())] = static_cast<char>(random());
    auto frame = decode_first_frame(bytes);
    EXPECT_LE(frame && *frame ? (*frame)->taken : 0, bytes.size());
    auto answer = decode_first_answer(bytes);
    EXPECT_LE(answer && *answer ? (*answer)->taken : 0, bytes.size());
  }
}

}  // namespace
}  // namespace sluice::net
