#pragma once
// Who belongs to the cluster, as one node learns it from the others: SWIM (Das, Gupta and Motivala 2002) with Lifeguard's local
// health and confirmed suspicions (Dadgar, Phillips and Currey 2018), rumours pushed at once, and lists compared by digest.
// docs/membership.md explains it, docs/protocol-gossip.md has the bytes.
//
// What a node holds of another:
//
//             an announcement                    nobody reaches it             the suspect does not object
//   unknown ------------------> alive --------------------------> suspect --------------------------------> dead
//                                 ^ <------------------------------  |                                       |
//                                 |        a later announcement      | connection refused, in both states -> |
//                                 +------------------------------------------------------------------------- +
//   left: it said so itself. Dead and left are remembered, so that old news can't bring a member back.
//
// Of two statements about a member the later Revision counts; of equal ones left before dead before suspect before alive. Only
// the member itself makes a later one, so only it can undo what is said of it. The one exception is a verdict that nobody was
// told of (GoneMember::unspoken).
//
// What the shell must do:
// - It seals what poll_datagram gives, opens what it hands to on_datagram, and calls poll_* until empty after every input.
// - It calls on_deadline when poll_deadline is reached. By how much later it was, the machine sees that it was not running;
//   so it must not be called at other times for form's sake, and `now` is the time of the call, not of the event.
// - It listens for connections before it adds the first seed: a refused connection is taken for a death.
// - For each poll_redial it dials, and tells the result by on_redial, always. `reached` means that this very node proved who it
//   is; another node at that address, or nobody within a second, is `silent`. It keeps the connection if the member is among
//   watched(), and closes it when it is not any more (watch_version() changes). When one breaks it calls on_connection_closed.
// Threading: none of its own; no clock, no I/O, no global randomness.
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/random.h"
#include "base/time.h"
#include "cluster/gossip_message.h"
#include "cluster/member.h"
#include "cluster/membership_event.h"
#include "cluster/membership_health.h"
#include "cluster/membership_options.h"
#include "cluster/membership_probes.h"
#include "cluster/membership_rival.h"
#include "cluster/membership_rumours.h"
#include "cluster/membership_seeds.h"
#include "cluster/membership_suspicions.h"
#include "cluster/membership_sync.h"
#include "cluster/membership_table.h"
#include "cluster/membership_watch.h"

namespace sluice::cluster {

struct OutgoingDatagram {
  net::Endpoint to;
  std::string payload;  // at most kGossipPayloadMax
};

struct RedialRequest {
  NodeId id;
  net::Endpoint endpoint;
};
enum class RedialResult {
  reached,
  refused,
  broken,  // it was taken, and ended before the other side could say who it is: its process may have died just then
  silent
};

class Membership final {
 public:
  using Options = MembershipOptions;

  /// Requires: no profile_problem; the incarnation to start at is below kIncarnationMax.
  Membership(const Options& options, const NodeId& self, Profile profile, std::uint64_t seed, TimePoint now);
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // --- inputs ---
  /// A datagram that was opened: its seal proves that a member of the cluster sent it, under that id.
  /// An authentic datagram came from `from`, from before the latest start of its sender: another process with its id may run
  /// there, which nobody hears. It is told of the later one. The shell calls this once a second at most.
  void on_outdated_datagram(const NodeId& sender, const net::Endpoint& from, TimePoint now);
  void on_datagram(const NodeId& sender, const net::Endpoint& from, std::string_view payload, TimePoint now);
  void on_deadline(TimePoint now);  // early calls do nothing
  void on_connection_closed(const NodeId& id, TimePoint now);
  void on_redial(const NodeId& id, RedialResult result, TimePoint now);
  /// Somewhere to look for members. It goes on being asked while nobody else is known.
  void add_seed(const net::Endpoint& endpoint, TimePoint now);
  /// The same of an address that discovery found: forgotten after a while, unless it is found again.
  void add_found_seed(const net::Endpoint& endpoint, TimePoint now);
  /// Members known from before, such as from the last run: taken for alive until probes say otherwise.
  void restore(const std::vector<AnnouncementRef>& members, TimePoint now);
  /// Says something else of ourselves from now on. Requires: no profile_problem.
  void set_profile(Profile profile, TimePoint now);
  /// A digest of what else the nodes agree on. That a member has another is told as SharedStateDiffers.
  void set_shared_digest(std::uint64_t digest, TimePoint now);
  /// Tells the others that we go. They know when may_go() is true; it takes a few hundredths of a second. Who has yielded its id
  /// may go at once: its word would count for the other.
  void leave(TimePoint now);

