#include "net/hello_guard.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace sluice::net {
namespace {

std::string record(char type, const std::string& body) {
  return std::string{type, 3, 1, static_cast<char>(body.size() >> 8), static_cast<char>(body.size())} + body;
}

std::string message_header(std::size_t size) {
  return {1, static_cast<char>(size >> 16), static_cast<char>(size >> 8), static_cast<char>(size)};
}

bool accepts(std::string_view bytes, std::size_t piece) {
  HelloGuard guard;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    if (!guard.on_bytes(std::as_bytes(std::span(bytes.substr(at, piece))))) return false;
  return true;
}

TEST(HelloGuard, LetsAMessageOfTheLargestSizePass) {
  std::string hello = message_header(HelloGuard::kMessageMax) + std::string(HelloGuard::kMessageMax, 'x');
  std::string bytes = record(22, hello.substr(0, 16'000)) + record(22, hello.substr(16'000));
  EXPECT_TRUE(accepts(bytes, bytes.size()));
  EXPECT_TRUE(accepts(bytes, 1));
}

TEST(HelloGuard, RefusesALongerOneByItsHeader) {
  EXPECT_FALSE(accepts(record(22, message_header(HelloGuard::kMessageMax + 1)), 1000));
  EXPECT_FALSE(accepts(record(22, message_header(0xffffff)), 1));
}

// A header in two records, and the second message after a short first one.
TEST(HelloGuard, FollowsMessagesAcrossRecords) {
  std::string header = message_header(0x10000);
  EXPECT_FALSE(accepts(record(22, header.substr(0, 2)) + record(22, header.substr(2)), 3));
  EXPECT_FALSE(accepts(record(22, message_header(2) + "ab" + header), 1000));
  EXPECT_FALSE(accepts(record(22, message_header(2) + "ab") + record(20, "\1") + record(22, header), 1000));
}

TEST(HelloGuard, LeavesOtherRecordsAlone) {
  EXPECT_TRUE(accepts(record(23, std::string(16'000, '\xff')) + record(22, ""), 1000));
}

}  // namespace
}  // namespace sluice::net
