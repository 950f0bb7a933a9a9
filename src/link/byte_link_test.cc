#include "link/byte_link.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <future>
#include <thread>

#include "base/random.h"
#include "link/byte_frames.h"
#include "link/link_world_for_test.h"

namespace sluice::link {
namespace {

using Kind = LinkEnd::Kind;
using testing::HasSubstr;

// A source and a sink on one connection, a pipe before and a pipe behind them.
class ByteLinkOver : public testing::TestWithParam<Wire> {
 protected:
  ByteLink start_source_here() {
    return start_source(loops, std::move(up.read_end), std::move(wired.one), owner.options(),
                        owner.report_to(source_end));
  }
  ByteLink start_sink_here() {
    return start_sink(loops, std::move(wired.other), std::move(down.write_end), owner.options(),
                      owner.report_to(sink_end));
  }
  void await_both() {
    owner.run_until([&] { return source_end && sink_end; });
  }

  Owner owner;
  DataLoops loops;
  Wired wired = connect(GetParam());
  PipeEnds up = make_pipe();
  PipeEnds down = make_pipe();
  std::optional<LinkEnd> source_end;
  std::optional<LinkEnd> sink_end;
};

INSTANTIATE_TEST_SUITE_P(Wires, ByteLinkOver, testing::Values(Wire::tcp, Wire::local, Wire::tls),
                         [](const auto& param) { return to_text(param.param); });

// Writes `text` in pieces of random sizes and closes.
void feed(UniqueFd into, std::string_view text, std::uint64_t seed) {
  SeededRandom random(seed);
  while (!text.empty()) {
    std::size_t size = std::min<std::size_t>(text.size(), 1 + random.below(random.below(3) == 0 ? 10 : 200'000));
    if (!write_all(into.get(), text.substr(0, size))) return;
    text.remove_prefix(size);
  }
}

TEST_P(ByteLinkOver, CarriesEveryStreamExactly) {
  const std::size_t sizes[] = {0, 1, 4095, 65536, kBatchSize - 5, kBatchSize - 4, kBatchSize, 1'000'003, 20'000'000};
  for (std::size_t size : sizes) {
    SCOPED_TRACE(size);
    wired = connect(GetParam());
    up = make_pipe();
    down = make_pipe();
    source_end = sink_end = std::nullopt;
    std::string text = random_text(size, size);
    auto source = start_source_here();
    auto sink = start_sink_here();
    std::thread writer([&] { feed(std::move(up.write_end), text, size); });
    auto came = std::async(std::launch::async, [&] { return read_all(down.read_end.get()); });
    await_both();
    writer.join();
    EXPECT_TRUE(came.get() == text);
    EXPECT_EQ(source_end->kind, Kind::ended) << source_end->message;
    EXPECT_EQ(sink_end->kind, Kind::ended) << sink_end->message;
    EXPECT_EQ(source.moved(), size);
    EXPECT_EQ(sink_end->bytes, size);
  }
}

TEST_P(ByteLinkOver, EitherEndMayHaveDialled) {
  std::swap(wired.one, wired.other);
  auto source = start_source_here();
  auto sink = start_sink_here();
  ASSERT_TRUE(write_all(up.write_end.get(), "hello"));
  up.write_end.reset();
  await_both();
  EXPECT_EQ(read_all(down.read_end.get()), "hello");
}

TEST_P(ByteLinkOver, BytesGoOutBeforeTheEnd) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  for (std::string word : {"one", "two", "three"}) {
    ASSERT_TRUE(write_all(up.write_end.get(), word));
    EXPECT_EQ(read_all(down.read_end.get(), word.size()), word);
  }
  owner.run_until([&] { return source.moved() == 11; });
}

TEST_P(ByteLinkOver, AReadersCloseGoesUpWhileNothingFlows) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  down.read_end.reset();
  await_both();
  EXPECT_EQ(sink_end->kind, Kind::reader_closed);
  EXPECT_EQ(source_end->kind, Kind::reader_closed);
  EXPECT_TRUE(happens(up.write_end.get(), 0)) << "the program that writes has no reader any more";
  EXPECT_FALSE(write_all(up.write_end.get(), "x"));
}

TEST_P(ByteLinkOver, AReadersCloseGoesUpWhileMuchFlows) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  std::thread writer([&] {
    std::string block(100'000, 'y');
    while (write_all(up.write_end.get(), block)) {
    }
  });
  EXPECT_EQ(read_all(down.read_end.get(), 3'000'000).size(), 3'000'000u);
  down.read_end.reset();
  await_both();
  writer.join();
  EXPECT_EQ(sink_end->kind, Kind::reader_closed) << sink_end->message;
  EXPECT_EQ(source_end->kind, Kind::reader_closed) << source_end->message;
}

TEST_P(ByteLinkOver, AReaderThatIsGoneFromTheStartIsNoticed) {
  down.read_end.reset();
  auto source = start_source_here();
  auto sink = start_sink(loops, std::move(wired.other), std::move(down.write_end), owner.options(false),
                         owner.report_to(sink_end));
  await_both();
  EXPECT_EQ(sink_end->kind, Kind::reader_closed);
  EXPECT_EQ(source_end->kind, Kind::reader_closed);
}

TEST_P(ByteLinkOver, AStoppedReaderStopsTheWriterWithBoundedMemory) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  ASSERT_EQ(::fcntl(up.write_end.get(), F_SETFL, O_NONBLOCK), 0);
  std::string block = random_text(65536, 1);
  std::string sent;
  pollfd room{.fd = up.write_end.get(), .events = POLLOUT, .revents = 0};
  while (::poll(&room, 1, 500) > 0) {  // what the kernel has room for, and not more
    ssize_t put = ::write(up.write_end.get(), block.data(), block.size());
    if (put > 0) sent.append(block, 0, static_cast<std::size_t>(put));
    ASSERT_LT(sent.size(), std::size_t{100} << 20);
  }
  up.write_end.reset();
  auto came = std::async(std::launch::async, [&] { return read_all(down.read_end.get()); });
  await_both();
  EXPECT_TRUE(came.get() == sent) << "and everything arrives when it reads again";
  EXPECT_EQ(source_end->kind, Kind::ended);
}

TEST_P(ByteLinkOver, ACancelledSourceIsAnAbortAndNoEndOfFile) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  ASSERT_TRUE(write_all(up.write_end.get(), "half"));
  EXPECT_EQ(read_all(down.read_end.get(), 4), "half");
  source.cancel("the stage on db1 failed");
  await_both();
  EXPECT_EQ(source_end->kind, Kind::cancelled);
  EXPECT_EQ(sink_end->kind, Kind::aborted);
  EXPECT_EQ(sink_end->message, "the stage on db1 failed");
  pollfd reader{.fd = down.read_end.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&reader, 1, 0), 0) << "its stdin is open still";
  sink.release();
  EXPECT_EQ(read_all(down.read_end.get()), "");
}

