// The program that the conformance suite of record links drives (../README.md), made of the shells that Sluice itself
// uses: RecordSupply and RecordIntake over Unix sockets, with first frames before them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <istream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "link/data_loops.h"
#include "link/link_claim.h"
#include "link/record_descriptors.h"
#include "link/record_intake.h"
#include "link/record_supply.h"
#include "net/first_frame.h"
#include "net/listener.h"

namespace sluice::link {
namespace {

namespace asio = net::asio;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// A line on stdout, seen at once.
void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

int say_end(bool is_good, const std::string& why) {
  say(is_good ? "ended" : "failed " + why);
  return is_good ? 0 : 1;
}

void stop_at_exception(std::exception_ptr failure) {
  if (failure) std::rethrow_exception(failure);  // out of run(): nothing here is expected to throw
}

/// CRC-32 as in ISO 3309, which Python's zlib.crc32 computes.
std::uint32_t crc32(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made;
    for (std::uint32_t i = 0; i < made.size(); ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = made[i] >> 1 ^ ((made[i] & 1) != 0 ? 0xedb88320u : 0);
    }
    return made;
  }();
  std::uint32_t sum = ~0u;
  for (char c : bytes) sum = sum >> 8 ^ table[(sum ^ static_cast<std::uint8_t>(c)) & 0xff];
  return ~sum;
}

struct Arguments {
  std::string socket;
  std::vector<LinkId> links;
  LinkToken token{};
  std::uint32_t generation = 1;
  bool lines = false;
};

template <class Bytes>
void read_hex(std::string_view text, Bytes& into) {
  for (std::size_t i = 0; i < into.size() && 2 * i + 2 <= text.size(); ++i)
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, into[i], 16);
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments{.socket = words.at(2)};
  for (std::size_t i = 3; i < words.size(); ++i) {
    if (words[i] == "--lines") arguments.lines = true;
    if (words[i] == "--token") read_hex(words.at(++i), arguments.token);
    if (words[i] == "--generation") arguments.generation = static_cast<std::uint32_t>(std::stoul(words.at(++i)));
    if (words[i] == "--link") read_hex(words.at(++i), arguments.links.emplace_back().bytes);
  }
  return arguments;
}

// --- a consumer ---------------------------------------------------------------------------------------------------

/// Prints what comes, and settles what it is told to.
class PrintingSink final : public RecordSink {
 public:
  struct State {
    std::mutex mutex;  // guards all of it
    std::deque<Settled> settled;
    std::map<DeliveryNumber, bool> in_hand;  // whether it was sent back
    bool automatic = false;
    std::optional<LoopWaker> waker;

    void settle(DeliveryRange range) {
      in_hand.erase(in_hand.lower_bound(range.first), in_hand.upper_bound(range.last));
      settled.emplace_back(range);
    }
    void settle_all() {
      std::vector<DeliveryNumber> left;
      for (const auto& [delivery, rejected] : in_hand)
        if (!rejected) left.push_back(delivery);
      for (DeliveryNumber delivery : left) settle({.first = delivery, .last = delivery});
    }
  };
  explicit PrintingSink(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::expected<void, Failure> open(const DataLoops::Seat&, LoopWaker waker) override {
    std::scoped_lock lock(state_->mutex);
    state_->waker = std::move(waker);
    return {};
  }
  std::optional<RecordConsumer::Limits> room() override { return RecordConsumer::Limits(); }
  void take(RecordDelivery delivery) override {
    std::scoped_lock lock(state_->mutex);
    DeliveryNumber number = delivery.first;
    for_each_record(delivery.batch, [&](RecordId id, std::string_view record) {
      say(fmt::format("record {} {} {} {} {:08x}", number, id, delivery.batch.attempt(), record.size(), crc32(record)));
      state_->in_hand.emplace(number++, false);
    });
    if (state_->automatic) state_->settle_all();
  }
  std::optional<Settled> poll_settled() override {
    std::scoped_lock lock(state_->mutex);
    if (state_->settled.empty()) return std::nullopt;
    Settled next = std::move(state_->settled.front());
    state_->settled.pop_front();
    return next;
  }

 private:
  std::shared_ptr<State> state_;  // with the reader of commands
};

class ConsumerProgram final {
 public:
  explicit ConsumerProgram(Arguments arguments) : arguments_(std::move(arguments)) {}
  ~ConsumerProgram() { loops_.close(); }

