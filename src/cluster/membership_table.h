#pragma once
// Who is a member, as one node sees it: those present and those gone, on a ring, with sums over its parts.
//
// Every id has a position on the ring, a hash of it; so the order is the same for all nodes, and has nothing to do with names
// or addresses. From it come the neighbours that watch each other, the order in which a list is handed over piece by piece,
// and the buckets whose sums two nodes compare.
//
// Present and gone are two sorted vectors of small entries: picking one at random is one look, a walk is linear in memory, and
// a view of 10,000 members is 320 kB (a simulation holds 10,000 such views). An insertion moves entries, which is 0.1 ms at
// 10,000, and there is one for each join.
// Invariants: an id is in one of the two at most; we are always present; the sums are those over the present.
// Threading: none of its own; no clock, no I/O.
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "cluster/membership_announcement.h"

namespace sluice::cluster {

std::uint64_t ring_position(const NodeId& id);

struct PresentMember {
  std::uint64_t position = 0;
  AnnouncementRef announcement;
  std::uint32_t name_hash = 0;
  bool suspect = false;

  const NodeId& id() const { return announcement->id; }
};

struct GoneMember {
  std::uint64_t position = 0;
  AnnouncementRef announcement;  // the last that was known
  Revision revision;             // of the verdict; it may be later than the announcement
  TimePoint since;
  MemberState state = MemberState::dead;  // or left
  LossReason reason = LossReason::none;
  // We lost everybody and told nobody, because it may be us: a sign of life is believed without a higher incarnation.
  bool unspoken = false;

  const NodeId& id() const { return announcement->id; }
};

class MembershipTable final {
 public:
  explicit MembershipTable(AnnouncementRef self);

  const PresentMember* find_present(const NodeId& id) const;
  const GoneMember* find_gone(const NodeId& id) const;

  /// Makes the member present, or replaces what it says of itself. A suspicion is over with it.
  void put_present(AnnouncementRef announcement);
  /// Makes room for so many, and a few more, before they are put in one after the other.
  void expect(std::size_t members) { present_.reserve(members + members / 16); }
  void set_suspect(const NodeId& id, bool suspect);
  /// Requires: it is present or gone, and not we ourselves.
  void put_gone(const NodeId& id, const GoneMember& verdict);
  /// The same for all but ourselves.
  void put_all_gone(const GoneMember& verdict);
  /// Forgets those that have been gone for longer than they are remembered, and of too many the oldest.
  struct Memory {
    Duration dead;
    Duration left;
    std::size_t gone_max;
  };
  void forget_gone(const Memory& memory, TimePoint now);

  const NodeId& self() const { return self_->id; }
  const AnnouncementRef& self_announcement() const { return self_; }
  const std::vector<PresentMember>& present() const { return present_; }  // by position
  const std::vector<GoneMember>& gone() const { return gone_; }           // by position
  /// Changes whenever somebody becomes present or gone.
  std::uint64_t version() const { return version_; }

  /// The index in present() of the first at or behind a position; around the end of the ring to the first of all.
  std::size_t index_from(std::uint64_t position) const;
  /// The next `count` on the ring behind us, fewer if there are no more.
  std::vector<NodeId> successors(std::size_t count) const;
  /// Up to `count` different present members, never ourselves, of those that `accepts` (all, if it is empty).
  std::vector<const PresentMember*> pick(std::size_t count, SeededRandom& random,
                                         const std::function<bool(const PresentMember&)>& accepts = {}) const;
  /// A dead member to look after, chosen at random; null if there is none (those that left are let go).
  const GoneMember* pick_dead(SeededRandom& random) const;

  /// One sum over all present members, their revisions included.
  std::uint64_t sum() const;
  /// The sums over 2^bits equal parts of the ring. Requires: bits <= kDigestBitsMax.
  std::vector<std::uint64_t> sums(unsigned bits) const;

  /// Another present member of that name, if there is one.
  const PresentMember* find_namesake(const Announcement& announcement) const;

 private:
  std::vector<PresentMember>::iterator present_place(std::uint64_t position, const NodeId& id);
  std::vector<GoneMember>::iterator gone_place(std::uint64_t position, const NodeId& id);
  void flip_sum(const PresentMember& member);
  void check_invariants() const;

  AnnouncementRef self_;
  std::vector<PresentMember> present_;
  std::vector<GoneMember> gone_;
  std::array<std::uint64_t, kDigestBucketsMax> sums_{};
  std::uint64_t version_ = 0;
};

}  // namespace sluice::cluster
