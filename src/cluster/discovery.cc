#include "cluster/discovery.h"

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::cluster {
namespace {

// What is due by now is taken out and given to `act`.
template <class Pending, class Act>
void take_due(std::vector<Pending>& pending, TimePoint now, Act act) {
  auto later =
      std::stable_partition(pending.begin(), pending.end(), [now](const Pending& each) { return each.due <= now; });
  for (auto each = pending.begin(); each != later; ++each) act(*each);
  pending.erase(pending.begin(), later);
}

template <class Value>
std::optional<Value> take_first(std::vector<Value>& values) {
  if (values.empty()) return std::nullopt;
  Value first = std::move(values.front());
  values.erase(values.begin());
  return first;
}

Profile without_labels(Profile profile) {
  profile.labels.clear();  // membership tells them to whom they matter
  return profile;
}

}  // namespace

Discovery::Discovery(const DiscoveryOptions& options, Profile self, const Company& company, std::uint64_t seed,
                     TimePoint now)
    : options_(options),
      self_(without_labels(std::move(self))),
      company_(company),
      random_(seed),
      announcement_due_(now),
      alone_wait_(options.alone_wait_min),
      answers_left_(options.answers_burst),
      answers_since_(now) {
  REQUIRE(!profile_problem(self_));
}

// --- inputs -------------------------------------------------------------------------------------------------------

void Discovery::on_datagram(const Speaker& speaker, std::string_view payload, TimePoint now) {
  carry_out(now);
  auto message = decode_discovery(payload);
  if (!message) {
    ++dropped_.malformed;
    return;
  }
  if (const auto* query = std::get_if<DiscoveryQuery>(&*message))
    on_query(speaker, *query, now);
  else
    on_announcement(speaker, std::get<DiscoveryAnnouncement>(*message), now);
  carry_out(now);
}

void Discovery::on_deadline(TimePoint now) { carry_out(now); }

void Discovery::on_query(const Speaker& speaker, const DiscoveryQuery& query, TimePoint now) {
  std::size_t members = company_.size();
  if (!is_wanted(query.attempt, members)) return;
  if (!take_answer(now)) {
    ++dropped_.too_many;
    return;
  }
  std::size_t others = std::min(members, options_.answers_wanted) - 1;
  Duration wait = below(static_cast<Duration::rep>(others) * options_.answer_spread);
  answers_.push_back({.due = now + wait, .to = speaker.from, .question = query.question});
}

// Whether we are among those that answer.
bool Discovery::is_wanted(std::uint8_t attempt, std::size_t members) {
  std::size_t wanted = options_.answers_wanted;
  for (int i = 0; i < attempt && wanted < members; ++i) wanted *= 4;
  return wanted >= members || random_.below(members) < wanted;
}

bool Discovery::take_answer(TimePoint now) {
  auto refilled = (now - answers_since_) / options_.answer_refill;
  if (refilled >= options_.answers_burst - answers_left_) {
    answers_left_ = options_.answers_burst;
    answers_since_ = now;
  } else if (refilled > 0) {
    answers_left_ += static_cast<unsigned>(refilled);
    answers_since_ += refilled * options_.answer_refill;
  }
  if (answers_left_ == 0) return false;
  --answers_left_;
  return true;
}

void Discovery::on_announcement(const Speaker& speaker, const DiscoveryAnnouncement& announcement, TimePoint now) {
  bool an_answer = announcement.question != 0;  // which was for somebody else
  if (speaker.boot.is_passer_by() || an_answer) {
    ++dropped_.malformed;
    return;
  }
  if (company_.contains(speaker.id, speaker.boot)) return wait_for_others(now);
  const net::Endpoint& endpoint = announcement.profile.endpoint;
  if (net::is_loopback(endpoint.address) && !net::is_loopback(self_.endpoint.address)) {
    ++dropped_.out_of_reach;
    return;
  }
  auto known = std::ranges::find(seeds_, speaker.id, &PendingSeed::id);
  if (known != seeds_.end()) {
    known->boot = speaker.boot;
    known->endpoint = endpoint;
    return;
  }
  if (seeds_.size() >= options_.seeds_pending_max) {
    ++dropped_.too_many;
    return;
  }
  Duration spread = static_cast<Duration::rep>(company_.size() - 1) * options_.seed_spread;
  Duration wait = below(std::min(spread, options_.seed_spread_max));
  seeds_.push_back({.due = now + wait, .id = speaker.id, .boot = speaker.boot, .endpoint = endpoint});
}

void Discovery::carry_out(TimePoint now) {
  take_due(answers_, now, [this](const PendingAnswer& answer) {
    outgoing_.push_back({.to = answer.to, .payload = encode_discovery(DiscoveryAnnouncement{answer.question, self_})});
  });
  take_due(seeds_, now, [this](const PendingSeed& seed) {
    if (!company_.contains(seed.id, seed.boot)) found_.push_back(seed.endpoint);
  });
  if (announcement_due_ <= now) announce(now);
}

// --- announcing ---------------------------------------------------------------------------------------------------

void Discovery::announce(TimePoint now) {
  outgoing_.push_back({.to = {}, .payload = encode_discovery(DiscoveryAnnouncement{.question = 0, .profile = self_})});
  if (!alone() || alone_wait_ >= options_.interval) return wait_for_others(now);
  announcement_due_ = now + alone_wait_;
  alone_wait_ *= 2;
}

void Discovery::wait_for_others(TimePoint now) {
  announcement_due_ = now + options_.interval / 2 + below(options_.interval / 2);
}

Duration Discovery::below(Duration limit) {
  if (limit <= Duration::zero()) return Duration::zero();
  return Duration(static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(limit.count()))));
}

// --- outputs ------------------------------------------------------------------------------------------------------

std::optional<Discovery::Outgoing> Discovery::poll_datagram() { return take_first(outgoing_); }
std::optional<net::Endpoint> Discovery::poll_seed() { return take_first(found_); }

std::optional<TimePoint> Discovery::poll_deadline() const {
  TimePoint earliest = announcement_due_;
  for (const PendingAnswer& answer : answers_) earliest = std::min(earliest, answer.due);
  for (const PendingSeed& seed : seeds_) earliest = std::min(earliest, seed.due);
  return earliest;
}

}  // namespace sluice::cluster
