// Peers that break off, or lie: whatever does not end in good order is a cut.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <future>
#include <thread>

#include "link/byte_frames.h"
#include "link/byte_link.h"
#include "link/link_world_for_test.h"

namespace sluice::link {
namespace {

using Kind = LinkEnd::Kind;
using testing::HasSubstr;

std::string framed(std::string_view text) {
  auto header = data_header(text.size());
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + std::string(text);
}

/// The other side of a connection, played by the test: what it sends, byte for byte.
class Peer {
 public:
  explicit Peer(net::Connection::Parts parts) : parts_(std::move(parts)) {}

  void say(std::string_view bytes) {
    if (!parts_.tls) {
      write_all(parts_.socket.get(), bytes);
      return;
    }
    ASSERT_TRUE(parts_.tls->write(std::as_bytes(std::span(bytes))));
    auto cipher = parts_.tls->cipher();
    write_all(parts_.socket.get(), {reinterpret_cast<const char*>(cipher.data()), cipher.size()});
    parts_.tls->consume_cipher(cipher.size());
  }

  /// The next `size` plain bytes; fewer if the connection ends before.
  std::string hear(std::size_t size) {
    std::string heard;
    std::array<std::byte, 4096> buffer;
    while (heard.size() < size) {
      std::size_t room = std::min(buffer.size(), size - heard.size());
      ssize_t got = 0;
      if (parts_.tls) {
        auto plain = parts_.tls->read(std::span(buffer).first(room));
        if (plain && *plain > 0) {
          heard.append(reinterpret_cast<const char*>(buffer.data()), *plain);
          continue;
        }
        got = ::recv(parts_.socket.get(), buffer.data(), buffer.size(), 0);
        bool taken =
            got <= 0 || parts_.tls->on_cipher(std::span(buffer).first(static_cast<std::size_t>(got))).has_value();
        EXPECT_TRUE(taken);
      } else {
        got = ::recv(parts_.socket.get(), buffer.data(), room, 0);
        if (got > 0) heard.append(reinterpret_cast<const char*>(buffer.data()), static_cast<std::size_t>(got));
      }
      if (got <= 0) break;
    }
    return heard;
  }

  void close() { parts_.socket.reset(); }
  void shut() { ::shutdown(parts_.socket.get(), SHUT_WR); }
  void reset() {
    linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(parts_.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }

 private:
  net::Connection::Parts parts_;
};

class ByteLinkCutOver : public testing::TestWithParam<Wire> {
 protected:
  ByteLinkCutOver() : peer(std::move(wired.one)) {}

  void again() {
    wired = connect(GetParam());
    peer = Peer(std::move(wired.one));
    pipe = make_pipe();
    end.reset();
  }
  ByteLink start_sink_here() {
    return start_sink(loops, std::move(wired.other), std::move(pipe.write_end), owner.options(), owner.report_to(end));
  }
  ByteLink start_source_here() {
    return start_source(loops, std::move(pipe.read_end), std::move(wired.other), owner.options(), owner.report_to(end));
  }

  Owner owner;
  DataLoops loops;
  Wired wired = connect(GetParam());
  Peer peer;
  PipeEnds pipe = make_pipe();
  std::optional<LinkEnd> end;
};

INSTANTIATE_TEST_SUITE_P(Wires, ByteLinkCutOver, testing::Values(Wire::tcp, Wire::local, Wire::tls),
                         [](const auto& param) { return to_text(param.param); });

TEST_P(ByteLinkCutOver, ACutAfterAnyByteIsNoEndOfFile) {
  std::string whole = framed("abc") + framed("defg") + encode(ByteEnd{.length = 7, .checksum = {}});
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    SCOPED_TRACE(size);
    again();
    auto sink = start_sink_here();
    peer.say(whole.substr(0, size));
    peer.shut();
    bool complete = size == whole.size();
    EXPECT_EQ(owner.await(end).kind, complete ? Kind::ended : Kind::cut) << end->message;
    EXPECT_TRUE(std::string_view("abcdefg").starts_with(read_all(pipe.read_end.get(), end->bytes)));
    pollfd reader{.fd = pipe.read_end.get(), .events = POLLIN, .revents = 0};
    bool open = complete || ::poll(&reader, 1, 0) == 0;
    EXPECT_TRUE(open) << "the reader's stdin stays open until its owner has let go";
    sink.release();
    EXPECT_EQ(read_all(pipe.read_end.get()), "");
  }
}

TEST_P(ByteLinkCutOver, TheCutIsReportedWhileTheDescriptorIsOpen) {
  auto sink = start_sink(loops, std::move(wired.other), std::move(pipe.write_end), owner.options(), [&](LinkEnd how) {
    pollfd reader{.fd = pipe.read_end.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&reader, 1, 0), 0);
    end = std::move(how);
  });
  peer.reset();
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
}

TEST_P(ByteLinkCutOver, AGoodEndIsReportedBeforeTheReaderSeesIt) {
  auto sink = start_sink(loops, std::move(wired.other), std::move(pipe.write_end), owner.options(), [&](LinkEnd how) {
    pollfd reader{.fd = pipe.read_end.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&reader, 1, 0), 0);
    end = std::move(how);
  });
  peer.say(encode(ByteEnd{.length = 0, .checksum = {}}));
  EXPECT_EQ(owner.await(end).kind, Kind::ended);
  EXPECT_EQ(read_all(pipe.read_end.get()), "");
  EXPECT_EQ(peer.hear(12), encode(ByteDone{.length = 0}));
}

