#include "cluster/gossip_message.h"

#include <arpa/inet.h>  // inet_ntop and inet_pton: text and bytes of an address, no I/O

#include <array>
#include <bit>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::cluster {
namespace {

enum class Kind : std::uint8_t {
  ping = 1,
  ack,
  relay_request,
  relay_answer,
  rumours,
  join,
  join_refused,
  digest,
  summary,
  request,
  pull,
  records,
};

enum class UpdateKind : std::uint8_t { announcement = 1, accusation };

constexpr std::size_t kUpdateHeader = 3;

// --- small pieces -------------------------------------------------------------------------------------------------

void put_id(WireWriter& writer, const NodeId& id) { writer.put_bytes(id.bytes); }

NodeId get_id(WireReader& reader) {
  NodeId id;
  reader.get_bytes(id.bytes);
  return id;
}

void put_revision(WireWriter& writer, const Revision& revision) {
  writer.put(revision.incarnation);
  writer.put(revision.instance);
}

Revision get_revision(WireReader& reader) {
  Revision revision;
  revision.incarnation = reader.get<std::uint64_t>();
  revision.instance = reader.get<std::uint64_t>();
  return revision;
}

bool is_valid(const Revision& revision) { return revision.incarnation <= kIncarnationMax; }

// --- profiles -----------------------------------------------------------------------------------------------------

constexpr std::uint8_t kAddress4 = 4;
constexpr std::uint8_t kAddress6 = 6;

void put_endpoint(WireWriter& writer, const net::Endpoint& endpoint) {
  std::array<std::uint8_t, 16> bytes{};
  bool is_v4 = ::inet_pton(AF_INET, endpoint.address.c_str(), bytes.data()) == 1;
  if (!is_v4) REQUIRE(::inet_pton(AF_INET6, endpoint.address.c_str(), bytes.data()) == 1);
  writer.put(is_v4 ? kAddress4 : kAddress6);
  writer.put_bytes(std::span(bytes).first(is_v4 ? 4 : 16));
  writer.put(endpoint.port);
}

std::optional<net::Endpoint> get_endpoint(WireReader& reader) {
  std::uint8_t family = reader.get<std::uint8_t>();
  if (family != kAddress4 && family != kAddress6) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  std::span<std::uint8_t> used(bytes.data(), family == kAddress4 ? 4 : 16);
  reader.get_bytes(used);
  net::Endpoint endpoint;
  endpoint.port = reader.get<std::uint16_t>();
  if (reader.failed()) return std::nullopt;
  char text[INET6_ADDRSTRLEN];
  REQUIRE(::inet_ntop(family == kAddress4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text) != nullptr);
  endpoint.address = text;
  return endpoint;
}

// --- bodies: writing ----------------------------------------------------------------------------------------------

template <class Probe>
void put_probe(WireWriter& writer, const Probe& probe) {
  writer.put(probe.sequence);
  writer.put(probe.instance);
  writer.put(probe.digest);
}

Kind put_body(WireWriter& writer, const Ping& ping) {
  put_probe(writer, ping);
  return Kind::ping;
}
Kind put_body(WireWriter& writer, const Ack& ack) {
  put_probe(writer, ack);
  return Kind::ack;
}
Kind put_body(WireWriter& writer, const RelayRequest& request) {
  writer.put(request.sequence);
  put_id(writer, request.target);
  return Kind::relay_request;
}
Kind put_body(WireWriter& writer, const RelayAnswer& answer) {
  writer.put(answer.sequence);
  writer.put(static_cast<std::uint8_t>(answer.reached));
  return Kind::relay_answer;
}
Kind put_body(WireWriter&, const Rumours&) { return Kind::rumours; }
Kind put_body(WireWriter& writer, const Join& join) {
  writer.put(join.instance);
  writer.put(join.digest);
  writer.put(static_cast<std::uint8_t>(join.wants_list));
  return Kind::join;
}
Kind put_body(WireWriter&, const JoinRefused&) { return Kind::join_refused; }
Kind put_body(WireWriter& writer, const Digest& digest) {
  REQUIRE(std::has_single_bit(digest.buckets.size()));
  REQUIRE(digest.buckets.size() <= kDigestBucketsMax);
  writer.put(digest.shared);
  writer.put(static_cast<std::uint8_t>(std::countr_zero(digest.buckets.size())));
  for (std::uint64_t bucket : digest.buckets) writer.put(bucket);
  return Kind::digest;
}
Kind put_body(WireWriter& writer, const Summary& summary) {
  REQUIRE(summary.ranges.size() <= 255);
  writer.put(summary.shared);
  writer.put(static_cast<std::uint8_t>(summary.ranges.size()));
  for (const SummaryRange& range : summary.ranges) {
    writer.put(static_cast<std::uint16_t>(range.entries.size()));
    writer.put(range.first);
    writer.put(range.last);
    writer.put(static_cast<std::uint8_t>(kSummaryEntrySize));
    for (const SummaryEntry& entry : range.entries) {
      put_id(writer, entry.id);
      put_revision(writer, entry.revision);
      writer.put(static_cast<std::uint8_t>(entry.state));
    }
  }
  return Kind::summary;
}
Kind put_body(WireWriter& writer, const Request& request) {
  REQUIRE(request.ids.size() <= 255);
  writer.put(static_cast<std::uint8_t>(request.ids.size()));
  for (const NodeId& id : request.ids) put_id(writer, id);
  return Kind::request;
}
Kind put_body(WireWriter& writer, const Pull& pull) {
  writer.put(pull.position);
  return Kind::pull;
}

constexpr std::uint8_t kRanged = 1, kEndsBurst = 2, kEndsList = 4;

Kind put_body(WireWriter& writer, const Records& records) {
  writer.put(records.first);
  writer.put(records.last);
  writer.put(static_cast<std::uint8_t>((records.ranged ? kRanged : 0) | (records.ends_burst ? kEndsBurst : 0) |
                                       (records.ends_list ? kEndsList : 0)));
  return Kind::records;
}

// --- bodies: reading ----------------------------------------------------------------------------------------------
// Each reads its fields; the caller looks once whether there were enough bytes.

template <class Probe>
Probe get_probe(WireReader& reader) {
  Probe probe;
  probe.sequence = reader.get<std::uint32_t>();
  probe.instance = reader.get<std::uint64_t>();
  probe.digest = reader.get<std::uint64_t>();
  return probe;
}

GossipBody get_relay_request(WireReader& reader) {
  RelayRequest request;
  request.sequence = reader.get<std::uint32_t>();
  request.target = get_id(reader);
  return request;
}

GossipBody get_relay_answer(WireReader& reader) {
  RelayAnswer answer;
  answer.sequence = reader.get<std::uint32_t>();
  answer.reached = reader.get<std::uint8_t>() != 0;
  return answer;
}

GossipBody get_join(WireReader& reader) {
  Join join;
  join.instance = reader.get<std::uint64_t>();
  join.digest = reader.get<std::uint64_t>();
  join.wants_list = reader.get<std::uint8_t>() != 0;
  return join;
}

std::optional<GossipBody> get_digest(WireReader& reader) {
  Digest digest;
  digest.shared = reader.get<std::uint64_t>();
  unsigned bits = reader.get<std::uint8_t>();
  if (bits > kDigestBitsMax) return std::nullopt;
  for (std::size_t i = 0; i < std::size_t{1} << bits; ++i) digest.buckets.push_back(reader.get<std::uint64_t>());
  return digest;
}

bool may_be_summarized(MemberState state) {
  return state == MemberState::alive || state == MemberState::dead || state == MemberState::left;
}

std::optional<SummaryRange> get_range(WireReader& reader) {
  SummaryRange range;
  std::size_t count = reader.get<std::uint16_t>();
  range.first = reader.get<std::uint64_t>();
  range.last = reader.get<std::uint64_t>();
  std::size_t entry_size = reader.get<std::uint8_t>();
  if (entry_size < kSummaryEntrySize || range.last < range.first) return std::nullopt;
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    WireReader fields(reader.get_raw(entry_size));
    SummaryEntry entry;
    entry.id = get_id(fields);
    entry.revision = get_revision(fields);
    entry.state = static_cast<MemberState>(fields.get<std::uint8_t>());
    if (!is_valid(entry.revision) || !may_be_summarized(entry.state)) return std::nullopt;
    range.entries.push_back(entry);
  }
  return range;
}

