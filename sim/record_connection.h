#pragma once
// The connection between a producer and one of its consumers, in virtual time. What is sent arrives after a while and
// in its order, and a cut loses what was on its way. Each end learns of a cut by itself and late, the producer maybe
// when the consumer is connected again already.
// Threading: a value.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "sim/draws.h"

namespace sluice::sim {

class RecordConnection final {
 public:
  enum class Way : std::uint8_t { to_producer, to_consumer };
  static constexpr Duration kTellMax = std::chrono::milliseconds(10);  // from a cut until an end learns of it

  /// 0: there is none.
  std::uint64_t id() const { return id_; }
  bool connected() const { return id_ != 0; }
  /// `id`: that no other connection of the run has.
  void connect(std::uint64_t id) {
    id_ = last_made_ = id;
    to_producer_ = to_consumer_ = {};
  }
  /// The id that it had until now.
  std::uint64_t cut() { return std::exchange(id_, 0); }
  /// Whether the producer's last news of a connection was that this one was made.
  bool is_last_made(std::uint64_t id) const { return id == last_made_; }

  std::size_t on_the_way(Way way) const { return of(way).on_the_way; }
  /// When `size` bytes arrive that are sent now.
  TimePoint send(Way way, std::size_t size, TimePoint now, Draws& draws) {
    Direction& direction = of(way);
    direction.on_the_way += size;
    direction.last_arrival = std::max(direction.last_arrival, now + draws.some(kDelayMax));
    return direction.last_arrival;
  }
  /// They arrive. False: they were sent through a connection that was cut, and are lost.
  bool receive(Way way, std::uint64_t id, std::size_t size) {
    if (id != id_) return false;
    of(way).on_the_way -= size;
    return true;
  }

 private:
  static constexpr Duration kDelayMax = std::chrono::milliseconds(2);
  struct Direction {
    TimePoint last_arrival{};
    std::size_t on_the_way = 0;  // bytes
  };
  const Direction& of(Way way) const { return way == Way::to_producer ? to_producer_ : to_consumer_; }
  Direction& of(Way way) { return way == Way::to_producer ? to_producer_ : to_consumer_; }

  std::uint64_t id_ = 0, last_made_ = 0;
  Direction to_producer_, to_consumer_;
};

}  // namespace sluice::sim
