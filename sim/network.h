#pragma once
// What a network does to datagrams and connections: delays with a long tail, loss, duplicates, overtaking, cuts in one or both
// directions.
// Threading: none; a value that is asked.
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/time.h"

namespace sluice::sim {

using NodeIndex = std::uint32_t;

struct NetworkOptions {
  Duration delay_min = std::chrono::microseconds(80);
  Duration delay_mean_more = std::chrono::microseconds(70);  // exponentially distributed, on top
  /// Now and then a datagram waits somewhere and is overtaken.
  double straggler_share = 0.001;
  Duration straggler_max = std::chrono::milliseconds(30);
  double loss = 0;
  double duplicate = 0;
};

class Network final {
 public:
  Network(const NetworkOptions& options, std::uint64_t seed) : options_(options), random_(seed) {}

  NetworkOptions& options() { return options_; }

  /// When the copies of one datagram arrive: none, one or two.
  struct Fate {
    unsigned copies = 0;
    Duration delays[2] = {};
  };
  Fate send(NodeIndex from, NodeIndex to);
  Duration delay();
  /// How long a segment of a connection takes: what is lost is sent again.
  Duration segment_delay();

  /// Splits the nodes: one group for each, those of different groups can't reach each other. Empty heals it.
  void cut(std::vector<std::uint32_t> group_of) { group_of_ = std::move(group_of); }
  /// Nothing gets from `from` to `to`; the other way is open.
  void cut_one_way(NodeIndex from, NodeIndex to) { one_way_.emplace(from, to); }
  /// Nothing reaches `node`, or nothing leaves it.
  void deafen(NodeIndex node) { deaf_.insert(node); }
  void mute(NodeIndex node) { mute_.insert(node); }
  void heal();
  bool passes(NodeIndex from, NodeIndex to) const;
  bool both_ways(NodeIndex a, NodeIndex b) const { return passes(a, b) && passes(b, a); }
  bool whole() const { return group_of_.empty() && one_way_.empty() && deaf_.empty() && mute_.empty(); }

 private:
  NetworkOptions options_;
  SeededRandom random_;
  std::vector<std::uint32_t> group_of_;
  std::set<std::pair<NodeIndex, NodeIndex>> one_way_;
  std::set<NodeIndex> deaf_;
  std::set<NodeIndex> mute_;
};

}  // namespace sluice::sim
