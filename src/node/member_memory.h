#pragma once
// Keeps the file of remembered members (remembered_members.h) as the members change.
//
// At once, for a node may be killed soon, and then seldom: a thousand others may come together.
// Threading: belongs to the control loop.
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "net/address.h"
#include "net/async.h"
#include "node/node_core.h"
#include "node/task_group.h"

namespace sluice::node {

class MemberMemory final {
 public:
  enum class AtEnd { keep, forget };

  /// `tasks`, `members` and `log` outlive it.
  MemberMemory(net::asio::any_io_executor executor, TaskGroup& tasks, const MemberView& members,
               const std::string& data_directory, Logger& log);
  ~MemberMemory();

  /// Where members were seen, the last time that the node ran.
  std::vector<net::HostPort> read() const;
  void on_change();
  /// Writes for the last time, or forgets them all. What changes from then on is only that we go.
  void close(AtEnd at_end);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
