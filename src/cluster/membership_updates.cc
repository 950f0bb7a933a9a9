// Membership: what is believed of what is heard.
#include <algorithm>

#include "base/require.h"
#include "cluster/membership.h"

namespace sluice::cluster {

void Membership::apply(const Origin& origin, const Update& update, Source source) {
  if (const auto* announcement = std::get_if<AnnouncementView>(&update))
    apply(*announcement, source);
  else
    apply(origin, std::get<Accusation>(update), source);
}

// --- announcements ------------------------------------------------------------------------------------------------

void Membership::apply(const AnnouncementView& announcement, Source source) {
  if (announcement.id == self()) return on_announced_self(announcement);
  if (const PresentMember* member = table_.find_present(announcement.id)) {
    if (announcement.revision <= member->announcement->revision) return;
  } else if (const GoneMember* gone = table_.find_gone(announcement.id)) {
    bool later = announcement.revision > gone->revision;
    if (!later && !(gone->unspoken && announcement.revision == gone->revision)) return;
  } else if (table_.present().size() >= options_.members_max) {
    return;
  }
  if (AnnouncementRef read_one = read(announcement)) welcome(std::move(read_one), source);
}

AnnouncementRef Membership::read(const AnnouncementView& view) {
  AnnouncementRef announcement = options_.pool != nullptr ? options_.pool->read(view) : read_announcement(view);
  if (announcement == nullptr) ++malformed_;
  return announcement;
}

void Membership::welcome(AnnouncementRef announcement, Source source) {
  const PresentMember* before = table_.find_present(announcement->id);
  AnnouncementRef last = before != nullptr ? before->announcement : nullptr;
  bool was_suspect = before != nullptr && before->suspect;
  bool restarted = last != nullptr && last->revision.instance != announcement->revision.instance;
  if (restarted) {
    Member lost = describe(*before);
    lost.state = MemberState::dead;
    lost.reason = LossReason::restarted;
    tell(MemberLost{std::move(lost)});
  }
  suspicions_.erase(announcement->id);
  // A list that a new member takes over is news to nobody but itself.
  bool spreads = source == Source::news || !(pull_.active() || joining_);
  if (spreads) spread(announcement->id, encode_update(announcement->view()));
  table_.put_present(announcement);
  changed_at_ = now_;

  const PresentMember* member = table_.find_present(announcement->id);
  if (last == nullptr || restarted) {
    tell(MemberJoined{describe(*member)});
    if (const PresentMember* namesake = table_.find_namesake(*announcement))
      tell(NameConflict{describe(*member), namesake->id()});
  } else if (was_suspect || last->profile != announcement->profile) {
    tell(MemberChanged{describe(*member)});
  }
}

// A member that we lost and told nobody of, since it may have been us that nobody heard. That we hear of it now is no proof:
// after a pause the socket is full of what was sent long ago. An answer is.
void Membership::ask_unspoken(const GoneMember& member) {
  auto asked = revivals_.find(member.id());
  if (asked != revivals_.end() && now_ - asked->second.second < options_.dead_probe_interval_alone) return;
  std::erase_if(revivals_,
                [this](const auto& entry) { return now_ - entry.second.second > options_.dead_probe_interval; });
  std::uint32_t sequence = new_sequence();
  revivals_.insert_or_assign(member.id(), std::pair(sequence, now_));
  send_ping(member.announcement->profile.endpoint, member.id(), sequence);
}

void Membership::revive_unspoken(const Origin& origin, std::uint32_t sequence) {
  auto asked = revivals_.find(origin.sender);
  if (asked == revivals_.end() || asked->second.first != sequence) return;
  revivals_.erase(asked);
  const GoneMember* gone = table_.find_gone(origin.sender);
  if (gone == nullptr || !gone->unspoken) return;
  bool was_alone = alone();
  table_.put_present(AnnouncementRef(gone->announcement));
  changed_at_ = now_;
  tell(MemberJoined{describe(*table_.find_present(origin.sender))});
  if (!was_alone) return;
  // We were cut off from everybody. The list of the first that we meet brings the others back.
  pull_.start(origin.sender, origin.endpoint, now_);
  send(origin.endpoint, GossipWriter(Pull{0}).take());
}

// --- accusations --------------------------------------------------------------------------------------------------

void Membership::apply(const Origin& origin, const Accusation& accusation, Source source) {
  if (accusation.subject == self()) return on_accused_self(accusation);
  const PresentMember* subject = table_.find_present(accusation.subject);
  if (subject == nullptr) {
    if (const GoneMember* gone = table_.find_gone(accusation.subject)) apply_to_gone(*gone, accusation);
    return;
  }
  if (accusation.revision < subject->announcement->revision) return;
  if (accusation.state == MemberState::left) return lose(accusation);

  // Who is not heard of himself is no witness: a node that hears nobody accuses everybody.
  const PresentMember* accuser = table_.find_present(accusation.accuser);
  bool credible = accuser != nullptr && !accuser->suspect;
  if (accusation.state == MemberState::suspect) {
    if (credible) suspect(accusation.subject, accusation.revision, accusation.accuser);
    return;
  }
  // A verdict that is no news may come from the other side of a cut that has just healed: the subject may object first.
  if (credible && source == Source::news) return lose(accusation);
  suspect(accusation.subject, accusation.revision, credible ? accusation.accuser : origin.sender);
}

void Membership::apply_to_gone(const GoneMember& member, const Accusation& accusation) {
  bool later = accusation.revision > member.revision;
  bool more = accusation.revision == member.revision &&
              (member.unspoken || (accusation.state == MemberState::left && member.state == MemberState::dead));
  if (accusation.state == MemberState::suspect || !(later || more)) return;
  table_.put_gone(
      accusation.subject,
      {.revision = accusation.revision, .since = now_, .state = accusation.state, .reason = accusation.reason});
}

void Membership::suspect(const NodeId& subject, const Revision& revision, const NodeId& accuser) {
  const PresentMember* member = table_.find_present(subject);
  REQUIRE(member != nullptr);
  if (suspicions_.contains(subject)) {
    if (suspicions_.confirm(subject, accuser)) spread(subject, encode_update(*suspicions_.accusation(subject)));
    return;
  }
  suspicions_.start({subject, revision, accuser, table_.present().size()}, now_);
  table_.set_suspect(subject, true);
  std::string encoded = encode_update(*suspicions_.accusation(subject));
  // The suspect hears it first, and not by chance.
  GossipWriter writer{Rumours{}};
  writer.add(encoded);
  if (accuser == self()) send(member->announcement->profile.endpoint, writer.take());
  tell(MemberSuspected{describe(*member), accuser});
  spread(subject, std::move(encoded));
  // We know best whom we watch: look at once, and confirm it if it is so.
  if (accuser != self() && watch_.watches(subject)) probe(subject);
}

void Membership::lose(const Accusation& verdict) {
  table_.put_gone(verdict.subject,
                  {.revision = verdict.revision, .since = now_, .state = verdict.state, .reason = verdict.reason});
  changed_at_ = now_;
  suspicions_.erase(verdict.subject);
  probes_.erase(verdict.subject);
  spread(verdict.subject, encode_update(verdict));
  Member member = describe(*table_.find_gone(verdict.subject));
  if (verdict.state == MemberState::left)
    tell(MemberLeft{std::move(member)});
  else
    tell(MemberLost{std::move(member)});
  if (alone()) seeds_.hurry(now_);
}

void Membership::lose_everybody() {
  for (const PresentMember& present : table_.present()) {
    if (present.id() == self()) continue;
    suspicions_.erase(present.id());
    Member member = describe(present);
    member.state = MemberState::dead;
    member.reason = LossReason::silent;
    tell(MemberLost{std::move(member)});
  }
  table_.put_all_gone({.since = now_, .state = MemberState::dead, .reason = LossReason::silent, .unspoken = true});
  probes_.erase_all();
  changed_at_ = now_;
  seeds_.hurry(now_);
  dead_probe_due_ = now_;
}

void Membership::drop_suspicions() {
  for (const PresentMember& present : table_.present()) {
    if (!present.suspect) continue;
    suspicions_.erase(present.id());
    table_.set_suspect(present.id(), false);
    tell(MemberChanged{describe(present)});
  }
}

void Membership::on_refused(const NodeId& id) {
  const PresentMember* member = table_.find_present(id);
  if (member == nullptr) return;
  std::erase_if(refusals_, [this](const auto& entry) { return now_ - entry.second.second > options_.refusal_memory; });
  std::uint64_t instance = member->announcement->revision.instance;
  auto [refusal, is_new] = refusals_.try_emplace(id, instance, now_);
  if (!is_new && refusal->second.first == instance) {  // it has objected: it lives, behind something that refuses us
    probe(id);
    return;
  }
  refusal->second = {instance, now_};
  lose({.state = MemberState::dead,
        .subject = id,
        .revision = member->announcement->revision,
        .accuser = self(),
        .reason = LossReason::refused});
}

// --- ourselves ----------------------------------------------------------------------------------------------------

void Membership::on_announced_self(const AnnouncementView& announcement) {
  const Revision& own = table_.self_announcement()->revision;
  if (announcement.revision.instance == own.instance || leaves_at_) return;
  auto profile = decode_profile(announcement.profile_bytes);
  if (!profile) return;
  // At our own address only our last life can have been.
  bool elsewhere = profile->endpoint != profile_.endpoint;
  bool first = elsewhere && rival_.on_sighting(announcement.revision.instance, profile->endpoint, now_);
  if (announcement.revision < own) return;
  if (!elsewhere || first) return announce_self(announcement.revision.incarnation + 1);
  bid_pending_ = true;
  rival_incarnation_ = std::max(rival_incarnation_, announcement.revision.incarnation);
}

void Membership::on_accused_self(const Accusation& accusation) {
  if (leaves_at_) return;
  accused_here_ = true;
  if (accusation.revision.incarnation < table_.self_announcement()->revision.incarnation) return;
  health_.worse();
  announce_self(accusation.revision.incarnation + 1);
}

void Membership::announce_self(std::uint64_t incarnation) {
  REQUIRE(!profile_problem(profile_));
  AnnouncementRef announcement = make_announcement(self(), {incarnation, options_.instance}, profile_);
  if (options_.pool != nullptr) announcement = options_.pool->read(announcement->view());
  table_.put_present(announcement);
  changed_at_ = now_;
  spread(self(), encode_update(announcement->view()));
}

// --- small pieces -------------------------------------------------------------------------------------------------

void Membership::spread(const NodeId& subject, std::string encoded_update) {
  if (!alone()) rumours_.add(subject, std::move(encoded_update), table_.present().size(), now_);
}

void Membership::tell(MembershipNews news) { events_.push_back({now_, std::move(news)}); }

Member Membership::describe(const PresentMember& member) const {
  const Announcement& said = *member.announcement;
  return {.id = said.id,
          .profile = said.profile,
          .state = member.suspect ? MemberState::suspect : MemberState::alive,
          .incarnation = said.revision.incarnation,
          .instance = said.revision.instance};
}

Member Membership::describe(const GoneMember& member) const {
  return {.id = member.announcement->id,
          .profile = member.announcement->profile,
          .state = member.state,
          .incarnation = member.announcement->revision.incarnation,
          .instance = member.announcement->revision.instance,
          .reason = member.reason};
}

}  // namespace sluice::cluster