  int run() {
    RecordIntakeOptions options{.owner = context_.get_executor()};
    RecordIntakeCallbacks callbacks;
    callbacks.dial = [this](std::uint32_t attempt, TimePoint deadline, auto answer) {
      asio::co_spawn(context_, dial(attempt, deadline, std::move(answer)), stop_at_exception);
    };
    callbacks.on_end = [this](RecordIntakeEnd end) {
      status_ = say_end(end.kind == RecordIntakeEnd::Kind::ended, end.message);
      context_.stop();
    };
    intake_.emplace(start_intake(loops_, std::make_unique<PrintingSink>(state_), options, std::move(callbacks)));
    asio::co_spawn(context_, obey(), stop_at_exception);
    auto work = asio::make_work_guard(context_);
    context_.run();
    return status_;
  }

 private:
  net::Awaitable<void> dial(std::uint32_t attempt, TimePoint deadline,
                            std::move_only_function<void(RecordDialled)> answer) {
    auto failed = [](std::string why, bool for_good) {
      return std::unexpected(RecordDialFailure{.why = std::move(why), .for_good = for_good});
    };
    auto connection = co_await net::dial_local(arguments_.socket, deadline);
    if (!connection) co_return answer(failed(connection.error().message, false));
    LinkClaim claim{.link = arguments_.links.at(0),
                    .generation = arguments_.generation,
                    .attempt = attempt,
                    .token = arguments_.token,
                    .side = Side::consumer};
    std::string frame = net::encode(net::FirstFrame{.use = net::Use::records, .body = encode(claim)});
    auto written = co_await (*connection)->write(bytes_of(frame));
    if (!written) co_return answer(failed(written.error().message, false));
    std::string received;
    std::array<std::byte, 4096> buffer;
    while (true) {
      auto got = co_await (*connection)->read_some(buffer);
      if (!got) co_return answer(failed(got.error().message, false));
      received.append(reinterpret_cast<const char*>(buffer.data()), *got);
      auto first = net::decode_first_answer(received);
      if (!first) co_return answer(failed(first.error(), true));
      if (!*first) continue;
      if ((*first)->frame.status != net::FirstStatus::accepted) co_return answer(failed((*first)->frame.message, true));
      (*connection)->unread(bytes_of(std::string_view(received).substr((*first)->taken)));
      co_return answer((*connection)->release());
    }
  }

  net::Awaitable<void> obey() {
    asio::streambuf buffer;
    std::istream lines(&buffer);
    while (true) {
      boost::system::error_code error;
      co_await asio::async_read_until(commands_, buffer, '\n', asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      std::string line;
      std::getline(lines, line);
      obey(line);
    }
  }

  void obey(const std::string& line) {
    auto [verb, rest] = split(line);
    if (verb == "pause") return intake_->pause();
    if (verb == "resume") return intake_->resume();
    if (verb == "drain") return intake_->drain();
    if (verb == "cancel") return intake_->cancel(rest);
    std::scoped_lock lock(state_->mutex);
    if (verb == "auto") {
      state_->automatic = true;
      state_->settle_all();
    } else {
      auto [first, behind] = split(rest);
      DeliveryNumber delivery = std::stoull(first);
      if (verb == "settle") state_->settle({.first = delivery, .last = std::stoull(behind)});
      if (verb == "reject") reject(delivery, behind);
    }
    state_->waker->wake();
  }

  void reject(DeliveryNumber delivery, const std::string& cause_and_reason) {
    auto [cause, reason] = split(cause_and_reason);
    RecordNack nack{.delivery = delivery, .cause = NackCause::failed, .reason = reason};
    if (cause == "lost") nack.cause = NackCause::lost;
    if (cause == "refused") nack.cause = NackCause::refused;
    state_->in_hand[delivery] = true;
    state_->settled.emplace_back(std::move(nack));
  }

  static std::pair<std::string, std::string> split(const std::string& text) {
    std::size_t space = text.find(' ');
    if (space == std::string::npos) return {text, {}};
    return {text.substr(0, space), text.substr(space + 1)};
  }

  Arguments arguments_;
  asio::io_context context_{1};
  DataLoops loops_;
  std::shared_ptr<PrintingSink::State> state_ = std::make_shared<PrintingSink::State>();
  asio::posix::stream_descriptor commands_{context_, STDIN_FILENO};
  std::optional<RecordIntake> intake_;
  int status_ = 1;
};

// --- a producer ---------------------------------------------------------------------------------------------------

class ProducerProgram final {
 public:
  explicit ProducerProgram(Arguments arguments) : arguments_(std::move(arguments)) {}
  ~ProducerProgram() { loops_.close(); }

