#pragma once
// Files by content, kept in the data directory so that what is shipped again does not travel again. It is a cache: the
// oldest go when it grows beyond its size, and what it holds is checked each time it is used.
//
//   DATA/files/HEX, mode 0600; .RANDOM.part while it arrives
//
// Threading: belongs to the control loop, but for `lay`.
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "exec/private_folder.h"
#include "node/content_hash.h"

namespace sluice::node {

/// Where a stage expects a file.
struct LaidFile {
  std::string path;  // relative to where the stages work, normalised
  ContentId content;
  bool executable = false;
};

class FileStore final {
 public:
  static constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 30;

  /// Errors: a sentence.
  static std::expected<FileStore, std::string> open(const std::string& data_directory,
                                                    std::uint64_t size_max = kSizeMax);

  /// Whether it is there; it counts as used then.
  bool has(const ContentId& content);
  /// To be read from the start.
  std::expected<UniqueFd, int> read(const ContentId& content) const;

  /// A file that arrives. If it is destroyed before it was finished, nothing is kept.
  class Arrival {
   public:
    Arrival(Arrival&&) noexcept = default;
    Arrival& operator=(Arrival&&) = delete;
    ~Arrival();
    /// Errors: a sentence; the arrival is over.
    std::expected<void, std::string> write(std::span<const char> bytes);
    /// Errors: it is not what it was said to be, or the disk is full.
    std::expected<void, std::string> finish();

   private:
    friend class FileStore;
    Arrival() = default;
    std::string part_, target_;
    UniqueFd file_;
    ContentHash hash_;
    ContentId content_;
    std::uint64_t left_ = 0;
  };
  /// Makes room for it. Errors: a sentence.
  std::expected<Arrival, std::string> receive(const ContentId& content, std::uint64_t size);

  /// A file's path in the store, for `lay`.
  std::string path_of(const ContentId& content) const { return folder_ + "/" + content.hex(); }

 private:
  FileStore(std::string folder, std::uint64_t size_max) : folder_(std::move(folder)), size_max_(size_max) {}
  void make_room(std::uint64_t size) const;

  std::string folder_;
  std::uint64_t size_max_;
};

/// What is wrong with the path of a shipped file; nothing if it lies below where `..` may lead at most.
std::optional<std::string> shipped_path_problem(const std::string& path);

/// Copies `file` from `source` below `root`, for stages that work in `root`/`directory`. The copy is checked. Errors: a
/// sentence. Threading: any; it may take long.
std::expected<void, std::string> lay_file(const std::string& source, const LaidFile& file, const std::string& root,
                                          const std::string& directory, std::optional<exec::FolderOwner> owner);

/// The folder below `root` to work in, so that each of `files` lies below `root`: "" or as many levels as `..` go up.
std::string work_directory_for(std::span<const LaidFile> files);

}  // namespace sluice::node
