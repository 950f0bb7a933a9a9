#pragma once
// What a node says of itself, read and kept: immutable, and shared by all who hold it.
// Threading: pure values. A pool belongs to one thread.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "cluster/gossip_message.h"
#include "cluster/member.h"

namespace sluice::cluster {

/// `profile_bytes` is kept as it came, so that it can be passed on without being encoded again, and with the fields of a
/// later version that `profile` does not have.
struct Announcement {
  NodeId id;
  Revision revision;
  Profile profile;
  std::string profile_bytes;

  AnnouncementView view() const { return {.id = id, .revision = revision, .profile_bytes = profile_bytes}; }
};

/// Shared, not owned: a member's announcement is in the table of its machine, may be in an event of the shell, and in the
/// simulator in 10,000 tables. There, one copy for each would be 10^8 profiles of some 300 bytes; shared it is 16 bytes each.
using AnnouncementRef = std::shared_ptr<const Announcement>;

AnnouncementRef make_announcement(const NodeId& id, Revision revision, Profile profile);
/// Errors: null, if the profile is not one that a node may have.
AnnouncementRef read_announcement(const AnnouncementView& view);

/// Gives all machines of one process the same announcement for the same bytes. A node has one machine and needs none; the
/// simulator has thousands. What is in the pool stays there.
class AnnouncementPool final {
 public:
  AnnouncementRef read(const AnnouncementView& view);
  std::size_t size() const { return known_.size(); }

 private:
  std::unordered_map<std::string, AnnouncementRef> known_;  // looked up by the encoded update; never iterated
  std::string key_;                                         // kept for its memory
};

}  // namespace sluice::cluster
