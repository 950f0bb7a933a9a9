#include "cluster/membership_sync.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/require.h"

namespace sluice::cluster {
namespace {

constexpr std::uint64_t kRingEnd = std::numeric_limits<std::uint64_t>::max();
// A part of the ring holds so many members: 8 entries of a summary are 264 bytes.
constexpr std::size_t kMembersPerPart = 8;
// kind, length; shared; how many ranges
constexpr std::size_t kSummaryOverhead = 3 + 8 + 1;
constexpr std::size_t kRequestIdsMax = (kGossipPayloadMax - 4) / kIdSize;
static_assert(kRequestIdsMax <= 255);

unsigned bits_for(std::size_t members) {
  std::size_t parts = std::max<std::size_t>(members / kMembersPerPart, 1);
  return std::min<unsigned>(static_cast<unsigned>(std::bit_width(parts - 1)), kDigestBitsMax);
}

std::uint64_t part_first(std::size_t part, unsigned bits) { return bits == 0 ? 0 : std::uint64_t{part} << (64 - bits); }
std::uint64_t part_last(std::size_t part, unsigned bits) {
  return part + 1 == std::size_t{1} << bits ? kRingEnd : part_first(part + 1, bits) - 1;
}

template <class Member>
auto first_at(const std::vector<Member>& members, std::uint64_t position) {
  return std::ranges::lower_bound(members, position, {}, &Member::position);
}

struct Located {
  std::uint64_t position = 0;
  SummaryEntry entry;
};

// What we know of a part of the ring, in its order. What was lost unspoken is not known: the others know better.
std::vector<Located> known_between(const MembershipTable& table, std::uint64_t first, std::uint64_t last) {
  std::vector<Located> known;
  for (auto it = first_at(table.present(), first); it != table.present().end() && it->position <= last; ++it)
    known.push_back({it->position, {it->id(), it->announcement->revision, MemberState::alive}});
  for (auto it = first_at(table.gone(), first); it != table.gone().end() && it->position <= last; ++it)
    if (!it->unspoken) known.push_back({it->position, {it->id(), it->revision, it->state}});
  std::ranges::sort(known, {}, &Located::position);
  return known;
}

// Where the bounds of what is sent were counted, so that it must fit.
void add_fitting(GossipWriter& writer, std::string_view encoded) {
  bool fits = writer.add(encoded);
  INVARIANT(fits);
}

// Summaries, filled one after the other, at most so many.
class SummaryPacker {
 public:
  SummaryPacker(std::uint64_t shared, std::size_t max) : max_(max) { add_summary(shared); }

  // False if there is no more room; what was put in is whole ranges all the same.
  bool put(std::uint64_t first, std::uint64_t last, const std::vector<Located>& known) {
    std::size_t next = 0;
    do {
      if (!make_room()) return false;
      SummaryRange range{.first = next == 0 ? first : known[next].position, .last = last};
      size_ += kSummaryRangeOverhead;
      for (; next < known.size() && size_ + kSummaryEntrySize <= kGossipPayloadMax; ++next) {
        range.entries.push_back(known[next].entry);
        size_ += kSummaryEntrySize;
      }
      // The rest goes into another range. Two members at one position would be torn apart, once in 2^64.
      if (next < known.size()) range.last = known[next].position - 1;
      summaries_.back().ranges.push_back(std::move(range));
    } while (next < known.size());
    return true;
  }

  std::vector<Summary> take() { return std::move(summaries_); }

 private:
  bool make_room() {
    bool fits =
        size_ + kSummaryRangeOverhead + kSummaryEntrySize <= kGossipPayloadMax && summaries_.back().ranges.size() < 255;
    if (fits) return true;
    if (summaries_.size() == max_) return false;
    add_summary(summaries_.back().shared);
    return true;
  }
  void add_summary(std::uint64_t shared) {
    summaries_.push_back({.shared = shared});
    size_ = kSummaryOverhead;
  }