std::optional<GossipBody> get_summary(WireReader& reader) {
  Summary summary;
  summary.shared = reader.get<std::uint64_t>();
  std::size_t count = reader.get<std::uint8_t>();
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    auto range = get_range(reader);
    if (!range) return std::nullopt;
    summary.ranges.push_back(std::move(*range));
  }
  return summary;
}

GossipBody get_request(WireReader& reader) {
  Request request;
  std::size_t count = reader.get<std::uint8_t>();
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) request.ids.push_back(get_id(reader));
  return request;
}

std::optional<GossipBody> get_records(WireReader& reader) {
  Records records;
  records.first = reader.get<std::uint64_t>();
  records.last = reader.get<std::uint64_t>();
  std::uint8_t flags = reader.get<std::uint8_t>();
  records.ranged = (flags & kRanged) != 0;
  records.ends_burst = (flags & kEndsBurst) != 0;
  records.ends_list = (flags & kEndsList) != 0;
  if (records.last < records.first) return std::nullopt;
  return records;
}

std::optional<GossipBody> get_body(Kind kind, WireReader& reader) {
  switch (kind) {
    case Kind::ping:
      return get_probe<Ping>(reader);
    case Kind::ack:
      return get_probe<Ack>(reader);
    case Kind::relay_request:
      return get_relay_request(reader);
    case Kind::relay_answer:
      return get_relay_answer(reader);
    case Kind::rumours:
      return Rumours{};
    case Kind::join:
      return get_join(reader);
    case Kind::join_refused:
      return JoinRefused{};
    case Kind::digest:
      return get_digest(reader);
    case Kind::summary:
      return get_summary(reader);
    case Kind::request:
      return get_request(reader);
    case Kind::pull:
      return Pull{reader.get<std::uint64_t>()};
    case Kind::records:
      return get_records(reader);
  }
  return std::nullopt;
}

