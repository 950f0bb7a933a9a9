#include "cluster/membership.h"

#include <algorithm>
#include <tuple>

#include "base/require.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

// After a late wake-up, what has come meanwhile is read before anybody is judged.
constexpr Duration kReadingTime = 100ms;
// After a pause so many are pinged: their answers say whether we were given up.
constexpr std::size_t kAskedAfterPause = 3;
constexpr Duration kForgetInterval = 60s;

void take_earlier(std::optional<TimePoint>& earliest, std::optional<TimePoint> other) {
  if (other && (!earliest || *other < *earliest)) earliest = other;
}

}  // namespace

Membership::Membership(const Options& options, const NodeId& self, Profile profile, std::uint64_t seed, TimePoint now)
    : options_(options),
      profile_(std::move(profile)),
      random_(seed),
      now_(now),
      table_(make_announcement(self, {options.incarnation_start, options.instance}, profile_)),
      health_(options.health_max),
      probes_(options_),
      relays_(options_),
      suspicions_(options_),
      rumours_(options_),
      seeds_(options_),
      pull_(options_),
      watch_(options_),
      rival_(options.instance),
      heard_at_(now),
      shared_told_(now),
      changed_at_(now),
      sync_due_(now),
      sync_wait_(options.sync_interval_min) {
  REQUIRE(options.incarnation_start < kIncarnationMax);
  sequence_ = static_cast<std::uint32_t>(random_());
  // Nodes that start together must not probe in step.
  probe_due_ = now + Duration(random_.below(static_cast<std::uint64_t>(options_.probe_interval.count())));
  dead_probe_due_ = now + options_.dead_probe_interval;
  forget_due_ = now + kForgetInterval;
  watch_table_version_ = table_.version();
}

// --- inputs -------------------------------------------------------------------------------------------------------

void Membership::on_datagram(const NodeId& sender, const net::Endpoint& from, std::string_view payload, TimePoint now) {
  begin_input(now);
  receive({sender, from}, payload);
  end_input();
}

void Membership::on_deadline(TimePoint now) {
  begin_input(now);
  if (!quiet()) {
    run_probes();
    end_suspicions();
    if (now_ >= probe_due_ && !alone()) start_next_probe();
    if (now_ >= dead_probe_due_) probe_dead();
    if (!alone() && now_ - heard_at_ >= options_.deaf_limit) lose_everybody();
    ask_seeds();
    run_pull();
    run_rival();
    watch_.on_deadline(now_);
    if (now_ >= forget_due_) {
      forget_due_ = now_ + kForgetInterval;
      table_.forget_gone({options_.dead_memory, options_.left_memory, options_.gone_max}, now_);
    }
    gone_away_ = leaves_at_ && now_ >= *leaves_at_;
  }
  end_input();
}

void Membership::on_connection_closed(const NodeId& id, TimePoint now) {
  begin_input(now);
  bool present = table_.find_present(id) != nullptr;
  watch_.on_closed(id, present, now_);
  if (present && !quiet()) probe(id);
  end_input();
}

void Membership::on_redial(const NodeId& id, RedialResult result, TimePoint now) {
  begin_input(now);
  if (result == RedialResult::reached) {
    watch_.on_connected(id);
    probes_.erase(id);  // as good as an ack
    heard_at_ = now_;
  } else {
    bool present = table_.find_present(id) != nullptr;
    watch_.on_closed(id, result == RedialResult::broken && present && watch_.may_retry(id), now_);
    if (result == RedialResult::refused && !quiet()) on_refused(id);
  }
  end_input();
}

void Membership::add_seed(const net::Endpoint& endpoint, TimePoint now) {
  begin_input(now);
  seeds_.add(endpoint, now_);
  end_input();
}

void Membership::add_found_seed(const net::Endpoint& endpoint, TimePoint now) {
  begin_input(now);
  seeds_.add_found(endpoint, now_);
  end_input();
}

void Membership::restore(const std::vector<AnnouncementRef>& members, TimePoint now) {
  begin_input(now);
  table_.expect(std::min(members.size(), options_.members_max));
  for (const AnnouncementRef& member : members) {
    bool room = table_.present().size() < options_.members_max;
    if (member->id != self() && table_.find_present(member->id) == nullptr && room) table_.put_present(member);
  }
  heard_at_ = now_;
  changed_at_ = now_;
  end_input();
}