TEST_P(ByteLinkCutOver, ALyingEndIsACutThatSaysWhy) {
  auto sink = start_sink_here();
  peer.say(framed("abc") + encode(ByteEnd{.length = 4, .checksum = {}}));
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
  EXPECT_THAT(end->message, HasSubstr("after 4 bytes, but 3 came"));
  again();
  UniqueFd null(
      ::open("/dev/null", O_WRONLY | O_CLOEXEC));  // nothing is spliced there, so the checksum can be compared
  auto other = start_sink(loops, std::move(wired.other), std::move(null), owner.options(), owner.report_to(end));
  peer.say(framed("abc") + encode(ByteEnd{.length = 3, .checksum = 1}));
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
  EXPECT_THAT(end->message, HasSubstr("checksum"));
}

TEST_P(ByteLinkCutOver, WhatIsNoFrameIsACutThatSaysWhy) {
  auto sink = start_sink_here();
  peer.say("GET / HTTP/1.1\r\n");
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
  EXPECT_THAT(end->message, HasSubstr("broke the protocol"));
  again();
  auto source = start_source_here();
  peer.say("GET / HTTP/1.1\r\n");
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
  EXPECT_THAT(end->message, HasSubstr("broke the protocol"));
}

TEST_P(ByteLinkCutOver, ASourceWhoseConsumerGoesAwayIsCut) {
  auto source = start_source_here();
  ASSERT_TRUE(write_all(pipe.write_end.get(), "abc"));
  EXPECT_EQ(peer.hear(7), framed("abc"));
  peer.close();
  EXPECT_EQ(owner.await(end).kind, Kind::cut) << "also while nothing is sent";
  pollfd writer{.fd = pipe.write_end.get(), .events = 0, .revents = 0};
  EXPECT_EQ(::poll(&writer, 1, 0), 0) << "the writer is not told by SIGPIPE that all is well";
  source.release();
  EXPECT_TRUE(happens(pipe.write_end.get(), 0));
}

TEST_P(ByteLinkCutOver, AnEndThatIsNotConfirmedIsACut) {
  auto source = start_source_here();
  pipe.write_end.reset();
  EXPECT_EQ(peer.hear(21).size(), 21u);
  EXPECT_FALSE(end.has_value());
  peer.close();
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
}

TEST_P(ByteLinkCutOver, AnEndConfirmedWithAnotherLengthIsACut) {
  auto source = start_source_here();
  pipe.write_end.reset();
  peer.say(encode(ByteDone{.length = 1}));
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
}

TEST_P(ByteLinkCutOver, AWordBeforeTheCloseCountsMoreThanTheClose) {
  for (bool hard : {false, true}) {
    again();
    auto source = start_source_here();
    ASSERT_TRUE(write_all(pipe.write_end.get(), "abc"));
    EXPECT_EQ(peer.hear(7).size(), 7u);
    peer.say(encode(ByteClose{}));
    hard ? peer.shut() : peer.close();
    EXPECT_EQ(owner.await(end).kind, Kind::reader_closed) << end->message;
  }
}

TEST_P(ByteLinkCutOver, TheReadersCloseIsSaidInAFrame) {
  auto sink = start_sink_here();
  pipe.read_end.reset();
  EXPECT_EQ(peer.hear(4), encode(ByteClose{}));
  EXPECT_EQ(owner.await(end).kind, Kind::reader_closed);
}

TEST_P(ByteLinkCutOver, AResetIsNoticedBehindAStoppedReader) {
  if (GetParam() == Wire::local) GTEST_SKIP() << "what was written to a local socket can still be read";
  auto sink = start_sink_here();
  std::string block = framed(std::string(65536, 'x'));
  // The pipe is full, and bytes wait in the connection behind it.
  for (int i = 0; i < 8; ++i) peer.say(block);
  owner.run_until([&] { return sink.moved() >= 65536; });
  peer.reset();
  EXPECT_EQ(owner.await(end).kind, Kind::cut);
}

