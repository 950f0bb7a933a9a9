// Membership: what comes in from other nodes.
#include "base/require.h"
#include "cluster/membership.h"

namespace sluice::cluster {

void Membership::receive(const Origin& origin, std::string_view payload) {
  if (quiet()) return;
  auto message = decode_gossip(payload);
  if (!message) {
    ++malformed_;
    return;
  }
  if (origin.sender == self()) return receive_from_own_id(origin, *message);
  heard_at_ = now_;
  seeds_.on_answer(origin.endpoint, origin.sender);
  if (const GoneMember* gone = table_.find_gone(origin.sender); gone != nullptr && gone->unspoken) ask_unspoken(*gone);
  if (std::holds_alternative<Join>(message->body)) return receive_join(origin, *message);

  accused_here_ = false;
  Source source = std::holds_alternative<Records>(message->body) ? Source::records : Source::news;
  for (const Update& update : message->updates) apply(origin, update, source);
  std::visit([&](const auto& body) { handle(origin, body); }, message->body);
  // Whoever accuses us hears the answer at once, and not only by what is pushed to others.
  if (accused_here_) {
    GossipWriter writer{Rumours{}};
    writer.add(encode_update(table_.self_announcement()->view()));
    send(origin.endpoint, writer.take());
  }
}

void Membership::on_outdated_datagram(const NodeId& sender, const net::Endpoint& from, TimePoint now) {
  begin_input(now);
  if (!quiet() && sender == self()) send_ping(from, self(), new_sequence());
  const PresentMember* member = table_.find_present(sender);
  if (!quiet() && sender != self() && member != nullptr) {
    GossipWriter writer{Rumours{}};
    writer.add(encode_update(member->announcement->view()));
    send(from, writer.take());
  }
  end_input();
}

// Only what says which instance speaks tells something; and a ping is answered, so that the other can see it too.
void Membership::receive_from_own_id(const Origin& origin, const GossipMessage& message) {
  const Ping* ping = std::get_if<Ping>(&message.body);
  const Ack* ack = std::get_if<Ack>(&message.body);
  const Join* join = std::get_if<Join>(&message.body);
  if (ping == nullptr && ack == nullptr && join == nullptr) return;
  std::uint64_t instance = ping != nullptr ? ping->instance : ack != nullptr ? ack->instance : join->instance;
  if (instance == options_.instance) return;
  if (ping != nullptr) send(origin.endpoint, GossipWriter(Ack{ping->sequence, options_.instance, digest()}).take());
  rival_.on_datagram(instance, origin.endpoint, now_);
  if (auto proof = rival_.poll_proof()) {
    tell(IdConflict{proof->endpoint, proof->we_yield});
    yielded_ = proof->we_yield;
  }
}

// --- probes -------------------------------------------------------------------------------------------------------

void Membership::handle(const Origin& origin, const Ping& ping) {
  send_with_rumours(origin.endpoint, origin.sender, GossipWriter(Ack{ping.sequence, options_.instance, digest()}));
  // The one that pinged compares; but of a stranger we want to know at once who it is.
  if (table_.find_present(origin.sender) == nullptr) compare_digest(origin, ping.digest);
}

void Membership::handle(const Origin& origin, const Ack& ack) {
  if (probes_.on_ack(origin.sender, ack.sequence)) health_.better();
  revive_unspoken(origin, ack.sequence);
  if (auto requester = relays_.on_ack(origin.sender, ack.sequence))
    send(requester->endpoint, GossipWriter(RelayAnswer{requester->sequence, true}).take());
  auto admission = admissions_.find(ack.sequence);
  if (admission != admissions_.end() && admission->second.candidate->id == origin.sender) {
    Admission verified = std::move(admission->second);
    admissions_.erase(admission);
    admit({origin.sender, verified.from}, verified.join, *verified.candidate);
  }
  compare_digest(origin, ack.digest);
}

void Membership::handle(const Origin& origin, const RelayRequest& request) {
  const PresentMember* target = table_.find_present(request.target);
  std::uint32_t sequence = new_sequence();
  bool started = target != nullptr && request.target != self() &&
                 relays_.start(sequence, {request.target, origin.endpoint, request.sequence}, now_);
  if (started)
    send_ping(target->announcement->profile.endpoint, request.target, sequence);
  else
    send(origin.endpoint, GossipWriter(RelayAnswer{request.sequence, false}).take());
}

void Membership::handle(const Origin& origin, const RelayAnswer& answer) {
  probes_.on_relay_answer(origin.sender, answer.sequence, answer.reached);
}

void Membership::handle(const Origin&, const Rumours&) {}

// --- joining ------------------------------------------------------------------------------------------------------

// Its announcement is believed, and spread, only when it was shown that it can be reached where it says: everybody would
// otherwise probe an address in vain, or disturb whoever is there. A datagram from that address shows it.
void Membership::receive_join(const Origin& origin, const GossipMessage& message) {
  const auto& join = std::get<Join>(message.body);
  if (message.updates.empty()) return;
  const auto* view = std::get_if<AnnouncementView>(&message.updates.front());
  AnnouncementRef candidate = view != nullptr && view->id == origin.sender ? read(*view) : nullptr;
  if (candidate == nullptr) return;
  const net::Endpoint& advertised = candidate->profile.endpoint;
  const PresentMember* known = table_.find_present(origin.sender);
  bool reached =
      advertised == origin.endpoint || (known != nullptr && known->announcement->profile.endpoint == advertised);
  if (reached)
    admit(origin, join, *candidate);
  else
    verify_address(origin, join, std::move(candidate));
}

void Membership::verify_address(const Origin& origin, const Join& join, AnnouncementRef candidate) {
  // The candidate asks again and again; so it is on one of its later tries that the first is seen to have failed.
  bool failed =
      std::erase_if(admissions_, [&](const auto& entry) {
        const Admission& admission = entry.second;
        return admission.candidate->id == origin.sender && now_ - admission.since >= options_.admission_timeout;
      }) > 0;
  if (failed) send(origin.endpoint, GossipWriter(JoinRefused{}).take());
  if (admissions_.size() >= options_.admissions_max)
    std::erase_if(admissions_,
                  [&](const auto& entry) { return now_ - entry.second.since >= options_.admission_timeout; });
  if (admissions_.size() >= options_.admissions_max) return;
  net::Endpoint advertised = candidate->profile.endpoint;
  std::uint32_t sequence = new_sequence();
  admissions_.emplace(sequence, Admission{std::move(candidate), join, origin.endpoint, now_});
  send(advertised, GossipWriter(Ping{sequence, options_.instance, digest()}).take());
}

void Membership::admit(const Origin& origin, const Join& join, const Announcement& candidate) {
  apply(candidate.view(), Source::news);
  // If we know something later of that id, from its last life, it must hear it to come back above it.
  const PresentMember* known = table_.find_present(candidate.id);
  bool outdated = known == nullptr || known->announcement->revision != candidate.revision;
  std::string later = outdated ? encode_knowledge(table_, candidate.id).value_or("") : "";
  if (join.wants_list) return send(origin.endpoint, encode_burst(table_, 0, later, options_.pull_datagrams_max));
  GossipWriter writer(Ack{0, options_.instance, digest()});
  if (!later.empty()) writer.add(later);
  send(origin.endpoint, writer.take());
}

void Membership::handle(const Origin&, const Join&) {}  // receive_join

void Membership::handle(const Origin& origin, const JoinRefused&) {
  if (alone()) tell(AdvertisedInVain{origin.endpoint});
}

void Membership::handle(const Origin& origin, const Pull& pull) {
  send(origin.endpoint, encode_burst(table_, pull.position, {}, options_.pull_datagrams_max));
}

void Membership::handle(const Origin& origin, const Records& records) {
  if (!records.ranged) return;
  if (joining_) {
    joining_ = false;
    pull_.start(origin.sender, origin.endpoint, now_);
  }
  if (!pull_.active()) return;
  if (pull_.on_records(origin.sender, records, now_))
    send(pull_.next().endpoint, GossipWriter(Pull{pull_.next().position}).take());
  // The seed has told everybody of us; if it has died meanwhile, this does.
  if (!pull_.active()) spread(self(), encode_update(table_.self_announcement()->view()));
}

// --- agreeing -----------------------------------------------------------------------------------------------------

void Membership::compare_digest(const Origin& origin, std::uint64_t theirs) {
  if (theirs == digest()) {
    sync_wait_ = options_.sync_interval_min;
    return;
  }
  if (now_ < sync_due_ || now_ - changed_at_ < options_.sync_quiet || pull_.active()) return;
  bool in_vain = sync_sum_ == table_.sum();
  sync_wait_ = in_vain ? std::min(2 * sync_wait_, options_.sync_interval_max) : options_.sync_interval_min;
  sync_sum_ = table_.sum();
  sync_due_ = now_ + sync_wait_;
  send(origin.endpoint, GossipWriter(make_digest(table_, shared_)).take());
}

void Membership::compare_shared(const NodeId& sender, std::uint64_t theirs) {
  const PresentMember* member = table_.find_present(sender);
  if (theirs == shared_ || member == nullptr || now_ - shared_told_ < options_.sync_interval_min) return;
  shared_told_ = now_;
  tell(SharedStateDiffers{describe(*member)});
}

void Membership::handle(const Origin& origin, const Digest& digest) {
  compare_shared(origin.sender, digest.shared);
  for (const Summary& summary : summarize_differences(table_, shared_, digest, options_.sync_datagrams_max, random_))
    send(origin.endpoint, GossipWriter(summary).take());
}

void Membership::handle(const Origin& origin, const Summary& summary) {
  compare_shared(origin.sender, summary.shared);
  Comparison comparison = compare(table_, summary);
  send(origin.endpoint, encode_requests(comparison.wanted, options_.sync_datagrams_max));
  send(origin.endpoint, encode_records(table_, comparison.offered, options_.sync_datagrams_max));
}

void Membership::handle(const Origin& origin, const Request& request) {
  send(origin.endpoint, encode_records(table_, request.ids, options_.pull_datagrams_max));
}

}  // namespace sluice::cluster
