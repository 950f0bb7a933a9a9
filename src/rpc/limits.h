#pragma once
// What one connection's calls may cost its receiver, in one place. docs/protocol.md has the table for other clients.
#include <cstddef>

namespace sluice::rpc {

/// A request or an answer is at most this large, in bytes of protobuf.
inline constexpr std::size_t kMessageMax = std::size_t{4} << 20;

/// Calls of one connection that may run at a time; more are refused with resource_exhausted.
inline constexpr std::size_t kCallsMax = 1024;

/// The credit that each direction of each call starts with, in bytes. Both sides know it: it is not sent.
inline constexpr std::size_t kWindow = std::size_t{256} << 10;

/// What a message costs beyond its size, so that empty ones are not free: about what a queued one takes in memory.
inline constexpr std::size_t kMessageCost = 32;

/// Messages of all calls of one connection that wait for their reader, and that wait to be sent, each in bytes. The
/// windows alone would allow 256 MiB. Above it the call that went beyond is ended, not the connection.
inline constexpr std::size_t kHeldMax = std::size_t{32} << 20;

/// Names, in bytes: of a method, and of whoever a call is made for.
inline constexpr std::size_t kMethodNameMax = 255;
inline constexpr std::size_t kCallerNameMax = 255;

/// The message of a status; a longer one is cut.
inline constexpr std::size_t kStatusMessageMax = 4096;

}  // namespace sluice::rpc