  std::size_t max_;
  std::vector<Summary> summaries_;
  std::size_t size_ = 0;
};

bool is_present(MemberState state) { return state == MemberState::alive; }

// Of equal revisions, dead is later than alive, and left than dead.
auto precedence(const SummaryEntry& entry) {
  int rank = entry.state == MemberState::alive ? 0 : entry.state == MemberState::dead ? 1 : 2;
  return std::pair(entry.revision, rank);
}

const SummaryEntry* find_entry(const std::vector<Located>& known, std::uint64_t position, const NodeId& id) {
  for (auto it = std::ranges::lower_bound(known, position, {}, &Located::position);
       it != known.end() && it->position == position; ++it)
    if (it->entry.id == id) return &it->entry;
  return nullptr;
}

void compare_range(const MembershipTable& table, const SummaryRange& theirs, Comparison& result) {
  std::vector<Located> ours = known_between(table, theirs.first, theirs.last);
  std::vector<Located> told;
  for (const SummaryEntry& entry : theirs.entries) {
    std::uint64_t position = ring_position(entry.id);
    if (position < theirs.first || position > theirs.last) continue;
    told.push_back({position, entry});
    const SummaryEntry* own = find_entry(ours, position, entry.id);
    // Of somebody gone whom we never knew we need not hear.
    if (own == nullptr ? is_present(entry.state)
                       : precedence(*own) < precedence(entry) && (is_present(own->state) || is_present(entry.state)))
      result.wanted.push_back(entry.id);
  }
  std::ranges::sort(told, {}, &Located::position);
  for (const Located& own : ours) {
    const SummaryEntry* entry = find_entry(told, own.position, own.entry.id);
    if (entry == nullptr
            ? is_present(own.entry.state)
            : precedence(*entry) < precedence(own.entry) && (is_present(own.entry.state) || is_present(entry->state)))
      result.offered.push_back(own.entry.id);
  }
}

// A stretch of the list, as payloads that each say which part of the ring they are all of.
class BurstPacker {
 public:
  BurstPacker(std::uint64_t position, std::size_t max) : max_(max) { add_piece(position); }

  void put_extra(std::string_view encoded) { pieces_.back().updates += encoded; }

  // False if there is no more room.
  bool put(std::uint64_t position, const std::string& encoded) {
    if (pieces_.back().updates.size() + encoded.size() > room_) {
      pieces_.back().range.last = position - 1;
      if (pieces_.size() == max_) return false;
      add_piece(position);
    }
    pieces_.back().updates += encoded;
    return true;
  }

  std::vector<std::string> take(bool complete) {
    Records& last = pieces_.back().range;
    last.ends_burst = true;
    last.ends_list = complete;
    if (complete) last.last = kRingEnd;
    std::vector<std::string> payloads;
    for (const Piece& piece : pieces_) {
      GossipWriter writer(piece.range);
      if (!piece.updates.empty()) add_fitting(writer, piece.updates);
      payloads.push_back(writer.take());
    }
    return payloads;
  }

 private:
  struct Piece {
    Records range;
    std::string updates;  // encoded, one behind the other
  };
  void add_piece(std::uint64_t first) { pieces_.push_back({.range = {.first = first, .ranged = true}}); }

