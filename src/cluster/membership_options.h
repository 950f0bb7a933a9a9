#pragma once
// The times and limits of membership, each with its reason. docs/membership.md has the sums behind them.
#include <cstdint>

#include "base/time.h"

namespace sluice::cluster {

class AnnouncementPool;

struct MembershipOptions {
  // --- who we are ---
  /// Where our incarnations start. A node that was restarted and starts above its last one is believed at once; below it,
  /// it is told by the first who hears it. The upper bits of the boot number serve.
  std::uint64_t incarnation_start = 1;
  /// Which start of this node it is: it grows with each (cluster/boot_number.h). Of two processes with one id the one with
  /// the lower instance yields, because the seal refuses its datagrams wherever the other was heard.
  std::uint64_t instance = 0;

  // --- probing ---
  /// One probe in four tenths of the budget: at 1 kB a second, a ping and an ack of 102 bytes each, headers and seal
  /// included, can be sent 4.9 times. Every other probe goes to a neighbour on the ring, so that each member is looked at
  /// by each of its three watchers every 1.5 s whatever the size of the cluster; the rest go round the whole list.
  Duration probe_interval = std::chrono::milliseconds(250);
  /// A second ping, and relays: beyond any round trip of a LAN and most of a continent.
  Duration probe_retry = std::chrono::milliseconds(200);
  /// A third ping, other relays, and a connection: a loss of 20 % must not look like a death.
  Duration probe_last_try = std::chrono::milliseconds(450);
  /// Nothing has answered: a suspicion begins.
  Duration probe_timeout = std::chrono::milliseconds(800);
  /// What a relay waits for the target before it says no: its answer must arrive before the requester's next step.
  Duration relay_timeout = std::chrono::milliseconds(150);
  unsigned relays = 3;          // at each of the two steps, as in SWIM
  std::size_t probes_max = 64;  // under way at once: some 4 are in peace; beyond it, the list is walked more slowly
  std::size_t relayed_max = 256;
  unsigned neighbours = 3;  // whom we watch: two may die together with the watched

  // --- suspicion (Lifeguard) ---
  /// With enough confirmations. The suspect is told at once and has this long to object, a pause of its own included.
  Duration suspicion_min = std::chrono::milliseconds(1500);
  /// Without any: not longer, since 1.5 s (first probe) + 0.8 s + this must stay near 5 s even then.
  Duration suspicion_max = std::chrono::milliseconds(3000);
  unsigned confirmations = 3;  // the neighbours of the suspect, who probe it as soon as they hear of the suspicion
  /// Nobody at all was heard for so long: it may be us, so we lose everybody in silence instead of accusing them. A node
  /// hears some 8 datagrams a second, so 28 would have to be lost in a row.
  Duration deaf_limit = std::chrono::milliseconds(3500);
  /// What is the greatest factor, less one, by which a node that is not well slows its own probing.
  unsigned health_max = 4;
  /// Woken later than asked by more than this, we were not running: what we waited for may have come meanwhile.
  Duration late_tolerance = std::chrono::milliseconds(20);
  /// Later than this we are slow enough to doubt ourselves.
  Duration late_unhealthy = std::chrono::milliseconds(100);
  /// Later than this others may have given us up: we ask.
  Duration late_paused = std::chrono::seconds(1);
  /// After a pause as long as this, what we know is stale: others may have forgotten again who died since.
  Duration late_forgotten = std::chrono::minutes(30);
  /// A refused connection is proof once. If the member objects, probes decide for this long: there is a firewall between.
  Duration refusal_memory = std::chrono::minutes(1);

  // --- rumours ---
  unsigned fanout = 4;  // in one round of pushes 98 % are reached (1 - e^-4), in three all but 6 in a million
  unsigned push_rounds = 3;
  Duration push_round_gap = std::chrono::milliseconds(8);
  /// A second push follows no sooner, so that in a storm many rumours share a datagram.
  Duration push_gap = std::chrono::milliseconds(2);
  /// After the pushes a rumour rides on pings and acks, but not for longer than this: by then the digests have been
  /// compared, and after a storm of rumours the rides would go on for minutes.
  Duration ride_time = std::chrono::seconds(1);
  unsigned push_datagrams_max = 4;  // to each in one push; the rest waits for the next
  std::size_t rumours_max = 4096;   // under way at once; beyond it the oldest go, and the digests repair it

  // --- agreeing ---
  /// Not more often than this is a difference between two lists looked into, by the side that pinged.
  Duration sync_interval_min = std::chrono::milliseconds(1000);
  /// If looking into it changes nothing: two versions of the program may see it differently for ever.
  Duration sync_interval_max = std::chrono::seconds(10);
  /// While our own list is fresh, rumours are on their way to the others.
  Duration sync_quiet = std::chrono::milliseconds(50);
  unsigned sync_datagrams_max = 4;  // of each kind in answer to one datagram
  unsigned pull_datagrams_max = 8;  // of a new member's list before it asks for more: 10 kB fit any socket's buffer
  Duration pull_timeout = std::chrono::milliseconds(200);
  unsigned pull_tries = 5;

  // --- joining, and coming together again ---
  Duration seed_interval_min = std::chrono::milliseconds(250);
  Duration seed_interval_max = std::chrono::seconds(2);  // while alone
  /// In company, for seeds at whose address no member is: two clusters that started apart find each other.
  Duration seed_interval_joined = std::chrono::seconds(10);
  std::size_t seeds_max = 64;
  /// Of an address that discovery found: nodes announce themselves again several times within it (cluster/discovery.h).
  Duration seed_memory = std::chrono::minutes(1);
  /// A dead member, chosen at random, is pinged this often. After a cut each node so finds somebody of the other side,
  /// and both hear that they were given up. 51 bytes a second.
  Duration dead_probe_interval = std::chrono::seconds(2);
  Duration dead_probe_interval_alone = std::chrono::milliseconds(500);
  Duration admission_timeout = std::chrono::seconds(1);
  std::size_t admissions_max = 64;

  // --- memory ---
  Duration dead_memory = std::chrono::hours(24);
  Duration left_memory = std::chrono::hours(1);
  std::size_t gone_max = 8192;
  std::size_t members_max =
      20'000;  // twice the largest cluster that was simulated; the key does not protect from its holders

  // --- connections ---
  Duration redial_interval_min = std::chrono::seconds(1);
  Duration redial_interval_max = std::chrono::seconds(30);

  /// For simulations: shares announcements between machines. Borrowed; it outlives them.
  AnnouncementPool* pool = nullptr;
};

}  // namespace sluice::cluster
