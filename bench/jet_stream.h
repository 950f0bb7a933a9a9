#pragma once
// Records through NATS JetStream in memory, as a good client does it: publications are pipelined, consumers pull by
// hundreds before what they have is used up, and a worker acknowledges a record when what it made of it is stored.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bench {

/// The command of a server; `folder` is for what JetStream wants to have on disk, which is nothing of ours.
std::vector<std::string> jet_stream_command(int port, const std::string& folder);

/// Makes both streams, `made` and `passed_on`, with a consumer each.
void jet_stream_prepare(int port);
void jet_stream_produce(int port, std::uint64_t count, const std::function<std::string_view(std::uint64_t)>& record);
/// Passes records on for ever.
void jet_stream_work(int port);
/// Takes so many that workers have passed on.
void jet_stream_consume(int port, std::uint64_t count, const std::function<void(std::string_view)>& take);

}  // namespace sluice::bench
