#pragma once
// The methods of sluice.v1.Files, and fetching files from the node that has them.
// Threading: belongs to the control loop.
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "node/file_store.h"
#include "node/node_core.h"

namespace sluice::node {

/// A file that a part needs.
struct WantedFile {
  LaidFile file;
  std::uint64_t size = 0;
};

class FileService final {
 public:
  FileService(NodeCore core, FileStore store);
  ~FileService();

  void register_methods(rpc::DispatchTable& table);

  /// Returns when all of `files` are here; what is missing comes from `from`. Files that somebody else fetches are awaited.
  /// Errors: a sentence.
  net::Awaitable<std::expected<void, std::string>> fetch(std::vector<WantedFile> files, NodeId from);
  std::string path_of(const ContentId& content) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
