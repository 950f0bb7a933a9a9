#pragma once
// How well this node is itself, as Lifeguard's local health multiplier (Dadgar, Phillips and Currey 2018, section 4.1): a node
// that is slow, or that nobody answers, gives others more time before it doubts them.
// Threading: a value.
#include <algorithm>

namespace sluice::cluster {

class LocalHealth final {
 public:
  explicit LocalHealth(unsigned max) : max_(max) {}

  void better() { score_ -= std::min(score_, 1U); }
  void worse() { score_ = std::min(score_ + 1, max_); }
  /// 1 when well: what intervals and timeouts of probes are multiplied by.
  unsigned factor() const { return 1 + score_; }

 private:
  unsigned max_;
  unsigned score_ = 0;
};

}  // namespace sluice::cluster
