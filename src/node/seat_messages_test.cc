#include "node/seat_messages.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::node {
namespace {

template <class Message>
std::vector<Message> read_in_pieces(const std::string& stream, std::size_t piece) {
  SeatReader<Message> reader;
  std::vector<Message> messages;
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    reader.append(std::string_view(stream).substr(at, piece));
    while (true) {
      auto next = reader.next();
      EXPECT_TRUE(next.has_value()) << next.error();
      if (!next || !*next) break;
      messages.push_back(**next);
    }
  }
  return messages;
}

TEST(SeatMessages, RequestsArriveAsTheyWereSentInPiecesOfAnySize) {
  std::string stream =
      encode(SeatRequest(SeatStart{.job = 7, .worker = 300, .whole = true, .arguments = {"a b", "", "c"}})) +
      encode(SeatRequest(SeatStart{.job = 8, .error_wanted = true, .arguments = {}})) +
      encode(SeatRequest(SeatInput{7, std::string("x\0y", 3)})) + encode(SeatRequest(SeatInputEnd{7})) +
      encode(SeatRequest(SeatSignal{7, 9}));
  for (std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{1000}}) {
    auto requests = read_in_pieces<SeatRequest>(stream, piece);
    ASSERT_EQ(requests.size(), 5u) << piece;
    const auto& first = std::get<SeatStart>(requests[0]);
    EXPECT_EQ(first.job, 7u);
    EXPECT_EQ(first.worker, 300u);
    EXPECT_TRUE(first.whole && !first.error_wanted);
    EXPECT_EQ(first.arguments, (std::vector<std::string>{"a b", "", "c"}));
    EXPECT_TRUE(std::get<SeatStart>(requests[1]).error_wanted);
    EXPECT_EQ(std::get<SeatInput>(requests[2]).bytes, std::string("x\0y", 3));
    EXPECT_EQ(std::get<SeatInputEnd>(requests[3]).job, 7u);
    EXPECT_EQ(std::get<SeatSignal>(requests[4]).signal, 9u);
  }
}

TEST(SeatMessages, RepliesArriveAsTheyWereSent) {
  std::string stream = encode(SeatReply(SeatTaken{1, 4096})) + encode(SeatReply(SeatOutput{1, "out"})) +
                       encode(SeatReply(SeatError{1, "err"})) +
                       encode(SeatReply(SeatEnded{{.job = 1, .wait_status = 9, .run_us = 5, .peak_memory_bytes = 6}})) +
                       encode(SeatReply(SeatFailed{{.job = 2, .error = 13, .action = "execute"}})) +
                       encode(SeatReply(SeatLeaving{}));
  auto replies = read_in_pieces<SeatReply>(stream, 2);
  ASSERT_EQ(replies.size(), 6u);
  EXPECT_EQ(std::get<SeatTaken>(replies[0]).bytes, 4096u);
  EXPECT_EQ(std::get<SeatOutput>(replies[1]).bytes, "out");
  EXPECT_EQ(std::get<SeatError>(replies[2]).bytes, "err");
  const exec::JobEnded& ended = std::get<SeatEnded>(replies[3]).how;
  EXPECT_EQ(ended.wait_status, 9);
  EXPECT_EQ(ended.run_us, 5u);
  EXPECT_EQ(ended.peak_memory_bytes, 6u);
  EXPECT_EQ(std::get<SeatFailed>(replies[4]).how.action, "execute");
  EXPECT_TRUE(std::holds_alternative<SeatLeaving>(replies[5]));
}

TEST(SeatMessages, WhatIsNoneOfTheProtocolIsRefused) {
  auto refused = [](const std::string& stream) {
    SeatReader<SeatRequest> reader;
    reader.append(stream);
    return !reader.next().has_value();
  };
  EXPECT_TRUE(refused(encode(SeatReply(SeatTaken{1, 1})))) << "a reply where requests are read";
  EXPECT_TRUE(refused(std::string("\x02\xff\xff\xff\xff", 5))) << "longer than any";
  EXPECT_TRUE(
      refused(std::string("\x03\x00\x00\x00\x02"
                          "ab",
                          7)))
      << "no room for the number of a job";
  std::string many = encode(SeatRequest(SeatStart{.job = 1, .arguments = {"a"}}));
  many[5 + 8 + 4 + 1] = '\x7f';  // two thousand million arguments
  EXPECT_TRUE(refused(many));
}

TEST(SeatMessages, RandomBytesDoNoHarm) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string stream(random() % 64, '\0');
    for (char& byte : stream) byte = static_cast<char>(random());
    if (!stream.empty()) stream[0] = static_cast<char>(random() % 24);
    if (stream.size() > 4) stream[1] = stream[2] = stream[3] = 0;
    SeatReader<SeatRequest> requests;
    SeatReader<SeatReply> replies;
    requests.append(stream);
    replies.append(stream);
    for (int i = 0; i < 8; ++i)
      if (auto next = requests.next(); !next || !*next) break;
    for (int i = 0; i < 8; ++i)
      if (auto next = replies.next(); !next || !*next) break;
  }
}

}  // namespace
}  // namespace sluice::node