// --- updates: reading ---------------------------------------------------------------------------------------------

std::optional<Update> get_announcement(WireReader& reader) {
  AnnouncementView announcement;
  announcement.id = get_id(reader);
  announcement.revision = get_revision(reader);
  announcement.profile_bytes = reader.rest();
  if (reader.failed() || !is_valid(announcement.revision)) return std::nullopt;
  if (announcement.profile_bytes.size() > kProfileMax) return std::nullopt;
  return announcement;
}

LossReason reason_from(std::uint8_t value) {
  // A later version may know reasons that we do not; that the member is gone is what counts.
  return value <= static_cast<std::uint8_t>(LossReason::restarted) ? static_cast<LossReason>(value)
                                                                   : LossReason::silent;
}

std::optional<Update> get_accusation(WireReader& reader) {
  Accusation accusation;
  accusation.subject = get_id(reader);
  accusation.revision = get_revision(reader);
  accusation.accuser = get_id(reader);
  accusation.state = static_cast<MemberState>(reader.get<std::uint8_t>());
  accusation.reason = reason_from(reader.get<std::uint8_t>());
  if (reader.failed() || !is_valid(accusation.revision)) return std::nullopt;
  if (accusation.state == MemberState::alive || accusation.state > MemberState::left) return std::nullopt;
  // Only the node itself can say that it leaves.
  if (accusation.state == MemberState::left && accusation.subject != accusation.accuser) return std::nullopt;
  return accusation;
}

/// False if the payload is malformed.
bool get_updates(WireReader& reader, std::vector<Update>& updates) {
  while (reader.left() > 0) {
    auto kind = static_cast<UpdateKind>(reader.get<std::uint8_t>());
    WireReader fields(reader.get_text<std::uint16_t>());
    if (reader.failed()) return false;
    if (kind != UpdateKind::announcement && kind != UpdateKind::accusation) continue;
    auto update = kind == UpdateKind::announcement ? get_announcement(fields) : get_accusation(fields);
    if (!update) return false;
    updates.push_back(*update);
  }
  return true;
}

