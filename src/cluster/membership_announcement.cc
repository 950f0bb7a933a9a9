#include "cluster/membership_announcement.h"

#include <utility>

namespace sluice::cluster {

AnnouncementRef make_announcement(const NodeId& id, Revision revision, Profile profile) {
  std::string bytes = encode_profile(profile);
  return std::make_shared<const Announcement>(Announcement{id, revision, std::move(profile), std::move(bytes)});
}

AnnouncementRef read_announcement(const AnnouncementView& view) {
  auto profile = decode_profile(view.profile_bytes);
  if (!profile) return nullptr;
  return std::make_shared<const Announcement>(
      Announcement{view.id, view.revision, std::move(*profile), std::string(view.profile_bytes)});
}

AnnouncementRef AnnouncementPool::read(const AnnouncementView& view) {
  key_.assign(reinterpret_cast<const char*>(&view.id), sizeof view.id);
  key_.append(reinterpret_cast<const char*>(&view.revision), sizeof view.revision);
  key_.append(view.profile_bytes);
  auto [place, is_new] = known_.try_emplace(key_);
  if (is_new) place->second = read_announcement(view);
  return place->second;
}

}  // namespace sluice::cluster
