#include "cluster/membership_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "base/require.h"

namespace sluice::cluster {
namespace {

// The last step of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): every bit of
// the input reaches every bit of the result.
std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::uint64_t member_hash(const PresentMember& member) {
  const Revision& revision = member.announcement->revision;
  return mixed(mixed(member.position + revision.incarnation) ^ (revision.instance + 0x9e3779b97f4a7c15));
}

std::uint32_t hash_of_name(std::string_view name) {
  std::uint64_t hash = name.size();
  for (char c : name) hash = mixed(hash ^ static_cast<unsigned char>(c));
  return static_cast<std::uint32_t>(hash);
}

struct BeforeOnRing {
  template <class Entry>
  bool operator()(const Entry& entry, const std::tuple<std::uint64_t, const NodeId&>& place) const {
    return std::tuple<std::uint64_t, const NodeId&>(entry.position, entry.id()) < place;
  }
};

// Beyond so many failed tries the few that can be picked are looked for one by one.
constexpr std::size_t kPickTries = 16;

}  // namespace

std::uint64_t ring_position(const NodeId& id) {
  std::uint64_t halves[2];
  static_assert(sizeof halves == sizeof id.bytes);
  std::memcpy(halves, id.bytes.data(), sizeof halves);
  if constexpr (std::endian::native == std::endian::little)
    for (std::uint64_t& half : halves) half = __builtin_bswap64(half);  // the ring is the same on all hosts
  return mixed(halves[0] ^ mixed(halves[1] + 0x9e3779b97f4a7c15));
}

MembershipTable::MembershipTable(AnnouncementRef self) : self_(self) { put_present(std::move(self)); }

std::vector<PresentMember>::iterator MembershipTable::present_place(std::uint64_t position, const NodeId& id) {
  return std::lower_bound(present_.begin(), present_.end(), std::tuple<std::uint64_t, const NodeId&>(position, id),
                          BeforeOnRing{});
}

std::vector<GoneMember>::iterator MembershipTable::gone_place(std::uint64_t position, const NodeId& id) {
  return std::lower_bound(gone_.begin(), gone_.end(), std::tuple<std::uint64_t, const NodeId&>(position, id),
                          BeforeOnRing{});
}

const PresentMember* MembershipTable::find_present(const NodeId& id) const {
  auto place = const_cast<MembershipTable*>(this)->present_place(ring_position(id), id);
  return place != present_.end() && place->id() == id ? &*place : nullptr;
}

const GoneMember* MembershipTable::find_gone(const NodeId& id) const {
  auto place = const_cast<MembershipTable*>(this)->gone_place(ring_position(id), id);
  return place != gone_.end() && place->id() == id ? &*place : nullptr;
}

void MembershipTable::flip_sum(const PresentMember& member) {
  sums_[member.position >> (64 - kDigestBitsMax)] ^= member_hash(member);
}

void MembershipTable::put_present(AnnouncementRef announcement) {
  REQUIRE(announcement != nullptr);
  std::uint64_t position = ring_position(announcement->id);
  if (announcement->id == self_->id) self_ = announcement;
  auto gone = gone_place(position, announcement->id);
  if (gone != gone_.end() && gone->id() == announcement->id) gone_.erase(gone);
  auto place = present_place(position, announcement->id);
  if (place == present_.end() || place->id() != announcement->id) {
    place = present_.insert(place, PresentMember{.position = position});
    ++version_;
  } else {
    flip_sum(*place);
  }
  place->announcement = std::move(announcement);
  place->name_hash = hash_of_name(place->announcement->profile.name);
  place->suspect = false;
  flip_sum(*place);
  check_invariants();
}

void MembershipTable::set_suspect(const NodeId& id, bool suspect) {
  auto place = present_place(ring_position(id), id);
  REQUIRE(place != present_.end() && place->id() == id);
  place->suspect = suspect;
}

void MembershipTable::put_gone(const NodeId& id, const GoneMember& verdict) {
  REQUIRE(id != self_->id);
  std::uint64_t position = ring_position(id);
  AnnouncementRef announcement;
  auto place = present_place(position, id);
  if (place != present_.end() && place->id() == id) {
    flip_sum(*place);
    announcement = std::move(place->announcement);
    present_.erase(place);
    ++version_;
  }
  auto gone = gone_place(position, id);
  bool known = gone != gone_.end() && gone->id() == id;
  REQUIRE(known != (announcement != nullptr));
  if (known)
    announcement = gone->announcement;
  else
    gone = gone_.insert(gone, verdict);
  *gone = verdict;
  gone->position = position;
  gone->announcement = std::move(announcement);
  check_invariants();
}

void MembershipTable::put_all_gone(const GoneMember& verdict) {
  for (PresentMember& member : present_) {
    if (member.id() == self_->id) continue;
    GoneMember& gone = gone_.emplace_back(verdict);
    gone.position = member.position;
    gone.revision = member.announcement->revision;
    gone.announcement = std::move(member.announcement);
  }
  std::ranges::sort(gone_, [](const GoneMember& a, const GoneMember& b) {
    return std::tuple(a.position, a.id()) < std::tuple(b.position, b.id());
  });
  present_.clear();
  sums_ = {};
  ++version_;
  put_present(AnnouncementRef(self_));
}

void MembershipTable::forget_gone(const Memory& memory, TimePoint now) {
  std::erase_if(gone_, [&](const GoneMember& member) {
    return now - member.since >= (member.state == MemberState::left ? memory.left : memory.dead);
  });
  if (gone_.size() <= memory.gone_max) return;
  std::vector<TimePoint> times;
  times.reserve(gone_.size());
  for (const GoneMember& member : gone_) times.push_back(member.since);
  auto newest_forgotten = times.begin() + static_cast<std::ptrdiff_t>(gone_.size() - memory.gone_max - 1);
  std::nth_element(times.begin(), newest_forgotten, times.end());
  std::erase_if(gone_, [limit = *newest_forgotten](const GoneMember& member) { return member.since <= limit; });
}

std::size_t MembershipTable::index_from(std::uint64_t position) const {
  auto place =
      std::lower_bound(present_.begin(), present_.end(), position,
                       [](const PresentMember& member, std::uint64_t wanted) { return member.position < wanted; });
  return place == present_.end() ? 0 : static_cast<std::size_t>(place - present_.begin());
}

std::vector<NodeId> MembershipTable::successors(std::size_t count) const {
  std::vector<NodeId> ids;
  std::size_t index = index_from(ring_position(self_->id));
  for (std::size_t step = 1; step < present_.size() && ids.size() < count; ++step)
    ids.push_back(present_[(index + step) % present_.size()].id());
  return ids;
}

std::vector<const PresentMember*> MembershipTable::pick(
    std::size_t count, SeededRandom& random, const std::function<bool(const PresentMember&)>& accepts) const {
  std::vector<const PresentMember*> picked;
  auto fits = [&](const PresentMember& member) {
    return member.id() != self_->id && (!accepts || accepts(member)) &&
           std::ranges::find(picked, &member) == picked.end();
  };
  for (std::size_t tries = 0; tries < kPickTries && picked.size() < count; ++tries) {
    const PresentMember& member = present_[random.below(present_.size())];
    if (fits(member)) picked.push_back(&member);
  }
  std::size_t start = random.below(present_.size());
  std::size_t steps = picked.size() < count ? present_.size() : 0;
  for (std::size_t step = 0; step < steps && picked.size() < count; ++step) {
    const PresentMember& member = present_[(start + step) % present_.size()];
    if (fits(member)) picked.push_back(&member);
  }
  return picked;
}

const GoneMember* MembershipTable::pick_dead(SeededRandom& random) const {
  if (gone_.empty()) return nullptr;
  std::size_t start = random.below(gone_.size());
  for (std::size_t step = 0; step < gone_.size(); ++step) {
    const GoneMember& member = gone_[(start + step) % gone_.size()];
    if (member.state == MemberState::dead) return &member;
  }
  return nullptr;
}

std::uint64_t MembershipTable::sum() const {
  std::uint64_t sum = 0;
  for (std::uint64_t part : sums_) sum ^= part;
  return sum;
}

std::vector<std::uint64_t> MembershipTable::sums(unsigned bits) const {
  REQUIRE(bits <= kDigestBitsMax);
  std::vector<std::uint64_t> parts(std::size_t{1} << bits);
  for (std::size_t i = 0; i < sums_.size(); ++i) parts[i >> (kDigestBitsMax - bits)] ^= sums_[i];
  return parts;
}

const PresentMember* MembershipTable::find_namesake(const Announcement& announcement) const {
  std::uint32_t hash = hash_of_name(announcement.profile.name);
  for (const PresentMember& member : present_) {
    if (member.name_hash != hash || member.id() == announcement.id) continue;
    if (member.announcement->profile.name == announcement.profile.name) return &member;
  }
  return nullptr;
}

void MembershipTable::check_invariants() const {
  INVARIANT(!present_.empty());
  INVARIANT(self_ != nullptr);
}

}  // namespace sluice::cluster