std::string framed(UpdateKind kind, std::string_view body) {
  WireWriter writer;
  writer.put(static_cast<std::uint8_t>(kind));
  writer.put_text<std::uint16_t>(body);
  return writer.take();
}

}  // namespace

std::string encode_profile(const Profile& profile) {
  REQUIRE(!profile_problem(profile));
  WireWriter writer;
  put_endpoint(writer, profile.endpoint);
  writer.put_text<std::uint8_t>(profile.name);
  writer.put_text<std::uint8_t>(profile.version);
  writer.put(static_cast<std::uint8_t>(profile.labels.size()));
  for (const auto& [key, value] : profile.labels) {
    writer.put_text<std::uint8_t>(key);
    writer.put_text<std::uint8_t>(value);
  }
  INVARIANT(writer.size() <= kProfileMax);
  return writer.take();
}

std::optional<Profile> decode_profile(std::string_view bytes) {
  if (bytes.size() > kProfileMax) return std::nullopt;
  WireReader reader(bytes);
  auto endpoint = get_endpoint(reader);
  if (!endpoint) return std::nullopt;
  Profile profile{.endpoint = std::move(*endpoint)};
  profile.name = reader.get_text<std::uint8_t>();
  profile.version = reader.get_text<std::uint8_t>();
  std::size_t labels = reader.get<std::uint8_t>();
  if (labels > kLabelsMax) return std::nullopt;
  for (std::size_t i = 0; i < labels; ++i) {
    std::string_view key = reader.get_text<std::uint8_t>();
    profile.labels.emplace(key, reader.get_text<std::uint8_t>());
  }
  if (reader.failed() || profile_problem(profile)) return std::nullopt;
  return profile;
}

std::string encode_update(const AnnouncementView& announcement) {
  REQUIRE(announcement.profile_bytes.size() <= kProfileMax);
  WireWriter writer;
  put_id(writer, announcement.id);
  put_revision(writer, announcement.revision);
  writer.put_raw(announcement.profile_bytes);
  return framed(UpdateKind::announcement, writer.bytes());
}

std::string encode_update(const Accusation& accusation) {
  WireWriter writer;
  put_id(writer, accusation.subject);
  put_revision(writer, accusation.revision);
  put_id(writer, accusation.accuser);
  writer.put(static_cast<std::uint8_t>(accusation.state));
  writer.put(static_cast<std::uint8_t>(accusation.reason));
  return framed(UpdateKind::accusation, writer.bytes());
}

std::optional<GossipMessage> decode_gossip(std::string_view payload) {
  if (payload.size() > kGossipPayloadMax) return std::nullopt;
  WireReader reader(payload);
  auto kind = static_cast<Kind>(reader.get<std::uint8_t>());
  WireReader body_reader(reader.get_text<std::uint16_t>());
  if (reader.failed()) return std::nullopt;
  auto body = get_body(kind, body_reader);
  if (!body || body_reader.failed()) return std::nullopt;
  GossipMessage message{.body = std::move(*body)};
  if (!get_updates(reader, message.updates)) return std::nullopt;
  return message;
}

GossipWriter::GossipWriter(const GossipBody& body) {
  WireWriter fields;
  Kind kind = std::visit([&](const auto& known) { return put_body(fields, known); }, body);
  WireWriter writer;
  writer.put(static_cast<std::uint8_t>(kind));
  writer.put_text<std::uint16_t>(fields.bytes());
  bytes_ = writer.take();
  body_size_ = bytes_.size();
  INVARIANT(bytes_.size() <= kGossipPayloadMax);
}

bool GossipWriter::add(std::string_view encoded_update) {
  REQUIRE(encoded_update.size() > kUpdateHeader);
  if (encoded_update.size() > room()) return false;
  bytes_ += encoded_update;
  return true;
}

}  // namespace sluice::cluster