// ---- a node between ---------------------------------------------------------------------------------------------

class ByteRelayOver : public testing::TestWithParam<Wire> {
 protected:
  Owner owner;
  DataLoops loops;
  Wired first = connect(GetParam());
  Wired second = connect(GetParam() == Wire::local ? Wire::tls : GetParam());
  PipeEnds up = make_pipe();
  PipeEnds down = make_pipe();
  std::optional<LinkEnd> source_end, sink_end, relay_end;

  ByteLink start_source_here() {
    return start_source(loops, std::move(up.read_end), std::move(first.one), owner.options(),
                        owner.report_to(source_end));
  }
  ByteLink start_sink_here() {
    return start_sink(loops, std::move(second.other), std::move(down.write_end), owner.options(),
                      owner.report_to(sink_end));
  }
  ByteLink start_relay_here() {
    return start_relay(loops, std::move(first.other), std::move(second.one), owner.options(),
                       owner.report_to(relay_end));
  }
  void await_all() {
    owner.run_until([&] { return source_end && sink_end && relay_end; });
  }
};

INSTANTIATE_TEST_SUITE_P(Wires, ByteRelayOver, testing::Values(Wire::tcp, Wire::local, Wire::tls),
                         [](const auto& param) { return to_text(param.param); });

TEST_P(ByteRelayOver, PassesAStreamOn) {
  auto source = start_source_here();
  auto relay = start_relay_here();
  auto sink = start_sink_here();
  std::string text = random_text(5'000'000, 5);
  std::thread writer([&] {
    write_all(up.write_end.get(), text);
    up.write_end.reset();
  });
  auto came = std::async(std::launch::async, [&] { return read_all(down.read_end.get()); });
  await_all();
  writer.join();
  EXPECT_TRUE(came.get() == text);
  EXPECT_EQ(source_end->kind, Kind::ended) << source_end->message;
  EXPECT_EQ(sink_end->kind, Kind::ended) << sink_end->message;
  EXPECT_EQ(relay_end->kind, Kind::ended) << relay_end->message;
  EXPECT_EQ(relay_end->bytes, text.size());
}

TEST_P(ByteRelayOver, PassesAReadersCloseUp) {
  auto source = start_source_here();
  auto relay = start_relay_here();
  auto sink = start_sink_here();
  down.read_end.reset();
  await_all();
  EXPECT_EQ(source_end->kind, Kind::reader_closed);
  EXPECT_EQ(relay_end->kind, Kind::reader_closed);
}

TEST_P(ByteRelayOver, PassesAbortsOn) {
  auto source = start_source_here();
  auto relay = start_relay_here();
  auto sink = start_sink_here();
  source.cancel("tap broken");
  await_all();
  EXPECT_EQ(relay_end->kind, Kind::aborted);
  EXPECT_EQ(sink_end->kind, Kind::aborted);
  EXPECT_EQ(sink_end->message, "tap broken");
}

TEST_P(ByteRelayOver, ACutOnOneSideIsACutOnTheOther) {
  auto relay = start_relay_here();
  auto sink = start_sink_here();
  Peer producer(std::move(first.one));
  producer.say(framed("abc"));
  EXPECT_EQ(read_all(down.read_end.get(), 3), "abc");
  producer.close();
  owner.run_until([&] { return sink_end && relay_end; });
  EXPECT_EQ(relay_end->kind, Kind::cut);
  EXPECT_EQ(sink_end->kind, Kind::cut);
}

TEST_P(ByteRelayOver, AConsumerThatGoesAwayCutsTheProducer) {
  auto source = start_source_here();
  auto relay = start_relay_here();
  Peer consumer(std::move(second.other));
  ASSERT_TRUE(write_all(up.write_end.get(), "abc"));
  EXPECT_EQ(consumer.hear(7), framed("abc"));
  consumer.close();
  owner.run_until([&] { return source_end && relay_end; });
  EXPECT_EQ(relay_end->kind, Kind::cut);
  EXPECT_EQ(source_end->kind, Kind::cut);
}

TEST_P(ByteRelayOver, ACancelledRelayIsACutForBoth) {
  auto source = start_source_here();
  auto relay = start_relay_here();
  auto sink = start_sink_here();
  relay.cancel("the node drains");
  await_all();
  EXPECT_EQ(relay_end->kind, Kind::cancelled);
  EXPECT_EQ(source_end->kind, Kind::cut);
  EXPECT_EQ(sink_end->kind, Kind::cut);
}

}  // namespace
}  // namespace sluice::link
