// Any datagrams of discovery to a node, from holders of the key: nothing that they say breaks it, what it sends can be read and
// is bounded, and its timers end.
//
// The input is a list of datagrams: speaker 1 (the highest bit: a passer-by), hundredths of a second since the last 1,
// length 2, payload.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/wire.h"
#include "cluster/discovery.h"
#include "require.h"

namespace {

using sluice::NodeId;
using sluice::TimePoint;
using sluice::cluster::BootNumber;
using sluice::cluster::Discovery;
using sluice::cluster::DiscoveryOptions;
using sluice::fuzz::require;

class SomeCompany final : public sluice::cluster::Company {
 public:
  std::size_t size() const override { return 5; }
  bool contains(const NodeId& id, BootNumber) const override { return id.bytes[0] < 4; }
};

struct Sent {
  std::size_t datagrams = 0;
};

void drain(Discovery& machine, Sent& sent) {
  while (auto datagram = machine.poll_datagram()) {
    ++sent.datagrams;
    require(datagram->payload.size() < 200, "announcements are short");
    require(sluice::cluster::decode_discovery(datagram->payload).has_value(), "what is sent can be read");
  }
  while (auto seed = machine.poll_seed()) require(seed->port != 0, "a seed is an address");
}

void run_until(Discovery& machine, TimePoint now, Sent& sent) {
  constexpr int kTurnsMax = 1000;  // a deadline that comes again and again at one moment would be a loop without end
  int turns = 0;
  while (*machine.poll_deadline() <= now) {
    require(++turns <= kTurnsMax, "time goes on");
    machine.on_deadline(*machine.poll_deadline());
    drain(machine, sent);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr TimePoint kStart{std::chrono::hours(1)};
  constexpr std::uint8_t kPasserBy = 0x80;
  const DiscoveryOptions options;
  const SomeCompany company;
  sluice::cluster::Profile profile{.name = "fuzzed", .endpoint = {"10.0.0.1", 7117}, .labels = {}, .version = "0.1.0"};
  Discovery machine(options, profile, company, 1, kStart);
  TimePoint now = kStart;
  Sent sent;
  sluice::WireReader reader(std::string_view(reinterpret_cast<const char*>(data), size));
  while (reader.left() > 0) {
    auto speaker = reader.get<std::uint8_t>();
    now += std::chrono::milliseconds(10) * reader.get<std::uint8_t>();
    std::string_view payload = reader.get_text<std::uint16_t>();
    run_until(machine, now, sent);
    BootNumber boot{speaker & kPasserBy ? 7 : std::uint64_t{7} << 24};
    machine.on_datagram({.id = NodeId{{speaker}}, .boot = boot, .from = {"10.0.0.9", 40000}}, payload, now);
    drain(machine, sent);
  }
  run_until(machine, now + std::chrono::seconds(1), sent);
  auto refilled = static_cast<std::size_t>((now + std::chrono::seconds(1) - kStart) / options.answer_refill);
  auto announced = static_cast<std::size_t>((now - kStart) / (options.interval / 2)) + 2;
  require(sent.datagrams <= options.answers_burst + refilled + announced, "what is sent is bounded");
  return 0;
}
