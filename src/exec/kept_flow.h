#pragma once
// Reads what a spawner keeps of a launch that outlives its owner: whether it runs, how it ended, what it has written.
// Threading: any; it reads files, and a disk may be slow.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>

#include "exec/bounded_output.h"
#include "exec/kept_record.h"

namespace sluice::exec {

/// Its spawner lives: SpawnerClient::attach finds it. The record is that of the start, or none if it is just starting.
struct KeptRunning {
  std::optional<KeptRecord> record;
};
struct KeptEnded {
  KeptRecord record;
};
/// It was started, no end was written, and nobody is there who would: its spawner was killed, or the host went down.
struct KeptLost {
  KeptRecord record;
};
/// It never started.
struct KeptAbsent {};

using KeptState = std::variant<KeptRunning, KeptEnded, KeptLost, KeptAbsent>;

/// Errors: a sentence; a file that is damaged or can't be read.
std::expected<KeptState, std::string> read_kept(const std::string& directory);

/// At most `bytes_max` bytes of a captured stream from `offset` on. Errors: a sentence.
std::expected<OutputChunk, std::string> read_output(const std::string& directory, OutputName name, std::uint64_t offset,
                                                    std::size_t bytes_max);

/// Kills what may be left of a lost launch: its cgroup, and its programs as far as the numbers still mean them. Those
/// that left their program's side are found by the cgroup only.
void end_lost(const KeptRecord& record);

}  // namespace sluice::exec