TEST_P(ByteLinkOver, ACancelledSinkIsAnAbortForTheSource) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  sink.cancel("stopped by the user");
  await_both();
  EXPECT_EQ(sink_end->kind, Kind::cancelled);
  EXPECT_EQ(source_end->kind, Kind::aborted);
  EXPECT_EQ(source_end->message, "stopped by the user");
  pollfd writer{.fd = up.write_end.get(), .events = 0, .revents = 0};
  EXPECT_EQ(::poll(&writer, 1, 0), 0) << "whoever writes still has a reader, until the owner lets go";
  source.release();
  EXPECT_TRUE(happens(up.write_end.get(), 0));
}

TEST_P(ByteLinkOver, ADroppedHandleEndsTheLinkInSilence) {
  auto sink = start_sink_here();
  { auto source = start_source_here(); }
  EXPECT_EQ(owner.await(sink_end).kind, Kind::aborted);
  loops.close();
  owner.run_posted();
  EXPECT_FALSE(source_end.has_value());
}

TEST_P(ByteLinkOver, ClosingTheLoopsEndsEveryLink) {
  auto source = start_source_here();
  auto sink = start_sink_here();
  loops.close();
  await_both();
  EXPECT_TRUE(source_end->kind == Kind::cancelled || sink_end->kind == Kind::cancelled);
  EXPECT_NE(source_end->kind, Kind::ended);
  EXPECT_NE(sink_end->kind, Kind::ended);
}

