#include "exec/bounded_output.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <vector>

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSegments = 8;
constexpr std::uint64_t kSegmentMin = 512;  // no file for every line, however little is to be kept
constexpr Duration kRetryInterval = 100ms;  // on a full disk, every try makes a file and removes it
constexpr int kReadTries = 16;              // a segment may go between the listing and the opening

std::string segment_name(const std::string& name, std::uint64_t offset) {
  char digits[24];
  std::snprintf(digits, sizeof digits, ".%020llu", static_cast<unsigned long long>(offset));
  return name + digits;
}

}  // namespace

BoundedOutput::BoundedOutput(int directory, std::string name, std::uint64_t bytes_max)
    : directory_(directory),
      name_(std::move(name)),
      segment_max_(bytes_max == 0 ? 0 : std::max(bytes_max / kSegments, kSegmentMin)) {}

std::string BoundedOutput::file_name(const Segment& segment) const { return segment_name(name_, segment.offset); }

void BoundedOutput::append(std::string_view bytes, TimePoint now) {
  bool skip = segment_max_ == 0 || (retry_at_ && now < *retry_at_);
  while (!bytes.empty() && !skip) {
    bool full = !file_ || segments_.back().size >= segment_max_;
    if (full && !start_segment()) {
      fail(errno, now);
      break;
    }
    Segment& segment = segments_.back();
    ssize_t written =
        ::write(file_.get(), bytes.data(), std::min<std::uint64_t>(bytes.size(), segment_max_ - segment.size));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      fail(written < 0 ? errno : ENOSPC, now);
      break;
    }
    retry_at_.reset();
    auto size = static_cast<std::uint64_t>(written);
    segment.size += size;
    kept_ += size;
    total_ += size;
    bytes.remove_prefix(size);
  }
  total_ += bytes.size();
}

bool BoundedOutput::start_segment() {
  while (segments_.size() >= kSegments) drop_oldest();
  Segment segment{.offset = total_, .size = 0};
  file_.reset(
      ::openat(directory_, file_name(segment).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return false;
  segments_.push_back(segment);
  return true;
}

void BoundedOutput::drop_oldest() {
  ::unlinkat(directory_, file_name(segments_.front()).c_str(), 0);
  kept_ -= segments_.front().size;
  segments_.pop_front();
}

// What comes next has another offset than the open segment would give it.
void BoundedOutput::fail(int error, TimePoint now) {
  error_ = error;
  retry_at_ = now + kRetryInterval;
  bool empty = file_ && segments_.back().size == 0;
  file_.reset();
  if (!empty) return;
  ::unlinkat(directory_, file_name(segments_.back()).c_str(), 0);
  segments_.pop_back();
}

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

struct FoundSegment {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// In the order of the stream. Errors: errno.
std::expected<std::vector<FoundSegment>, int> list_segments(const std::string& directory, const std::string& name) {
  std::unique_ptr<DIR, CloseDirectory> listing(::opendir(directory.c_str()));
  if (!listing) return std::unexpected(errno);
  std::vector<FoundSegment> found;
  std::string prefix = name + ".";
  while (const dirent* entry = ::readdir(listing.get())) {
    std::string_view digits = entry->d_name;
    if (!digits.starts_with(prefix)) continue;
    digits.remove_prefix(prefix.size());
    FoundSegment segment;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), segment.offset);
    if (error != std::errc() || end != digits.data() + digits.size()) continue;
    struct stat status {};
    if (::fstatat(::dirfd(listing.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(status.st_mode)) continue;
    segment.size = static_cast<std::uint64_t>(status.st_size);
    found.push_back(segment);
  }
  std::ranges::sort(found, {}, &FoundSegment::offset);
  return found;
}

// Reads from one segment. False: it is gone.
bool read_segment(const std::string& path, std::uint64_t position, std::size_t bytes_max, std::string& into) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return false;
  std::size_t before = into.size();
  into.resize(before + bytes_max);
  ssize_t got = ::pread(file.get(), into.data() + before, bytes_max, static_cast<off_t>(position));
  into.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
  return true;
}

OutputChunk describe(const std::vector<FoundSegment>& segments) {
  OutputChunk chunk;
  if (segments.empty()) return chunk;
  chunk.first_kept = segments.front().offset;
  chunk.end = segments.back().offset + segments.back().size;
  std::uint64_t kept = 0;
  for (const FoundSegment& segment : segments) kept += segment.size;
  chunk.dropped = chunk.end - std::min(kept, chunk.end);
  return chunk;
}

}  // namespace

std::expected<OutputChunk, int> read_bounded_output(const std::string& directory, const std::string& name,
                                                    std::uint64_t offset, std::size_t bytes_max) {
  OutputChunk chunk;
  for (int tries = 0; tries < kReadTries; ++tries) {
    auto segments = list_segments(directory, name);
    if (!segments) return std::unexpected(segments.error());
    chunk = describe(*segments);
    chunk.offset = std::min(offset, chunk.end);
    // The first segment that has anything at or behind the offset; a chunk never spans a hole.
    auto segment = std::ranges::find_if(*segments, [&](const FoundSegment& s) { return s.offset + s.size > offset; });
    if (segment == segments->end()) return chunk;
    chunk.offset = std::max(offset, segment->offset);
    std::uint64_t position = chunk.offset - segment->offset;
    std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, segment->size - position));
    if (read_segment(directory + "/" + segment_name(name, segment->offset), position, size, chunk.bytes)) return chunk;
  }
  return chunk;
}

}  // namespace sluice::exec