void Membership::set_profile(Profile profile, TimePoint now) {
  begin_input(now);
  profile_ = std::move(profile);
  announce_self(table_.self_announcement()->revision.incarnation + 1);
  end_input();
}

void Membership::set_shared_digest(std::uint64_t digest, TimePoint now) {
  begin_input(now);
  shared_ = digest;
  end_input();
}

void Membership::leave(TimePoint now) {
  begin_input(now);
  if (!leaves_at_ && !yielded_) {
    spread(self(), encode_update(Accusation{.state = MemberState::left,
                                            .subject = self(),
                                            .revision = table_.self_announcement()->revision,
                                            .accuser = self(),
                                            .reason = LossReason::left}));
    // The rounds of pushes, and a moment for the last to go out.
    leaves_at_ = now_ + (alone() ? Duration{} : (options_.push_rounds + 2) * options_.push_round_gap);
  }
  end_input();
}

// --- time ---------------------------------------------------------------------------------------------------------

void Membership::begin_input(TimePoint now) {
  TimePoint awaited = deadline_ ? std::max(*deadline_, now_) : now;
  now_ = std::max(now, now_);
  Duration late = now_ - awaited;
  if (late > options_.late_tolerance) on_late(late);
}

void Membership::on_late(Duration late) {
  Duration back = late + kReadingTime;
  probes_.put_off_all(back);
  suspicions_.put_off_all(back);
  pull_.put_off(back);
  heard_at_ = std::min(now_, heard_at_ + late);
  if (late > options_.late_unhealthy) health_.worse();
  if (late > options_.late_paused) on_pause(late);
}

// What we waited for is long past. The others may have given us up: their answers will say so, and we object.
void Membership::on_pause(Duration late) {
  tell(Paused{late});
  probes_.erase_all();
  drop_suspicions();
  heard_at_ = now_;
  if (late > options_.late_forgotten) return lose_everybody();
  for (const PresentMember* member : table_.pick(kAskedAfterPause, random_))
    send_ping(member->announcement->profile.endpoint, member->id(), new_sequence());
}

void Membership::end_input() {
  if (!quiet()) {
    push_rumours();
    update_watch();
  }
  deadline_ = next_deadline();
}

std::optional<TimePoint> Membership::next_deadline() const {
  if (quiet()) return std::nullopt;
  std::optional<TimePoint> earliest = leaves_at_;
  if (!alone()) {
    take_earlier(earliest, probe_due_);
    take_earlier(earliest, heard_at_ + options_.deaf_limit);
    take_earlier(earliest, rumours_.push_deadline());
  }
  if (!table_.gone().empty()) {
    take_earlier(earliest, dead_probe_due_);
    take_earlier(earliest, forget_due_);
  }
  take_earlier(earliest, probes_.deadline());
  take_earlier(earliest, relays_.deadline());
  take_earlier(earliest, suspicions_.deadline());
  take_earlier(earliest, seeds_.deadline());
  take_earlier(earliest, pull_.deadline());
  take_earlier(earliest, watch_.deadline());
  take_earlier(earliest, rival_.deadline());
  return earliest;
}

// --- probing ------------------------------------------------------------------------------------------------------

void Membership::run_probes() {
  while (auto due = probes_.poll_due(now_)) {
    if (due->step == MembershipProbes::Step::failed)
      on_probe_failed(*due);
    else
      retry_probe(*due, due->step == MembershipProbes::Step::last_try);
  }
  while (auto requester = relays_.poll_failed(now_))
    send(requester->endpoint, GossipWriter(RelayAnswer{requester->sequence, false}).take());
}

void Membership::start_next_probe() {
  probe_due_ = now_ + health_.factor() * options_.probe_interval;
  neighbours_turn_ = !neighbours_turn_;
  if (neighbours_turn_ && !watched().empty() && probe(watched()[neighbour_++ % watched().size()])) return;
  // Some are being asked already; a few steps further there is one who is not.
  for (unsigned tries = 0; tries < options_.neighbours; ++tries)
    if (probe(next_of_round()->id())) return;
}

