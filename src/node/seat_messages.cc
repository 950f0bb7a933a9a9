#include "node/seat_messages.h"

#include <fmt/format.h>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::node {
namespace {

constexpr std::size_t kHeadSize = 5;

enum class Type : std::uint8_t {
  start = 1,
  input = 2,
  input_end = 3,
  signal = 4,
  taken = 16,
  output = 17,
  error = 18,
  ended = 19,
  failed = 20,
  output_end = 21,
  leaving = 22,
};

constexpr std::uint8_t kWhole = 1, kErrorWanted = 2, kDuplex = 4;

std::string message(Type type, WireWriter body) {
  REQUIRE(body.size() <= kSeatBodyMax);
  WireWriter whole;
  whole.put(static_cast<std::uint8_t>(type));
  whole.put_text<std::uint32_t>(body.bytes());
  return whole.take();
}

WireWriter body_of(exec::JobNumber job) {
  WireWriter body;
  body.put(job);
  return body;
}

std::string with_bytes(Type type, exec::JobNumber job, std::string_view bytes) {
  WireWriter body = body_of(job);
  body.put_raw(bytes);
  return message(type, std::move(body));
}

std::string encode_one(const SeatStart& start) {
  WireWriter body = body_of(start.job);
  body.put(start.worker);
  body.put(static_cast<std::uint8_t>((start.whole ? kWhole : 0) | (start.error_wanted ? kErrorWanted : 0) |
                                     (start.duplex ? kDuplex : 0)));
  body.put(static_cast<std::uint32_t>(start.arguments.size()));
  for (const std::string& argument : start.arguments) body.put_text<std::uint32_t>(argument);
  return message(Type::start, std::move(body));
}
std::string encode_one(const SeatInput& input) { return with_bytes(Type::input, input.job, input.bytes); }
std::string encode_one(const SeatInputEnd& end) { return message(Type::input_end, body_of(end.job)); }

std::string encode_one(const SeatSignal& signal) {
  WireWriter body = body_of(signal.job);
  body.put(signal.signal);
  return message(Type::signal, std::move(body));
}

std::string encode_one(const SeatTaken& taken) {
  WireWriter body = body_of(taken.job);
  body.put(taken.bytes);
  return message(Type::taken, std::move(body));
}
std::string encode_one(const SeatOutput& output) { return with_bytes(Type::output, output.job, output.bytes); }
std::string encode_one(const SeatOutputEnd& end) { return message(Type::output_end, body_of(end.job)); }
std::string encode_one(const SeatError& error) { return with_bytes(Type::error, error.job, error.bytes); }
std::string encode_one(const SeatEnded& ended) {
  WireWriter body = body_of(ended.how.job);
  body.put(static_cast<std::uint32_t>(ended.how.wait_status));
  for (std::uint64_t value : {ended.how.run_us, ended.how.user_us, ended.how.system_us, ended.how.peak_memory_bytes})
    body.put(value);
  return message(Type::ended, std::move(body));
}
std::string encode_one(const SeatFailed& failed) {
  WireWriter body = body_of(failed.how.job);
  body.put(static_cast<std::uint32_t>(failed.how.error));
  body.put_text<std::uint32_t>(failed.how.action);
  return message(Type::failed, std::move(body));
}
std::string encode_one(const SeatLeaving& leaving) { return message(Type::leaving, body_of(leaving.job)); }

// --- decoding -----------------------------------------------------------------------------------------------------

using Requests = std::optional<SeatRequest>;
using Replies = std::optional<SeatReply>;

// Each argument takes four bytes at least: no count makes us reserve more than was sent.
bool read_arguments(WireReader& body, std::vector<std::string>& arguments) {
  auto count = body.get<std::uint32_t>();
  if (count > body.left() / sizeof(std::uint32_t)) return false;
  for (std::uint32_t i = 0; i < count; ++i) arguments.emplace_back(body.get_text<std::uint32_t>());
  return true;
}

Requests decode_start(exec::JobNumber job, WireReader& body) {
  auto worker = body.get<std::uint32_t>();
  auto flags = body.get<std::uint8_t>();
  SeatStart start{.job = job,
                  .worker = worker,
                  .whole = (flags & kWhole) != 0,
                  .duplex = (flags & kDuplex) != 0,
                  .error_wanted = (flags & kErrorWanted) != 0};
  if ((flags & ~(kWhole | kErrorWanted | kDuplex)) != 0 || !read_arguments(body, start.arguments)) return std::nullopt;
  return start;
}

Requests decode(Type type, exec::JobNumber job, WireReader& body, Requests) {
  switch (type) {
    case Type::start:
      return decode_start(job, body);
    case Type::input:
      return SeatInput{.job = job, .bytes = std::string(body.get_raw(body.left()))};
    case Type::input_end:
      return SeatInputEnd{.job = job};
    case Type::signal:
      return SeatSignal{.job = job, .signal = body.get<std::uint32_t>()};
    default:
      return std::nullopt;
  }
}

Replies decode_ended(exec::JobNumber job, WireReader& body) {
  SeatEnded ended{.how = {.job = job, .wait_status = static_cast<std::int32_t>(body.get<std::uint32_t>())}};
  for (std::uint64_t* value :
       {&ended.how.run_us, &ended.how.user_us, &ended.how.system_us, &ended.how.peak_memory_bytes})
    *value = body.get<std::uint64_t>();
  return ended;
}

Replies decode_failed(exec::JobNumber job, WireReader& body) {
  auto error = static_cast<std::int32_t>(body.get<std::uint32_t>());
  return SeatFailed{.how = {.job = job, .error = error, .action = std::string(body.get_text<std::uint32_t>())}};
}

Replies decode(Type type, exec::JobNumber job, WireReader& body, Replies) {
  switch (type) {
    case Type::taken:
      return SeatTaken{.job = job, .bytes = body.get<std::uint32_t>()};
    case Type::output:
      return SeatOutput{.job = job, .bytes = std::string(body.get_raw(body.left()))};
    case Type::output_end:
      return SeatOutputEnd{.job = job};
    case Type::error:
      return SeatError{.job = job, .bytes = std::string(body.get_raw(body.left()))};
    case Type::ended:
      return decode_ended(job, body);
    case Type::failed:
      return decode_failed(job, body);
    case Type::leaving:
      return SeatLeaving{.job = job};
    default:
      return std::nullopt;
  }
}

}  // namespace

