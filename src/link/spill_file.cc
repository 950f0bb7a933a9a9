#include "link/spill_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/nameless_file.h"
#include "base/require.h"

namespace sluice::link {
namespace {

// Less is not worth a system call to be given back.
constexpr std::uint64_t kGivenBackAtLeast = std::uint64_t{1} << 20;
// Of the places in a file (off_t).
constexpr std::uint64_t kCapacityMax = std::uint64_t{1} << 62;

std::unexpected<std::string> trouble(const std::string& where, int error) {
  return std::unexpected(
      fmt::format("what waits for a slow reader can't be kept in {}: {}; set TMPDIR to a folder with room", where,
                  std::strerror(error)));
}

}  // namespace

std::expected<SpillFile, std::string> SpillFile::open(const std::string& folder, std::uint64_t capacity) {
  UniqueFd file = nameless_file(folder);
  if (!file) return trouble(folder, errno);
  return SpillFile(std::move(file), folder, capacity);
}

SpillFile::SpillFile(UniqueFd file, std::string where, std::uint64_t capacity)
    : file_(std::move(file)), where_(std::move(where)), capacity_(std::min(capacity, kCapacityMax)) {
  REQUIRE(capacity > 0);
}

std::expected<void, std::string> SpillFile::append(std::string_view bytes) {
  REQUIRE(bytes.size() <= room());
  std::uint64_t place = (begin_ + size_) % capacity_;
  std::string_view before_wrap = bytes.substr(0, capacity_ - place);
  if (auto written = write_at(place, before_wrap); !written) return written;
  size_ += bytes.size();
  return write_at(0, bytes.substr(before_wrap.size()));
}

std::expected<void, std::string> SpillFile::take(std::span<char> into) {
  REQUIRE(into.size() <= size_);
  std::span<char> before_wrap = into.first(std::min<std::uint64_t>(into.size(), capacity_ - begin_));
  if (auto read = read_at(begin_, before_wrap); !read) return read;
  if (auto read = read_at(0, into.subspan(before_wrap.size())); !read) return read;
  size_ -= into.size();
  begin_ += into.size();
  if (begin_ >= capacity_) {
    give_back(capacity_);
    begin_ -= capacity_;
    kept_from_ = 0;
  }
  if (size_ == 0)
    forget_all();
  else if (begin_ - kept_from_ >= kGivenBackAtLeast)
    give_back(begin_);
  return {};
}

// Else a reader that is slow, but keeps up, would let the file grow to its capacity with what was read long ago. Where
// the file system has no holes, it does. What has come round in the ring may lie there already.
void SpillFile::give_back(std::uint64_t end) {
  std::uint64_t held_end = begin_ + size_, come_round = held_end > capacity_ ? held_end - capacity_ : 0;
  std::uint64_t from = std::max(kept_from_, come_round);
  if (from < end)
    (void)::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                      static_cast<off_t>(end - from));
  kept_from_ = end;
}

void SpillFile::forget_all() {
  if (begin_ >= kGivenBackAtLeast) (void)!::ftruncate(file_.get(), 0);
  begin_ = kept_from_ = 0;
}

std::expected<void, std::string> SpillFile::write_at(std::uint64_t place, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(place));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return trouble(where_, put < 0 ? errno : ENOSPC);
    place += static_cast<std::uint64_t>(put);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

std::expected<void, std::string> SpillFile::read_at(std::uint64_t place, std::span<char> into) {
  while (!into.empty()) {
    ssize_t got = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(place));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return trouble(where_, got < 0 ? errno : EIO);
    place += static_cast<std::uint64_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace sluice::link
