#include "exec/message_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

namespace sluice::exec {
namespace {

struct Pair {
  MessageSocket left, right;
  explicit Pair(MessageSocket::Sending sending) : Pair(ends(), sending) {}

 private:
  static std::pair<int, int> ends() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    return {fds[0], fds[1]};
  }
  Pair(std::pair<int, int> fds, MessageSocket::Sending sending)
      : left(UniqueFd(fds.first), sending), right(UniqueFd(fds.second)) {}
};

std::vector<UniqueFd> make_files(std::size_t count) {
  std::vector<UniqueFd> files;
  for (std::size_t i = 0; i < count; ++i) files.emplace_back(::memfd_create("numbered", MFD_CLOEXEC));
  for (std::size_t i = 0; i < count; ++i) (void)!::ftruncate(files[i].get(), static_cast<off_t>(i));
  return files;
}

std::vector<int> numbers(const std::vector<UniqueFd>& files) {
  std::vector<int> result;
  for (const UniqueFd& file : files) result.push_back(file.get());
  return result;
}

off_t size_of(const UniqueFd& file) {
  struct stat status {};
  return ::fstat(file.get(), &status) == 0 ? status.st_size : -1;
}

std::string survey_request() { return encode(OwnerMessage(RequestSurvey{})); }

std::size_t messages_in(MessageSocket& socket, MessageReader<OwnerMessage>& reader) {
  std::size_t count = 0;
  while (true) {
    auto message = socket.next(reader);
    EXPECT_TRUE(message.has_value());
    if (!message || !message->has_value()) return count;
    ++count;
  }
}

// unix(7): bytes that were sent before the ones that descriptors go with are received together with them.
TEST(MessageSocket, KeepsFramesApartFromDescriptorsBehindThem) {
  Pair pair(MessageSocket::Sending::queues);
  auto files = make_files(3);
  auto all = numbers(files);
  EXPECT_TRUE(pair.left.send(survey_request()));
  EXPECT_TRUE(pair.left.send_with(survey_request(), std::span(all).first(1)).has_value());
  EXPECT_TRUE(pair.left.send(survey_request()));
  EXPECT_TRUE(pair.left.send_with(survey_request(), std::span(all).subspan(1)).has_value());
  MessageReader<OwnerMessage> reader;
  EXPECT_TRUE(pair.right.receive());
  EXPECT_EQ(messages_in(pair.right, reader), 4u);
  for (off_t i = 0; i < 3; ++i) EXPECT_EQ(size_of(pair.right.take_descriptor()), i);
  EXPECT_FALSE(pair.right.take_descriptor());
}

TEST(MessageSocket, PassesMoreDescriptorsThanOneMessageHolds) {
  Pair pair(MessageSocket::Sending::queues);
  auto files = make_files(450);
  EXPECT_TRUE(pair.left.send_with(survey_request(), numbers(files)).has_value());
  MessageReader<OwnerMessage> reader;
  EXPECT_TRUE(pair.right.receive());
  EXPECT_EQ(messages_in(pair.right, reader), 1u);
  for (off_t i = 0; i < 450; ++i) ASSERT_EQ(size_of(pair.right.take_descriptor()), i);
}

TEST(MessageSocket, QueuesWhatThePeerDoesNotTake) {
  Pair pair(MessageSocket::Sending::queues);
  std::string large = encode(OwnerMessage(Launch{.environment = {std::string(2 << 20, 'x')}}));
  auto files = make_files(2);
  EXPECT_TRUE(pair.left.send_with(large, std::span<const int>()).has_value());
  EXPECT_GT(pair.left.unsent_bytes(), 0u);
  EXPECT_TRUE(pair.left.send_with(survey_request(), numbers(files)).has_value());
  files.clear();  // what waits has copies of its own
  MessageReader<OwnerMessage> reader;
  std::size_t received = 0;
  for (int i = 0; i < 1000 && received < 2; ++i) {
    EXPECT_TRUE(pair.left.flush());
    EXPECT_TRUE(pair.right.receive());
    received += messages_in(pair.right, reader);
  }
  EXPECT_EQ(received, 2u);
  EXPECT_EQ(pair.left.unsent_bytes(), 0u);
  EXPECT_EQ(size_of(pair.right.take_descriptor()), 0);
  EXPECT_EQ(size_of(pair.right.take_descriptor()), 1);
}

TEST(MessageSocket, GivesNoDescriptorWhenSomeWereLost) {
  Pair pair(MessageSocket::Sending::queues);
  auto files = make_files(8);
  EXPECT_TRUE(pair.left.send_with(survey_request(), numbers(files)).has_value());
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(files.back().get()) + 3;  // two of the eight fit
  ::setrlimit(RLIMIT_NOFILE, &few);
  EXPECT_TRUE(pair.right.receive());
  ::setrlimit(RLIMIT_NOFILE, &before);
  MessageReader<OwnerMessage> reader;
  EXPECT_EQ(messages_in(pair.right, reader), 1u);
  EXPECT_FALSE(pair.right.take_descriptor()) << "nobody knows which ones are missing";
  pair.right.drop_descriptors();
  EXPECT_TRUE(pair.left.send_with(survey_request(), numbers(files)).has_value());
  EXPECT_TRUE(pair.right.receive());
  EXPECT_TRUE(pair.right.take_descriptor());
}

TEST(MessageSocket, SaysThatThePeerIsGoneAfterItsLastWords) {
  Pair pair(MessageSocket::Sending::queues);
  EXPECT_TRUE(pair.left.send(survey_request()));
  pair.left = MessageSocket(UniqueFd());
  MessageReader<OwnerMessage> reader;
  (void)pair.right.receive();
  EXPECT_EQ(messages_in(pair.right, reader), 1u);
  EXPECT_FALSE(pair.right.receive());
  EXPECT_FALSE(pair.right.send(survey_request()));
}

}  // namespace
}  // namespace sluice::exec
