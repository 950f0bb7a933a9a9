#pragma once
// Who changed what on this node: one JSON object a line in the data directory, in the order in which the calls began. No
// environment and no payload. The file is rotated at kAuditFileMax; one older file is kept.
// Threading: belongs to the control loop.
#include <cstddef>
#include <expected>
#include <string>

#include "base/unique_fd.h"
#include "rpc/call.h"

namespace sluice::node {

inline constexpr std::size_t kAuditFileMax = std::size_t{64} << 20;

class AuditLog final {
 public:
  /// Errors: a sentence.
  static std::expected<AuditLog, std::string> open(const std::string& data_directory);

  /// Errors: errno; the line is missing then.
  std::expected<void, int> write(const rpc::CallInfo& call, bool allowed);

 private:
  explicit AuditLog(std::string path) : path_(std::move(path)) {}
  std::expected<void, int> reopen();

  std::string path_;
  UniqueFd file_;
  std::size_t size_ = 0;
};

}  // namespace sluice::node