  int run() {
    auto listener = net::Listener::open_local(
        context_.get_executor(), arguments_.socket,
        [this](std::unique_ptr<net::Connection> connection) {
          asio::co_spawn(context_, serve(std::move(connection)), stop_at_exception);
        },
        log_);
    if (!listener) return say_end(false, listener.error().message);
    RecordSupplyOptions options{.owner = context_.get_executor(), .consumers = arguments_.links.size()};
    RecordSupplyCallbacks callbacks;
    callbacks.on_event = [this](RecordSupplyEvent event) {
      auto* rejected = std::get_if<RecordRejected>(&event);
      if (rejected == nullptr) return;
      rejected->cause == NackCause::refused ? supply_->bury(std::move(rejected->record))
                                            : supply_->retry(std::move(rejected->record));
    };
    callbacks.on_end = [this](RecordSupplyEnd end) {
      status_ = say_end(end.kind == RecordSupplyEnd::Kind::ended, end.message);
      context_.stop();
    };
    RecordCutter::Options cut{.framing = arguments_.lines ? RecordFraming::lines : RecordFraming::len};
    auto source = std::make_unique<DescriptorSource>(UniqueFd(STDIN_FILENO), cut, true);
    supply_.emplace(start_supply(loops_, std::move(source), options, std::move(callbacks)));
    terminated_.async_wait([this](boost::system::error_code error, int) {
      if (!error) supply_->cancel("terminated");
    });
    auto work = asio::make_work_guard(context_);
    context_.run();
    return status_;
  }

 private:
  struct Known {
    std::uint32_t generation = 0, attempt = 0;
  };

  net::Awaitable<void> serve(std::unique_ptr<net::Connection> connection) {
    std::string received;
    std::array<std::byte, 4096> buffer;
    while (true) {
      auto got = co_await connection->read_some(buffer);
      if (!got) co_return;
      received.append(reinterpret_cast<const char*>(buffer.data()), *got);
      auto first = net::decode_first_frame(received);
      if (!first) co_return;
      if (!*first) continue;
      LinkClaim claim;
      net::FirstAnswer answer = judge((*first)->frame, claim);
      std::string frame = net::encode(answer);
      auto written = co_await connection->write(bytes_of(frame));
      if (!written || answer.status != net::FirstStatus::accepted) co_return;
      connection->unread(bytes_of(std::string_view(received).substr((*first)->taken)));
      supply_->connect(number_of(claim.link), claim.generation, connection->release());
      co_return;
    }
  }

  net::FirstAnswer judge(const net::FirstFrame& frame, LinkClaim& claim) {
    net::FirstAnswer answer = net::answer_to(frame);
    if (answer.status != net::FirstStatus::accepted) return answer;
    auto refusal = [](std::string why) {
      return net::FirstAnswer{.status = net::FirstStatus::refused, .message = std::move(why)};
    };
    if (frame.use != net::Use::records) return refusal("this is the end of a record link");
    auto decoded = decode_link_claim(frame.body);
    if (!decoded) return refusal(decoded.error());
    claim = *decoded;
    if (number_of(claim.link) == arguments_.links.size() || !same_token(claim.token, arguments_.token) ||
        claim.side != Side::consumer)
      return refusal("no such link");
    // Which generations are over the supply knows itself.
    Known& known = known_[claim.link];
    if (claim.generation == known.generation && claim.attempt <= known.attempt) return refusal("an earlier attempt");
    if (claim.generation >= known.generation) known = {.generation = claim.generation, .attempt = claim.attempt};
    return answer;
  }

  ConsumerNumber number_of(const LinkId& link) const {
    auto place = std::ranges::find(arguments_.links, link);
    return static_cast<ConsumerNumber>(place - arguments_.links.begin());
  }

  Arguments arguments_;
  asio::io_context context_{1};
  Logger log_{{.level = LogLevel::warn}};
  DataLoops loops_;
  asio::signal_set terminated_{context_, SIGTERM};
  std::map<LinkId, Known> known_;
  std::optional<RecordSupply> supply_;
  int status_ = 1;
};

}  // namespace
}  // namespace sluice::link

int main(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  if (words.size() < 3) {
    std::fputs("usage: record_client consume|produce SOCKET --link ID --token TOKEN ...\n", stderr);
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  auto arguments = sluice::link::parse(words);
  if (words[1] == "consume") return sluice::link::ConsumerProgram(std::move(arguments)).run();
  return sluice::link::ProducerProgram(std::move(arguments)).run();
}
