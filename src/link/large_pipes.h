#pragma once
// How much a stage of many workers reads at once, and when and how far its pipes are enlarged. With blocks and pipes of
// 64 KiB its programs wake each other for every one of them; with those below one `@x4 cat` moves 1.6 times as much.
// Threading: pure.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::link {

/// After so many bytes a stream is worth it.
inline constexpr std::uint64_t kMuch = std::uint64_t{16} << 20;

/// For each of `count` pipes, so that they are 8 MiB together: an ordinary user has 64 MiB for all his pipes (pipe(7)).
inline std::size_t large_pipe(std::size_t count) {
  constexpr std::size_t kTogether = std::size_t{8} << 20, kLargest = std::size_t{1} << 20;
  return std::min(std::bit_floor(kTogether / std::max<std::size_t>(count, 1)), kLargest);
}

/// What is read at once from each of `count` streams.
inline std::size_t large_block(std::size_t count) {
  return std::clamp(large_pipe(count), std::size_t{16} << 10, std::size_t{512} << 10);
}

}  // namespace sluice::link
