#pragma once
// What is written down of a kept launch: the state when it was started, and how it ended.
//
// A file is a magic, a version, the fields and a checksum over all of them, in the encoding of base/wire.h. Numbers of
// processes mean something only together with their start times, and those only during one boot of the host.
// Threading: pure values and functions, but for `read_boot_id`.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/spawn_protocol.h"

namespace sluice::exec {

struct KeptProgram {
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;  // see ProcessStat
  std::optional<Exited> exited;
  std::uint64_t exited_at_us = 0;  // since the epoch (UTC)
};

/// A captured stream at the end of the launch.
struct KeptOutput {
  OutputName name;
  std::uint64_t total_bytes = 0;
  std::uint64_t dropped_bytes = 0;
  std::int32_t error = 0;  // the last one of writing, an errno, or 0
};

enum class KeptEnd : std::uint8_t {
  running,     // the state of a launch that has not ended
  completed,   // every program has ended, by itself or because somebody asked
  owner_lost,  // it could not go on without its owner, and was ended
};

struct KeptRecord {
  KeptEnd end = KeptEnd::running;
  std::uint64_t started_at_us = 0;  // since the epoch (UTC)
  std::uint64_t ended_at_us = 0;
  std::string boot_id;
  std::int32_t spawner_pid = 0;
  std::uint64_t spawner_start_ticks = 0;
  std::string cgroup;  // of the spawner; empty: none
  std::vector<KeptProgram> programs;
  std::vector<KeptOutput> outputs;
};

std::string encode(const KeptRecord& record);
/// Errors: what is wrong with the bytes, for a person.
std::expected<KeptRecord, std::string> decode_kept_record(std::string_view bytes);

/// An upper bound for the size of a record, to reserve room for it.
std::size_t record_size_max(std::size_t programs, std::size_t outputs, std::size_t cgroup_size);

/// Names the current boot of the host; empty without /proc.
std::string read_boot_id();

}  // namespace sluice::exec