std::string encode(const SeatRequest& request) {
  return std::visit([](const auto& each) { return encode_one(each); }, request);
}

std::string encode(const SeatReply& reply) {
  return std::visit([](const auto& each) { return encode_one(each); }, reply);
}

template <class Message>
std::expected<std::optional<Message>, std::string> SeatReader<Message>::next() {
  std::string_view rest = std::string_view(buffer_).substr(consumed_);
  WireReader head(rest);
  auto type = head.get<std::uint8_t>();
  auto size = head.get<std::uint32_t>();
  if (!head.failed() && size > kSeatBodyMax)
    return std::unexpected(fmt::format("a message of {} bytes; at most {} are allowed", size, kSeatBodyMax));
  if (head.failed() || head.left() < size) {
    buffer_.erase(0, std::exchange(consumed_, 0));
    return std::nullopt;
  }
  WireReader body(rest.substr(kHeadSize, size));
  auto job = body.get<std::uint64_t>();
  auto message = decode(static_cast<Type>(type), job, body, std::optional<Message>());
  if (!message || !body.complete())
    return std::unexpected(fmt::format("a message of type {} that is none of this protocol", type));
  consumed_ += kHeadSize + size;
  return message;
}

template class SeatReader<SeatRequest>;
template class SeatReader<SeatReply>;

}  // namespace sluice::node