  // --- outputs ---
  std::optional<OutgoingDatagram> poll_datagram();
  std::optional<MembershipEvent> poll_event();
  std::optional<RedialRequest> poll_redial();
  std::optional<TimePoint> poll_deadline() const { return deadline_; }

  // --- what is known ---
  bool may_go() const { return quiet(); }
  const NodeId& self() const { return table_.self(); }
  /// Everybody, we ourselves and those who are gone included; by name, then by id.
  std::vector<Member> members() const;
  std::optional<Member> find(const NodeId& id) const;
  /// Those present under that name: usually one.
  std::vector<Member> find_named(std::string_view name) const;
  /// How many are present, we ourselves included.
  std::size_t present_count() const { return table_.present().size(); }
  void visit_present(const std::function<void(const Announcement&, MemberState)>& visitor) const;
  /// With whom to keep a connection.
  const std::vector<NodeId>& watched() const { return watch_.watched(); }
  std::uint64_t watch_version() const { return watch_.version(); }
  /// 1 when well; the factor by which probing is slowed.
  unsigned slowness() const { return health_.factor(); }
  /// Payloads that were dropped because they were not what a node of ours sends.
  std::uint64_t malformed() const { return malformed_; }

 private:
  struct Origin {
    NodeId sender;
    net::Endpoint endpoint;
  };
  enum class Source { news, records };
  struct Admission {
    AnnouncementRef candidate;
    Join join;
    net::Endpoint from;
    TimePoint since;
  };

  // membership.cc: time, probing, what goes out
  void begin_input(TimePoint now);
  void end_input();
  void on_late(Duration late);
  void on_pause(Duration late);
  std::optional<TimePoint> next_deadline() const;
  bool quiet() const { return yielded_ || gone_away_; }
  bool alone() const { return table_.present().size() == 1; }
  void run_probes();
  void start_next_probe();
  const PresentMember* next_of_round();
  bool probe(const NodeId& id);
  void retry_probe(const MembershipProbes::Due& due, bool last);
  void on_probe_failed(const MembershipProbes::Due& due);
  void end_suspicions();
  void probe_dead();
  void ask_seeds();
  void run_pull();
  void run_rival();
  void update_watch();
  void push_rumours();
  void send(const net::Endpoint& to, std::string payload);
  void send(const net::Endpoint& to, const std::vector<std::string>& payloads);
  void send_ping(const net::Endpoint& to, const NodeId& target, std::uint32_t sequence);
  void send_with_rumours(const net::Endpoint& to, const NodeId& target, GossipWriter writer);
  std::uint64_t digest() const { return state_digest(table_, shared_); }
  std::uint32_t new_sequence() { return ++sequence_; }

