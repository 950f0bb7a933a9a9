#pragma once
// A cluster of nodes that each run the real Membership, on a simulated network, clock and process table.
//
// A node here is its shell: it hands over datagrams, deadlines and what became of connections, and carries out what the machine
// asks for. Faults are called from outside, between two runs of time. Whoever wants to know what the machines said is told as
// an Observer; checkers are observers, and see the truth (who runs, who can reach whom) as well.
// Threading: one thread.
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cluster/membership.h"
#include "sim/event_queue.h"
#include "sim/network.h"
#include "sim/trace_hash.h"

namespace sluice::sim {

/// What a datagram costs besides its payload: IPv4 and UDP headers, and the seal.
inline constexpr std::size_t kDatagramOverhead = 28 + 51;

enum class ProcessState : std::uint8_t {
  none,  // never started, or gone in good order
  running,
  paused,   // SIGSTOP: the kernel goes on taking in datagrams and connections
  killed,   // the host lives and refuses connections
  host_off  // nothing answers
};

struct WorldOptions {
  std::uint64_t seed = 1;
  cluster::MembershipOptions membership;
  NetworkOptions network;
  /// A restarted node starts above its last incarnation, as with a boot number on its disk; else at 1 again.
  bool persists_incarnation = true;
  /// Each timer is late by up to this, as in any event loop.
  Duration timer_delay_max = std::chrono::milliseconds(1);
};

class MembershipWorld;

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_event(MembershipWorld& world, NodeIndex observer, const cluster::MembershipEvent& event) = 0;
  /// The process state of a node or the network was changed.
  virtual void on_fault(MembershipWorld&) {}
};

class MembershipWorld final {
 public:
  explicit MembershipWorld(const WorldOptions& options);
  ~MembershipWorld();

  // --- building ---
  NodeIndex add_node();
  std::vector<NodeIndex> add_nodes(std::size_t count);
  void start(NodeIndex node, const std::vector<NodeIndex>& seeds);
  /// Starts all nodes that were added, each knowing all.
  void start_converged();
  /// The next start is under this address instead of the node's own; or under another node's id, as from a copied directory.
  void set_advertised(NodeIndex node, net::Endpoint endpoint);
  void set_id(NodeIndex node, const NodeId& id);
  void set_name(NodeIndex node, std::string name);

  // --- time ---
  TimePoint now() const { return queue_.now(); }
  void run_for(Duration duration);
  /// Runs until `done`, which is asked every `step`; false if it is not within `limit`.
  bool run_until(const std::function<bool()>& done, Duration limit, Duration step = std::chrono::milliseconds(5));
  void at(TimePoint when, std::function<void()> action);

  // --- faults ---
  void kill(NodeIndex node);
  void power_off(NodeIndex node);
  void pause(NodeIndex node);
  void resume(NodeIndex node);
  /// Leaves in good order; the process ends when it may go.
  void leave(NodeIndex node);
  /// Starts a killed one again.
  void restart(NodeIndex node, const std::vector<NodeIndex>& seeds);
  Network& network() { return network_; }
  /// To be called when network() was changed.
  void network_changed();

  // --- the truth ---
  std::size_t size() const { return nodes_.size(); }
  ProcessState state(NodeIndex node) const { return nodes_[node]->state; }
  bool running(NodeIndex node) const { return state(node) == ProcessState::running; }
  /// Which process of the node it is; an end and a start each make another.
  std::uint32_t life(NodeIndex node) const { return nodes_[node]->life; }
  std::vector<NodeIndex> running_nodes() const;
  const NodeId& id(NodeIndex node) const { return nodes_[node]->id; }
  net::Endpoint endpoint(NodeIndex node) const { return nodes_[node]->endpoint; }
  /// Nothing, if no node has that id.
  std::optional<NodeIndex> index_of(const NodeId& id) const;
  cluster::Membership& membership(NodeIndex node) { return *nodes_[node]->membership; }
  SeededRandom& random() { return random_; }

  // --- what was seen ---
  void observe(Observer& observer) { observers_.push_back(&observer); }
  std::uint64_t trace() const { return trace_.value(); }
  std::uint64_t bytes_sent(NodeIndex node) const { return nodes_[node]->bytes_sent; }
  std::uint64_t datagrams_sent(NodeIndex node) const { return nodes_[node]->datagrams_sent; }
  std::uint64_t bytes_sent() const;
  std::uint64_t steps() const { return steps_; }
  std::uint64_t dials() const { return dials_; }

 private:
  enum class Kind : std::uint8_t { datagram, timer, redialled, closed, action };
  struct Event {
    Kind kind = Kind::timer;
    NodeIndex node = 0;
    std::uint32_t life = 0;  // of the node: what was meant for a former life is dropped
    std::uint32_t slot = 0;  // of a datagram or an action; which timer
    NodeIndex peer = 0;
    cluster::RedialResult result = cluster::RedialResult::silent;
  };
  struct Datagram {
    NodeIndex from = 0;
    NodeId sender;
    std::string payload;
  };
  struct Node {
    NodeId id;
    net::Endpoint endpoint;
    std::optional<net::Endpoint> advertised;
    std::string name;
    ProcessState state = ProcessState::none;
    std::uint32_t life = 0;
    std::unique_ptr<cluster::Membership> membership;
    std::optional<TimePoint> armed;
    std::uint32_t timer = 0;          // the last that was set; earlier ones are void
    std::deque<Event> waiting;        // while paused
    std::set<NodeIndex> connections;  // that it holds
    std::set<NodeIndex> watchers;     // that hold one to it
    std::uint64_t watch_version = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t datagrams_sent = 0;
  };

  void boot(NodeIndex node);
  void end_process(NodeIndex node, ProcessState state);
  void process(const Event& event);
  void deliver(Node& node, NodeIndex index, const Event& event);
  void step(NodeIndex index);  // carries out what the machine asks for
  void send(NodeIndex from, cluster::OutgoingDatagram datagram);
  void dial(NodeIndex from, const cluster::RedialRequest& request);
  void follow_watched(NodeIndex index);
  void connect(NodeIndex from, NodeIndex to);
  void disconnect(NodeIndex from, NodeIndex to);
  void arm(NodeIndex index);
  std::uint32_t put(Datagram datagram);

  WorldOptions options_;
  SeededRandom random_;
  Network network_;
  cluster::AnnouncementPool pool_;
  EventQueue<Event> queue_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unordered_map<std::string, NodeIndex> by_address_;
  std::vector<Datagram> datagrams_;
  std::vector<std::uint32_t> free_datagrams_;
  std::vector<std::function<void()>> actions_;
  std::vector<Observer*> observers_;
  TraceHash trace_;
  std::uint64_t steps_ = 0;
  std::uint64_t dials_ = 0;
};

}  // namespace sluice::sim
