#include "rpc/call_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::rpc {
namespace {

// A larger buffer is given back when nothing is left in it; an idle connection is to cost little.
constexpr std::size_t kBufferKept = std::size_t{16} << 10;

constexpr std::size_t kRequestPayloadMax = 2 + kMethodNameMax + 4 + 1 + 2 + kCallerNameMax;
constexpr std::size_t kEndPayloadMax = 1 + 2 + kStatusMessageMax;
constexpr std::size_t kCreditPayloadSize = 4;
static_assert(kRequestPayloadMax <= kFramePayloadMax);
static_assert(kEndPayloadMax <= kFramePayloadMax);

struct Header {
  std::uint32_t length = 0;
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
};

struct FrameRules {
  std::uint8_t flags = 0;
  std::size_t payload_min = 0;
  std::size_t payload_max = 0;
};

std::optional<FrameRules> rules_of(std::uint8_t type) {
  switch (static_cast<FrameType>(type)) {
    case FrameType::request:
      return FrameRules{frame_flag::timeout | frame_flag::on_behalf, 2, kRequestPayloadMax};
    case FrameType::message:
      return FrameRules{frame_flag::more | frame_flag::last, 0, kFramePayloadMax};
    case FrameType::end:
      return FrameRules{0, 3, kEndPayloadMax};
    case FrameType::credit:
      return FrameRules{0, kCreditPayloadSize, kCreditPayloadSize};
    case FrameType::done:
    case FrameType::cancel:
      return FrameRules{};
  }
  return std::nullopt;
}

Header read_header(std::string_view bytes) {
  WireReader reader(bytes.substr(0, kFrameHeaderSize));
  Header header;
  header.length = reader.get<std::uint32_t>();
  header.type = reader.get<std::uint8_t>();
  header.flags = reader.get<std::uint8_t>();
  header.stream = reader.get<std::uint32_t>();
  INVARIANT(reader.complete());
  return header;
}

// What is wrong with a header; nothing if it is good.
std::string fault_of(const Header& header, const std::optional<FrameRules>& rules) {
  if (header.length > kFramePayloadMax)
    return fmt::format("a frame of {} bytes; at most {} are allowed", header.length, kFramePayloadMax);
  if (!rules) {
    if ((header.flags & frame_flag::ignorable) != 0) return {};
    return fmt::format("a frame of type {}, which is unknown", header.type);
  }
  if ((header.flags & ~rules->flags) != 0)
    return fmt::format("a frame of type {} with the flags {:#x}", header.type, header.flags);
  if (header.length < rules->payload_min || header.length > rules->payload_max)
    return fmt::format("a frame of type {} with {} bytes", header.type, header.length);
  if (header.stream == 0) return fmt::format("a frame of type {} for call 0", header.type);
  return {};
}

void put_header(std::string& into, std::size_t length, FrameType type, std::uint8_t flags, StreamId stream) {
  WireWriter writer;  // of so few bytes that they need no memory of their own
  writer.put(static_cast<std::uint32_t>(length));
  writer.put(static_cast<std::uint8_t>(type));
  writer.put(flags);
  writer.put(static_cast<std::uint32_t>(stream));
  into += writer.bytes();
}

// The beginning of a text, not longer than `size_max` and not cut within a character of UTF-8 (RFC 3629 section 3).
std::string_view cut(std::string_view text, std::size_t size_max) {
  if (text.size() <= size_max) return text;
  std::size_t size = size_max;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

std::uint32_t timeout_on_wire(std::chrono::milliseconds timeout) {
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(timeout.count(), 0, std::numeric_limits<std::uint32_t>::max()));
}

bool is_control_character(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

bool valid_method_name(std::string_view name) {
  return !name.empty() && name.size() <= kMethodNameMax &&
         std::ranges::all_of(name, [](char c) { return c > 0x20 && c < 0x7f; });
}

void put_frame(std::string& into, const Frame& frame) {
  REQUIRE(frame.payload.size() <= kFramePayloadMax);
  put_header(into, frame.payload.size(), frame.type, frame.flags, frame.stream);
  into += frame.payload;
}

void put_request(std::string& into, StreamId stream, const CallRequest& request) {
  REQUIRE(valid_method_name(request.method));
  std::uint8_t flags = 0;
  WireWriter writer;
  writer.put_text<std::uint16_t>(request.method);
  if (request.timeout) {
    flags |= frame_flag::timeout;
    writer.put(timeout_on_wire(*request.timeout));
  }
  if (request.on_behalf) {
    flags |= frame_flag::on_behalf;
    writer.put(static_cast<std::uint8_t>(request.on_behalf->role));
    writer.put_text<std::uint16_t>(cut(request.on_behalf->name, kCallerNameMax));
  }
  put_frame(into, {FrameType::request, flags, stream, writer.bytes()});
}

void put_end(std::string& into, StreamId stream, const Status& status) {
  std::string_view message = cut(status.message, kStatusMessageMax);
  put_header(into, 1 + 2 + message.size(), FrameType::end, 0, stream);
  WireWriter writer;
  writer.put(static_cast<std::uint8_t>(status.code));
  writer.put(static_cast<std::uint16_t>(message.size()));
  into += writer.bytes();
  into += message;
}

void put_credit(std::string& into, StreamId stream, std::uint32_t bytes) {
  WireWriter writer;
  writer.put(bytes);
  put_frame(into, {FrameType::credit, 0, stream, writer.bytes()});
}

std::expected<CallRequest, std::string> decode_request(const Frame& frame) {
  REQUIRE(frame.type == FrameType::request);
  WireReader reader(frame.payload);
  CallRequest request;
  request.method = reader.get_text<std::uint16_t>();
  if (frame.has(frame_flag::timeout)) request.timeout = std::chrono::milliseconds(reader.get<std::uint32_t>());
  if (frame.has(frame_flag::on_behalf)) {
    OnBehalf& caller = request.on_behalf.emplace();
    caller.role = static_cast<net::Role>(reader.get<std::uint8_t>());
    caller.name = reader.get_text<std::uint16_t>();
  }
  if (!reader.complete()) return std::unexpected("a request whose fields do not fill its frame");
  if (!valid_method_name(request.method)) return std::unexpected("a request for a method without a proper name");
  if (!request.on_behalf) return request;
  if (request.on_behalf->role > net::Role::admin) return std::unexpected("a request on behalf of an unknown role");
  const std::string& name = request.on_behalf->name;
  if (name.size() > kCallerNameMax || std::ranges::any_of(name, is_control_character))
    return std::unexpected("a request on behalf of somebody without a proper name");
  return request;
}

std::expected<Status, std::string> decode_end(const Frame& frame) {
  REQUIRE(frame.type == FrameType::end);
  WireReader reader(frame.payload);
  auto code = reader.get<std::uint8_t>();
  Status status{static_cast<Code>(code), std::string(reader.get_text<std::uint16_t>())};
  if (!reader.complete()) return std::unexpected("a status whose message does not fill its frame");
  if (status.code > Code::unauthenticated) status.code = Code::unknown;
  return status;
}

std::expected<std::uint32_t, std::string> decode_credit(const Frame& frame) {
  REQUIRE(frame.type == FrameType::credit);
  WireReader reader(frame.payload);
  auto bytes = reader.get<std::uint32_t>();
  INVARIANT(reader.complete());  // the size was held against the rules of the type
  if (bytes == 0) return std::unexpected("a credit of no bytes");
  return bytes;
}

void FrameReader::append(std::string_view bytes) {
  REQUIRE(unread_.empty());
  if (buffer_.empty()) {
    unread_ = bytes;
    return;
  }
  buffer_ += bytes;
  unread_ = buffer_;
}

std::expected<std::optional<Frame>, std::string> FrameReader::next() {
  while (unread_.size() >= kFrameHeaderSize) {
    Header header = read_header(unread_);
    std::optional<FrameRules> rules = rules_of(header.type);
    if (std::string fault = fault_of(header, rules); !fault.empty()) return std::unexpected(std::move(fault));
    if (unread_.size() - kFrameHeaderSize < header.length) break;
    std::string_view payload = unread_.substr(kFrameHeaderSize, header.length);
    unread_.remove_prefix(kFrameHeaderSize + header.length);
    if (rules) return Frame{static_cast<FrameType>(header.type), header.flags, StreamId{header.stream}, payload};
  }
  keep_rest();
  return std::nullopt;
}

void FrameReader::keep_rest() {
  // A frame that arrives in many pieces must not be copied for each of them: its beginning stays where it is.
  if (buffer_.empty())
    buffer_.assign(unread_);
  else
    buffer_.erase(0, buffer_.size() - unread_.size());
  unread_ = {};
  if (buffer_.empty() && buffer_.capacity() > kBufferKept) buffer_.shrink_to_fit();
}

}  // namespace sluice::rpc
