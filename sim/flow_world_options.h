#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"
#include "link/record_junction.h"

namespace sluice::sim {

enum class Role : std::uint8_t { tap, worker, map, each, merger, sink };

struct SimStage {
  std::string name;
  Role role = Role::worker;
  bool shares = false;
  std::uint32_t workers = 1;
  std::uint32_t concurrency = 1;   // of a worker; what a merger can hold
  std::uint32_t batch = 1;         // of `each`
  bool ordered = false;            // `each`
  bool keeps_answers = false;      // `map`: it answers in bursts
  std::uint64_t leaves_after = 0;  // a sink, so many records; 0: it stays
  Duration service_time_max = std::chrono::milliseconds(1);
  // The share of records at which a process dies by a signal, exits with a status, or, of a worker, says that the record
  // has failed, breaks the protocol, or asks to leave.
  double deaths = 0, statuses = 0, failures = 0, garbage = 0, leaves = 0;
  double scalings = 0;       // the share at which it is given another number of workers, at most those of its beginning
  std::uint64_t poison = 0;  // each record whose number this divides ends its process; 0: none
};

struct SimLink {
  std::size_t from = 0, to = 0;
  link::SlowRule slow = link::SlowRule::block;
  std::uint64_t spill_bytes = 0;
};

struct FlowWorldOptions {
  std::uint64_t seed = 1;
  std::uint64_t records = 100;
  std::vector<SimStage> stages;  // a link leads to a later one
  std::vector<SimLink> links;
  link::JunctionOptions junction;
  std::size_t pipe_bytes = 64;  // one longer record aside
};

/// The stages before this one, in the order of their links.
std::vector<std::size_t> feeders(const FlowWorldOptions& options, std::size_t stage);

/// A graph with stages and faults of every kind, or of some, as the seed draws them; without mergers.
FlowWorldOptions flow_swarm_options(std::uint64_t seed);

}  // namespace sluice::sim