// Round the ring from a position drawn anew for each round: everybody is visited once a round, without a list to shuffle
// and to keep for it.
const PresentMember* Membership::next_of_round() {
  REQUIRE(!alone());
  const auto& present = table_.present();
  if (round_left_ == 0) {
    round_left_ = present.size() - 1;
    round_position_ = random_();
  }
  const PresentMember* member = &present[table_.index_from(round_position_)];
  if (member->id() == self()) member = &present[table_.index_from(member->position + 1)];
  round_position_ = member->position + 1;
  --round_left_;
  return member;
}

bool Membership::probe(const NodeId& id) {
  const PresentMember* member = table_.find_present(id);
  if (member == nullptr || id == self()) return false;
  auto sequence = probes_.start(id, new_sequence(), health_.factor(), now_);
  if (!sequence) return false;
  send_ping(member->announcement->profile.endpoint, id, *sequence);
  return true;
}

void Membership::retry_probe(const MembershipProbes::Due& due, bool last) {
  const PresentMember* target = table_.find_present(due.target);
  INVARIANT(target != nullptr);  // whoever goes takes his probes along
  send_ping(target->announcement->profile.endpoint, due.target, due.sequence);
  auto fits = [&](const PresentMember& relay) {
    return !relay.suspect && relay.id() != due.target && !probes_.was_relay(due.sequence, relay.id());
  };
  for (const PresentMember* relay : table_.pick(options_.relays, random_, fits)) {
    send(relay->announcement->profile.endpoint, GossipWriter(RelayRequest{due.sequence, due.target}).take());
    probes_.note_relay(due.sequence, relay->id());
  }
  if (last) watch_.ask(due.target);
}

void Membership::on_probe_failed(const MembershipProbes::Due& due) {
  bool deaf = heard_at_ < due.started;
  bool relays_silent = due.relays_asked > 0 && due.relays_answered == 0;
  if (deaf || relays_silent) health_.worse();
  // If nobody at all was heard it may be us. When that goes on, everybody is lost, and nobody accused.
  if (deaf) return;
  if (const PresentMember* target = table_.find_present(due.target))
    suspect(due.target, target->announcement->revision, self());
}

void Membership::end_suspicions() {
  while (auto subject = suspicions_.poll_expired(now_)) {
    if (now_ - heard_at_ > options_.probe_timeout) {
      suspicions_.put_off(*subject, now_ + options_.probe_timeout);
      continue;
    }
    Accusation verdict = *suspicions_.accusation(*subject);
    verdict.state = MemberState::dead;
    verdict.accuser = self();
    verdict.reason = LossReason::silent;
    lose(verdict);
  }
}

// After a cut it is here that the two sides meet again.
void Membership::probe_dead() {
  dead_probe_due_ = now_ + (alone() ? options_.dead_probe_interval_alone : options_.dead_probe_interval);
  const GoneMember* member = table_.pick_dead(random_);
  if (member == nullptr) return;
  if (member->unspoken) return ask_unspoken(*member);
  send_ping(member->announcement->profile.endpoint, member->id(), new_sequence());
}

// --- joining ------------------------------------------------------------------------------------------------------

void Membership::ask_seeds() {
  auto covered = [this](const net::Endpoint& endpoint, const std::optional<NodeId>& answered) {
    if (answered && table_.find_present(*answered) != nullptr) return true;
    return std::ranges::any_of(table_.present(), [&](const PresentMember& member) {
      return member.announcement->profile.endpoint == endpoint;
    });
  };
  std::vector<net::Endpoint> due = seeds_.poll_due(alone(), covered, now_);
  if (due.empty()) return;
  joining_ = alone();
  GossipWriter writer(Join{.instance = options_.instance, .digest = digest(), .wants_list = alone()});
  writer.add(encode_update(table_.self_announcement()->view()));
  std::string payload = writer.take();
  for (const net::Endpoint& seed : due)
    if (seed != profile_.endpoint) send(seed, payload);
}

