#pragma once
// What the tests of record links over real connections stand on: sources and sinks that do what a test says, and peers
// that speak the protocol by hand.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/link_world_for_test.h"
#include "link/record_intake.h"
#include "link/record_supply.h"

namespace sluice::link {

/// What a source gives, and what it saw; shared by a test and the loop.
class SourceScript final {
 public:
  /// Lines that are their own numbers, up to `last`, `in_batch` at once.
  SourceScript(RecordId last, std::uint32_t in_batch);
  std::unique_ptr<RecordSource> make();

  RecordId pulled() const;
  RecordId settled_below() const;
  void fail(std::string why);

 private:
  struct State;
  class Source;
  std::shared_ptr<State> state_;
};

/// What a sink does, and what it got; shared by a test and the loop.
class SinkScript final {
 public:
  struct Options {
    std::uint64_t room = std::uint64_t{1} << 60;  // records that it takes, until it is given more
    bool settles = true;                          // else when `settle` says so
  };
  SinkScript() : SinkScript(Options()) {}
  explicit SinkScript(const Options& options);
  std::unique_ptr<RecordSink> make();

  std::vector<RecordId> got() const;
  std::size_t count() const;
  bool destroyed() const;
  void give_room(std::uint64_t records);
  void settle();
  void reject_all(NackCause cause);

 private:
  struct State;
  class Sink;
  std::shared_ptr<State> state_;
};

/// One producer and its consumers. A connection is made whenever an intake dials.
class RecordWorld final {
 public:
  explicit RecordWorld(Wire wire = Wire::tcp) : wire_(wire) {}
  ~RecordWorld();

  void start_source(SourceScript& source, std::size_t consumers = 1, const RecordSupplyOptions& options = {});
  void start_source(std::unique_ptr<RecordSource> source, std::size_t consumers = 1,
                    const RecordSupplyOptions& options = {});
  void start_sink(ConsumerNumber number, SinkScript& sink, const RecordIntakeOptions& options = {});
  void start_sink(ConsumerNumber number, std::unique_ptr<RecordSink> sink, const RecordIntakeOptions& options = {});
  /// Of a peer that speaks by hand: its socket.
  UniqueFd connect_by_hand(ConsumerNumber number, std::uint32_t generation = 1);
  /// Breaks the connection of a consumer for both sides.
  void cut(ConsumerNumber number);

  bool run_until(const std::function<bool()>& done) { return owner_.run_until(done); }
  /// Until all have ended.
  bool run_to_end();
  template <class Event>
  std::vector<Event> events() const {
    std::vector<Event> found;
    for (const auto& event : events_)
      if (const auto* one = std::get_if<Event>(&event)) found.push_back(*one);
    return found;
  }

  Owner owner_;
  DataLoops loops;
  std::optional<RecordSupply> supply;
  std::optional<RecordSupplyEnd> supply_end;
  std::map<ConsumerNumber, RecordIntake> intakes;
  std::map<ConsumerNumber, RecordIntakeEnd> intake_ends;
  std::map<ConsumerNumber, int> dialled;
  std::map<ConsumerNumber, std::uint32_t> generations;  // that they dial with; 1 unless said
  std::optional<RecordDialFailure> dial_failure;        // what dialling ends with
  std::function<void(RecordSupplyEvent)> on_event;

 private:
  void answer_dial(ConsumerNumber number, std::move_only_function<void(RecordDialled)> answer);

  Wire wire_;
  std::vector<RecordSupplyEvent> events_;
  std::map<ConsumerNumber, UniqueFd> sockets_;  // of the connections that there are, to break them
};

}  // namespace sluice::link