  std::size_t max_;
  std::size_t room_ = GossipWriter(Records{}).room();
  std::vector<Piece> pieces_;
};

}  // namespace

std::uint64_t state_digest(const MembershipTable& table, std::uint64_t shared) {
  // An odd factor keeps every bit of what is shared, and zero, the usual, changes nothing.
  return table.sum() ^ (shared * 0x9e3779b97f4a7c15);
}

Digest make_digest(const MembershipTable& table, std::uint64_t shared) {
  return {.shared = shared, .buckets = table.sums(bits_for(table.present().size()))};
}

std::vector<Summary> summarize_differences(const MembershipTable& table, std::uint64_t shared, const Digest& theirs,
                                           std::size_t datagrams_max, SeededRandom& random) {
  REQUIRE(std::has_single_bit(theirs.buckets.size()));
  auto bits = static_cast<unsigned>(std::countr_zero(theirs.buckets.size()));
  std::vector<std::uint64_t> ours = table.sums(bits);
  SummaryPacker packer(shared, datagrams_max);
  std::size_t start = random.below(ours.size());
  for (std::size_t step = 0; step < ours.size(); ++step) {
    std::size_t part = (start + step) % ours.size();
    if (ours[part] == theirs.buckets[part]) continue;
    std::uint64_t first = part_first(part, bits), last = part_last(part, bits);
    if (!packer.put(first, last, known_between(table, first, last))) break;
  }
  return packer.take();
}

Comparison compare(const MembershipTable& table, const Summary& theirs) {
  Comparison result;
  for (const SummaryRange& range : theirs.ranges) compare_range(table, range, result);
  return result;
}

std::optional<std::string> encode_knowledge(const MembershipTable& table, const NodeId& id) {
  if (const PresentMember* member = table.find_present(id)) return encode_update(member->announcement->view());
  const GoneMember* member = table.find_gone(id);
  if (member == nullptr || member->unspoken) return std::nullopt;
  return encode_update(Accusation{.state = member->state,
                                  .subject = id,
                                  .revision = member->revision,
                                  .accuser = member->state == MemberState::left ? id : table.self(),
                                  .reason = member->reason});
}

std::vector<std::string> encode_records(const MembershipTable& table, const std::vector<NodeId>& ids,
                                        std::size_t datagrams_max) {
  std::vector<std::string> payloads;
  GossipWriter writer{Records{}};
  for (const NodeId& id : ids) {
    auto update = encode_knowledge(table, id);
    if (!update) continue;
    if (!writer.add(*update)) {
      payloads.push_back(writer.take());
      writer = GossipWriter{Records{}};
      if (payloads.size() == datagrams_max) return payloads;
      add_fitting(writer, *update);
    }
  }
  if (writer.has_updates()) payloads.push_back(writer.take());
  return payloads;
}

std::vector<std::string> encode_requests(const std::vector<NodeId>& ids, std::size_t datagrams_max) {
  std::vector<std::string> payloads;
  for (std::size_t from = 0; from < ids.size() && payloads.size() < datagrams_max; from += kRequestIdsMax) {
    auto count = std::min(kRequestIdsMax, ids.size() - from);
    auto begin = ids.begin() + static_cast<std::ptrdiff_t>(from);
    payloads.push_back(GossipWriter(Request{{begin, begin + static_cast<std::ptrdiff_t>(count)}}).take());
  }
  return payloads;
}

std::vector<std::string> encode_burst(const MembershipTable& table, std::uint64_t position, std::string_view extra,
                                      std::size_t datagrams_max) {
  BurstPacker packer(position, datagrams_max);
  if (!extra.empty()) packer.put_extra(extra);
  for (auto member = first_at(table.present(), position); member != table.present().end(); ++member)
    if (!packer.put(member->position, encode_update(member->announcement->view()))) return packer.take(false);
  return packer.take(true);
}

void MembershipPull::start(const NodeId& source, const net::Endpoint& endpoint, TimePoint now) {
  if (active_) return;
  active_ = true;
  source_ = source;
  endpoint_ = endpoint;
  position_ = 0;
  ahead_.clear();
  tries_ = 0;
  due_ = now + options_.pull_timeout;
}

bool MembershipPull::on_records(const NodeId& sender, const Records& piece, TimePoint now) {
  if (!active_ || sender != source_ || !piece.ranged) return false;
  if (piece.last < position_ || ahead_.size() >= options_.pull_datagrams_max) return false;
  ahead_.emplace(piece.first, piece);
  bool next_burst = false;
  while (!ahead_.empty() && ahead_.begin()->first <= position_) {
    Records taken = ahead_.begin()->second;
    ahead_.erase(ahead_.begin());
    if (taken.last < position_) continue;
    if (taken.ends_list || taken.last == kRingEnd) {
      active_ = false;
      return false;
    }
    position_ = taken.last + 1;
    next_burst = taken.ends_burst;
  }
  tries_ = 0;
  due_ = now + options_.pull_timeout;
  return next_burst;
}

bool MembershipPull::on_deadline(TimePoint now) {
  if (!active_ || now < due_) return false;
  ahead_.clear();
  due_ = now + options_.pull_timeout;
  active_ = ++tries_ < options_.pull_tries;
  return active_;
}

std::optional<TimePoint> MembershipPull::deadline() const {
  if (!active_) return std::nullopt;
  return due_;
}

}  // namespace sluice::cluster
