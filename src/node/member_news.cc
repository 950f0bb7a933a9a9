#include "node/member_news.h"

#include <chrono>

namespace sluice::node {

void MemberNews::tell(const cluster::MembershipEvent& event) {
  std::visit([this](const auto& what) { on(what); }, event.what);
}

void MemberNews::on(const cluster::MemberJoined& event) {
  if (event.member.id == self_) return;
  log_.info("node joined", {{"node", event.member.profile.name},
                            {"id", event.member.id.text()},
                            {"at", net::to_text(event.member.profile.endpoint)}});
  handlers_.on_change(MemberChange::joined, event.member);
}

void MemberNews::on(const cluster::MemberChanged& event) { handlers_.on_change(MemberChange::changed, event.member); }

void MemberNews::on(const cluster::MemberSuspected& event) {
  log_.debug("node suspected", {{"node", event.member.profile.name}});
  handlers_.on_change(MemberChange::suspected, event.member);
}

void MemberNews::on(const cluster::MemberLost& event) {
  log_.warn("node lost", {{"node", event.member.profile.name}, {"reason", cluster::reason_name(event.member.reason)}});
  handlers_.on_change(MemberChange::lost, event.member);
  handlers_.on_lost(event.member.id);
  handlers_.on_gone(event.member.id, event.member.reason == cluster::LossReason::refused
                                         ? "its process ended; its host refuses connections"
                                         : "it does not answer any more");
}

void MemberNews::on(const cluster::MemberLeft& event) {
  log_.info("node left", {{"node", event.member.profile.name}});
  handlers_.on_change(MemberChange::left, event.member);
  // Its connections end with it: an answer may be under way.
  handlers_.on_gone(event.member.id, "it has left the cluster");
}

void MemberNews::on(const cluster::IdConflict& event) {
  log_.error("another process uses this node's id; is its certificate or its data directory a copy?",
             {{"at", net::to_text(event.other)}});
  if (event.we_yield) handlers_.on_own_copy(event.other);
}

void MemberNews::on(const cluster::NameConflict& event) {
  log_.warn("two nodes have one name; @NODE can't tell them apart", {{"name", event.member.profile.name}});
}

void MemberNews::on(const cluster::SharedStateDiffers& event) { handlers_.on_shared_state_differs(event.member.id); }

void MemberNews::on(const cluster::AdvertisedInVain& event) {
  log_.warn("a node to join can't reach this one at its address; see --advertise",
            {{"address", net::to_text(advertised_)}, {"says", net::to_text(event.seed)}});
}

void MemberNews::on(const cluster::Paused& event) {
  log_.info("was not running", {{"ms", std::chrono::duration_cast<std::chrono::milliseconds>(event.duration).count()}});
}

}  // namespace sluice::node