void Membership::run_pull() {
  if (pull_.on_deadline(now_)) send(pull_.next().endpoint, GossipWriter(Pull{pull_.next().position}).take());
}

void Membership::run_rival() {
  if (auto endpoint = rival_.poll_challenge(now_)) send_ping(*endpoint, self(), new_sequence());
  if (!rival_.poll_settled(now_) || !bid_pending_) return;
  bid_pending_ = false;
  announce_self(rival_incarnation_ + 1);
}

// --- what goes out ------------------------------------------------------------------------------------------------

// While a list is being taken over, those behind us on the ring change with every piece of it.
void Membership::update_watch() {
  if (pull_.active() || watch_table_version_ == table_.version()) return;
  watch_table_version_ = table_.version();
  watch_.set_watched(table_.successors(options_.neighbours), now_);
}

void Membership::push_rumours() {
  if (alone()) return;
  std::vector<std::string> payloads = rumours_.poll_push(now_);
  if (payloads.empty()) return;
  for (const PresentMember* member : table_.pick(options_.fanout, random_))
    send(member->announcement->profile.endpoint, payloads);
}

void Membership::send(const net::Endpoint& to, std::string payload) {
  INVARIANT(payload.size() <= kGossipPayloadMax);
  datagrams_.push_back({to, std::move(payload)});
}

void Membership::send(const net::Endpoint& to, const std::vector<std::string>& payloads) {
  for (const std::string& payload : payloads) send(to, payload);
}

void Membership::send_ping(const net::Endpoint& to, const NodeId& target, std::uint32_t sequence) {
  send_with_rumours(to, target, GossipWriter(Ping{sequence, options_.instance, digest()}));
}

// Whoever is suspected or given up hears of it with everything that it is sent, so that it can object.
void Membership::send_with_rumours(const net::Endpoint& to, const NodeId& target, GossipWriter writer) {
  if (auto accusation = suspicions_.accusation(target)) writer.add(encode_update(*accusation));
  if (table_.find_present(target) == nullptr)
    if (auto verdict = encode_knowledge(table_, target)) writer.add(*verdict);
  rumours_.ride_along(writer, now_);
  send(to, writer.take());
}

std::optional<OutgoingDatagram> Membership::poll_datagram() {
  if (datagrams_.empty()) return std::nullopt;
  OutgoingDatagram datagram = std::move(datagrams_.front());
  datagrams_.pop_front();
  return datagram;
}

std::optional<MembershipEvent> Membership::poll_event() {
  if (events_.empty()) return std::nullopt;
  MembershipEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

std::optional<RedialRequest> Membership::poll_redial() {
  while (auto id = watch_.poll_dial()) {
    const PresentMember* member = table_.find_present(*id);
    if (member != nullptr && !quiet()) return RedialRequest{*id, member->announcement->profile.endpoint};
    watch_.on_closed(*id, false, now_);  // it has gone meanwhile
  }
  return std::nullopt;
}

// --- what is known ------------------------------------------------------------------------------------------------

std::vector<Member> Membership::members() const {
  std::vector<Member> members;
  members.reserve(table_.present().size() + table_.gone().size());
  for (const PresentMember& member : table_.present()) members.push_back(describe(member));
  for (const GoneMember& member : table_.gone()) members.push_back(describe(member));
  std::ranges::sort(members, [](const Member& a, const Member& b) {
    return std::tie(a.profile.name, a.id) < std::tie(b.profile.name, b.id);
  });
  return members;
}

std::optional<Member> Membership::find(const NodeId& id) const {
  if (const PresentMember* member = table_.find_present(id)) return describe(*member);
  if (const GoneMember* member = table_.find_gone(id)) return describe(*member);
  return std::nullopt;
}

std::vector<Member> Membership::find_named(std::string_view name) const {
  std::vector<Member> members;
  for (const PresentMember& member : table_.present())
    if (member.announcement->profile.name == name) members.push_back(describe(member));
  return members;
}

void Membership::visit_present(const std::function<void(const Announcement&, MemberState)>& visitor) const {
  for (const PresentMember& member : table_.present())
    visitor(*member.announcement, member.suspect ? MemberState::suspect : MemberState::alive);
}

}  // namespace sluice::cluster
