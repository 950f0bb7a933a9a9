// Any datagrams from members to a node: nothing that they say breaks it, what it answers can be read, and its timers end.
//
// The input is a list of datagrams: sender 1, milliseconds since the last 1, length 2, payload.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/wire.h"
#include "cluster/membership.h"
#include "require.h"

namespace {

using sluice::NodeId;
using sluice::TimePoint;
using sluice::cluster::Membership;
using sluice::fuzz::require;

NodeId node(std::uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}

// Few datagrams follow from one: a push to a few, a burst to one.
constexpr int kAnswersMax = 200;
// A deadline that comes again and again at one moment would be a loop without end.
constexpr int kTurnsMax = 1000;

void drain(Membership& machine) {
  int answers = 0;
  while (auto datagram = machine.poll_datagram()) {
    require(++answers <= kAnswersMax, "answers are bounded");
    require(datagram->payload.size() <= sluice::cluster::kGossipPayloadMax, "a payload fits into a datagram");
    require(sluice::cluster::decode_gossip(datagram->payload).has_value(), "what is sent can be read");
  }
  while (machine.poll_event()) {
  }
  while (auto request = machine.poll_redial())
    machine.on_redial(request->id, sluice::cluster::RedialResult::silent, TimePoint{});
  require(machine.find(machine.self()).has_value(), "we are a member ourselves");
}

void run_until(Membership& machine, TimePoint now) {
  int turns = 0;
  while (machine.poll_deadline() && *machine.poll_deadline() <= now) {
    require(++turns <= kTurnsMax, "time goes on");
    machine.on_deadline(*machine.poll_deadline());
    drain(machine);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  TimePoint now{std::chrono::hours(1)};
  sluice::cluster::Profile profile{.name = "fuzzed", .endpoint = {"10.0.0.1", 7117}, .labels = {}, .version = "0.1.0"};
  Membership machine({.incarnation_start = 5, .instance = 7}, node(0), profile, 1, now);
  sluice::WireReader reader(std::string_view(reinterpret_cast<const char*>(data), size));
  while (reader.left() > 0) {
    std::uint8_t sender = reader.get<std::uint8_t>();
    now += std::chrono::milliseconds(reader.get<std::uint8_t>());
    std::string_view payload = reader.get_text<std::uint16_t>();
    run_until(machine, now);
    machine.on_datagram(node(sender), {"10.0.0.9", 7117}, payload, now);
    drain(machine);
  }
  return 0;
}