  // membership_receive.cc: what comes in
  void receive(const Origin& origin, std::string_view payload);
  void receive_from_own_id(const Origin& origin, const GossipMessage& message);
  void handle(const Origin& origin, const Ping& ping);
  void handle(const Origin& origin, const Ack& ack);
  void handle(const Origin& origin, const RelayRequest& request);
  void handle(const Origin& origin, const RelayAnswer& answer);
  void handle(const Origin& origin, const Rumours& rumours);
  void handle(const Origin& origin, const Join& join);
  void handle(const Origin& origin, const JoinRefused& refused);
  void handle(const Origin& origin, const Digest& digest);
  void handle(const Origin& origin, const Summary& summary);
  void handle(const Origin& origin, const Request& request);
  void handle(const Origin& origin, const Pull& pull);
  void handle(const Origin& origin, const Records& records);
  void receive_join(const Origin& origin, const GossipMessage& message);
  void verify_address(const Origin& origin, const Join& join, AnnouncementRef candidate);
  void admit(const Origin& origin, const Join& join, const Announcement& candidate);
  void compare_digest(const Origin& origin, std::uint64_t theirs);
  void compare_shared(const NodeId& sender, std::uint64_t theirs);

  // membership_updates.cc: what is believed
  void apply(const Origin& origin, const Update& update, Source source);
  void apply(const AnnouncementView& announcement, Source source);
  void apply(const Origin& origin, const Accusation& accusation, Source source);
  void apply_to_gone(const GoneMember& member, const Accusation& accusation);
  void on_announced_self(const AnnouncementView& announcement);
  void on_accused_self(const Accusation& accusation);
  void announce_self(std::uint64_t incarnation);
  AnnouncementRef read(const AnnouncementView& view);
  void welcome(AnnouncementRef announcement, Source source);
  void suspect(const NodeId& subject, const Revision& revision, const NodeId& accuser);
  void lose(const Accusation& verdict);
  void lose_everybody();
  void ask_unspoken(const GoneMember& member);
  void revive_unspoken(const Origin& origin, std::uint32_t sequence);
  void drop_suspicions();
  void on_refused(const NodeId& id);
  void spread(const NodeId& subject, std::string encoded_update);
  void tell(MembershipNews news);
  Member describe(const PresentMember& member) const;
  Member describe(const GoneMember& member) const;

  const Options options_;
  Profile profile_;
  SeededRandom random_;
  TimePoint now_;
  std::optional<TimePoint> deadline_;

  MembershipTable table_;
  LocalHealth health_;
  MembershipProbes probes_;
  MembershipRelays relays_;
  MembershipSuspicions suspicions_;
  MembershipRumours rumours_;
  MembershipSeeds seeds_;
  MembershipPull pull_;
  MembershipWatch watch_;
  MembershipRival rival_;

  std::uint32_t sequence_ = 0;
  TimePoint probe_due_;
  bool neighbours_turn_ = false;
  std::size_t neighbour_ = 0;
  std::uint64_t round_position_ = 0;
  std::size_t round_left_ = 0;
  TimePoint dead_probe_due_;
  TimePoint forget_due_;
  TimePoint heard_at_;  // anybody at all
  std::uint64_t watch_table_version_ = 0;

  std::uint64_t shared_ = 0;
  TimePoint shared_told_;
  TimePoint changed_at_;
  TimePoint sync_due_;
  Duration sync_wait_;
  std::uint64_t sync_sum_ = 0;  // our list, when it was last compared

  std::map<std::uint32_t, Admission> admissions_;  // by the sequence of the ping that verifies the address
  std::map<NodeId, std::pair<std::uint32_t, TimePoint>> revivals_;  // pings to those lost unspoken
  std::map<NodeId, std::pair<std::uint64_t, TimePoint>> refusals_;  // by us: of which instance, and when
  bool joining_ = false;                                            // a list was asked for
  bool accused_here_ = false;                                       // in the datagram at hand
  bool bid_pending_ = false;                                        // until the rival is settled
  std::uint64_t rival_incarnation_ = 0;

  std::optional<TimePoint> leaves_at_;
  bool gone_away_ = false;
  bool yielded_ = false;

  std::deque<OutgoingDatagram> datagrams_;
  std::deque<MembershipEvent> events_;
  std::uint64_t malformed_ = 0;
};

}  // namespace sluice::cluster
