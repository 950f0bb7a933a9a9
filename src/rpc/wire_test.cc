// The bytes of protocol 1.0 as they were recorded (tests/wire/calls-1.0.txt): still read, and still written the same way.
#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <sstream>

#include "net/first_frame.h"
#include "rpc/call_frame.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;

std::string bytes_from(const std::string& hexadecimal) {
  std::istringstream digits(hexadecimal);
  std::string bytes;
  for (unsigned value = 0; digits >> std::hex >> value;) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::map<std::string, std::string> recorded() {
  std::ifstream file(SLUICE_WIRE_FOLDER "/calls-1.0.txt");
  std::map<std::string, std::string> frames;
  for (std::string line; std::getline(file, line);) {
    std::size_t colon = line.find(": ");
    if (line.starts_with('#') || colon == std::string::npos) continue;
    frames[line.substr(0, colon)] = bytes_from(line.substr(colon + 2));
  }
  return frames;
}

class Wire : public testing::Test {
 protected:
  std::string take(const std::string& name) {
    EXPECT_TRUE(left_.contains(name)) << name;
    std::string bytes = left_[name];
    left_.erase(name);
    return bytes;
  }

  // The recorded frame, decoded from its bytes alone.
  Frame frame(const std::string& bytes) {
    reader_ = {};
    reader_.append(bytes);
    auto decoded = reader_.next();
    EXPECT_TRUE(decoded.has_value() && decoded->has_value());
    return decoded->value_or(Frame{});
  }

  void expect_first_answer(const std::string& name, net::FirstStatus status, const std::string& message) {
    std::string bytes = take(name);
    auto answer = net::decode_first_answer(bytes);
    ASSERT_TRUE(answer.has_value() && answer->has_value()) << name;
    EXPECT_EQ((*answer)->taken, bytes.size());
    EXPECT_EQ((*answer)->frame.version, (net::ProtocolVersion{1, 0}));
    EXPECT_EQ((*answer)->frame.status, status);
    EXPECT_EQ((*answer)->frame.message, message);
    EXPECT_EQ(net::encode(net::FirstAnswer{{1, 0}, status, message}), bytes);
  }

  void expect_request(const std::string& name, StreamId stream, const CallRequest& request) {
    std::string bytes = take(name);
    Frame decoded = frame(bytes);
    ASSERT_EQ(decoded.type, FrameType::request) << name;
    EXPECT_EQ(decoded.stream, stream);
    EXPECT_EQ(decode_request(decoded), request);
    std::string encoded;
    put_request(encoded, stream, request);
    EXPECT_EQ(encoded, bytes);
  }

  void expect_plain(const std::string& name, const Frame& expected) {
    std::string bytes = take(name);
    Frame decoded = frame(bytes);
    EXPECT_EQ(decoded.type, expected.type) << name;
    EXPECT_EQ(decoded.flags, expected.flags) << name;
    EXPECT_EQ(decoded.stream, expected.stream) << name;
    EXPECT_EQ(decoded.payload, expected.payload) << name;
    std::string encoded;
    put_frame(encoded, expected);
    EXPECT_EQ(encoded, bytes) << name;
  }

  void expect_end(const std::string& name, const Status& status) {
    std::string bytes = take(name);
    EXPECT_EQ(decode_end(frame(bytes)), status) << name;
    std::string encoded;
    put_end(encoded, StreamId{1}, status);
    EXPECT_EQ(encoded, bytes) << name;
  }

  std::map<std::string, std::string> left_ = recorded();
  FrameReader reader_;
};

TEST_F(Wire, RecordedFramesOfVersion1AreReadAndWrittenAsEver) {
  std::string first = take("first_frame.calls");
  auto decoded = net::decode_first_frame(first);
  ASSERT_TRUE(decoded.has_value() && decoded->has_value());
  EXPECT_EQ((*decoded)->frame.use, net::Use::calls);
  EXPECT_EQ(net::encode(net::FirstFrame{{1, 0}, net::Use::calls, {}}), first);
  expect_first_answer("first_answer.accepted", net::FirstStatus::accepted, "");
  expect_first_answer("first_answer.wrong_version", net::FirstStatus::wrong_version,
                      "this node speaks protocol 1.0, you speak 2.0");
  expect_request("request.plain", StreamId{1}, {"sluice.v1.Nodes/List", {}, {}});
  expect_request("request.timeout", StreamId{1}, {"sluice.v1.Nodes/List", 10s, {}});
  expect_request("request.on_behalf", StreamId{3}, {"sluice.v1.Flows/Stop", 10s, OnBehalf{net::Role::admin, "ann"}});
  expect_plain("message.whole", {FrameType::message, 0, StreamId{1},
                                 "\x0a\x03"
                                 "abc"});
  expect_plain("message.piece", {FrameType::message, frame_flag::more, StreamId{1}, "\x0a\x03"});
  expect_plain("message.last", {FrameType::message, frame_flag::last, StreamId{1}, ""});
  expect_plain("done", {FrameType::done, 0, StreamId{1}, ""});
  expect_end("end.ok", {});
  expect_end("end.not_found", {Code::not_found, "no flow begins with 41"});
  expect_plain("cancel", {FrameType::cancel, 0, StreamId{3}, ""});
  std::string credit = take("credit");
  EXPECT_EQ(decode_credit(frame(credit)), 65536u);
  std::string encoded;
  put_credit(encoded, StreamId{1}, 65536);
  EXPECT_EQ(encoded, credit);
  EXPECT_THAT(left_, testing::IsEmpty());  // every line is held against something
}

}  // namespace
}  // namespace sluice::rpc
