#pragma once
// What membership has to tell: to subscriptions, to the log, to the parts of a node that rely on others.
// Threading: pure values.
#include <cstdint>
#include <variant>

#include "base/time.h"
#include "cluster/member.h"
#include "net/address.h"

namespace sluice::cluster {

struct MemberJoined {
  Member member;
};
/// Its labels, its address or its state changed; a suspicion that was refuted is told so as well.
struct MemberChanged {
  Member member;
};
struct MemberSuspected {
  Member member;
  NodeId accuser;
};
/// It is dead; why is in the member. One that `restarted` is told as joined right behind it.
struct MemberLost {
  Member member;
};
struct MemberLeft {
  Member member;
};
/// Another process uses our id: a copied data directory. Who yields falls silent, and the shell ought to end the node.
struct IdConflict {
  net::Endpoint other;
  bool we_yield = false;
};
/// Two members have one name: allowed, but nobody can be found by it.
struct NameConflict {
  Member member;
  NodeId other;
};
/// What is agreed on beside the members (the revocations) is not the same there: fetch it by a call.
struct SharedStateDiffers {
  Member member;
};
/// A seed could not reach us at the address that we advertise.
struct AdvertisedInVain {
  net::Endpoint seed;
};
/// We were not running for so long.
struct Paused {
  Duration duration{};
};

using MembershipNews = std::variant<MemberJoined, MemberChanged, MemberSuspected, MemberLost, MemberLeft, IdConflict,
                                    NameConflict, SharedStateDiffers, AdvertisedInVain, Paused>;

struct MembershipEvent {
  TimePoint at;
  MembershipNews what;
};

}  // namespace sluice::cluster
