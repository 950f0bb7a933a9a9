#pragma once
// Who changed what on this node: one JSON object a line in the data directory, in the order in which the calls began. It names
// what was changed (a flow, a node, a certificate), but no environment, no payload and no pipeline's text. The file is rotated at kAuditFileMax; one older file is kept. A file that somebody has removed
// is begun anew, so that no line goes where nobody can read it.
//
// A call whose line can't be written does not happen, so room for some lines is kept ahead of the end: on a disk that is
// full, flows can still be stopped and removed.
// Threading: belongs to the control loop.
#include <cstddef>
#include <expected>
#include <string>

#include "base/unique_fd.h"
#include "rpc/call.h"

namespace sluice::node {

inline constexpr std::size_t kAuditFileMax = std::size_t{64} << 20;
inline constexpr std::size_t kAuditReserve = std::size_t{64} << 10;  // some 300 lines
inline constexpr std::size_t kAuditValueMax = 256;  // what a caller sends is not let grow the log without end

class AuditLog final {
 public:
  /// Errors: a sentence.
  static std::expected<AuditLog, std::string> open(const std::string& data_directory);

  const std::string& path() const { return path_; }

  /// Errors: errno; the line is missing then, and the file is as before.
  std::expected<void, int> write(const rpc::CallInfo& call, bool allowed);

 private:
  explicit AuditLog(std::string path) : path_(std::move(path)) {}
  std::expected<void, int> reopen();
  std::expected<void, int> make_ready();
  void keep_reserve();

  std::string path_;
  UniqueFd file_;
  std::size_t size_ = 0;
  std::size_t reserved_ = 0;  // as far as the file's blocks are its own
};

}  // namespace sluice::node