TEST_P(ByteLinkOver, AReadErrorIsTold) {
  auto sink = start_sink_here();
  UniqueFd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto source =
      start_source(loops, std::move(folder), std::move(wired.one), owner.options(), owner.report_to(source_end));
  await_both();
  EXPECT_EQ(source_end->kind, Kind::failed_local);
  EXPECT_EQ(source_end->error_number, EISDIR);
  EXPECT_EQ(sink_end->kind, Kind::aborted);
  EXPECT_THAT(sink_end->message, HasSubstr("Is a directory"));
}

TEST_P(ByteLinkOver, AWriteErrorIsTold) {
  auto source = start_source_here();
  UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  auto sink =
      start_sink(loops, std::move(wired.other), std::move(full), owner.options(false), owner.report_to(sink_end));
  ASSERT_TRUE(write_all(up.write_end.get(), "x"));
  await_both();
  EXPECT_EQ(sink_end->kind, Kind::failed_local);
  EXPECT_EQ(sink_end->error_number, ENOSPC);
  EXPECT_EQ(source_end->kind, Kind::aborted);
  EXPECT_THAT(source_end->message, HasSubstr("No space left"));
}

TEST_P(ByteLinkOver, BytesThatCameWithTheFirstFrameAreNotLost) {
  std::string text = "came early";
  auto header = data_header(text.size());
  wired.other.unread.assign(header.begin(), header.end());
  for (char c : text.substr(0, 4)) wired.other.unread.push_back(static_cast<std::byte>(c));
  auto sink = start_sink_here();
  EXPECT_EQ(read_all(down.read_end.get(), 4), "came");
}

TEST_P(ByteLinkOver, ManyLinksAtOnceShareTheLoops) {
  struct One {
    PipeEnds up = make_pipe(), down = make_pipe();
    std::optional<LinkEnd> source_end, sink_end;
    std::vector<ByteLink> links;
  };
  std::vector<One> all(20);
  std::string text = random_text(300'000, 3);
  for (One& one : all) {
    Wired own = connect(GetParam());
    one.links.push_back(start_source(loops, std::move(one.up.read_end), std::move(own.one), owner.options(),
                                     owner.report_to(one.source_end)));
    one.links.push_back(start_sink(loops, std::move(own.other), std::move(one.down.write_end), owner.options(),
                                   owner.report_to(one.sink_end)));
  }
  std::vector<std::future<std::string>> results;
  std::vector<std::thread> writers;
  for (One& one : all) {
    writers.emplace_back([&] { feed(std::move(one.up.write_end), text, 1); });
    results.push_back(std::async(std::launch::async, [&] { return read_all(one.down.read_end.get()); }));
  }
  owner.run_until(
      [&] { return std::ranges::all_of(all, [](const One& one) { return one.sink_end && one.source_end; }); });
  for (auto& result : results) EXPECT_TRUE(result.get() == text);
  for (auto& writer : writers) writer.join();
}

TEST_P(ByteLinkOver, AThousandLinksLeaveNoDescriptor) {
  { auto warm = start_source_here(); }
  loops.close();
  DataLoops fresh;
  std::size_t before = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 10) before = open_descriptors();
    Wired own = connect(GetParam());
    PipeEnds own_up = make_pipe(), own_down = make_pipe();
    std::optional<LinkEnd> one_end, other_end;
    auto source =
        start_source(fresh, std::move(own_up.read_end), std::move(own.one), owner.options(), owner.report_to(one_end));
    auto sink = start_sink(fresh, std::move(own.other), std::move(own_down.write_end), owner.options(),
                           owner.report_to(other_end));
    // Every other link is left in the middle.
    if (i % 2 == 0) own_up.write_end.reset();
    if (i % 2 == 0) owner.run_until([&] { return one_end && other_end; });
    owner.run_posted();
  }
  fresh.close();
  owner.run_posted();
  EXPECT_LE(open_descriptors(), before) << "the loops' own are gone too";
}

}  // namespace
}  // namespace sluice::link
