#pragma once
// Records through Redis Streams in memory, as a good client does it: commands are pipelined, records are read and
// acknowledged by hundreds, and what a worker makes of a record is added before the record is acknowledged.
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace sluice::bench {

/// The command of a server that keeps nothing on disk.
std::vector<std::string> redis_command(int port);

/// Makes both streams, `made` and `passed_on`, with a group each.
void redis_prepare(int port);
void redis_produce(int port, std::uint64_t count, const std::function<std::string_view(std::uint64_t)>& record);
/// Passes records on for ever.
void redis_work(int port, int worker);
/// Takes so many that workers have passed on.
void redis_consume(int port, std::uint64_t count, const std::function<void(std::string_view)>& take);

}  // namespace sluice::bench
