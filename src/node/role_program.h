#pragma once
// What a worker that was started by hand (role_worker.h) runs for a flow: a program below a spawner
// (spawned_role_programs.h), or, in a program that is linked with the C++ library, handlers of its own
// (worker/session_jobs.h).
// Threading: belongs to the loop of the worker.
#include <expected>
#include <memory>
#include <string>

#include "exec/jobs.h"
#include "net/async.h"

namespace sluice::v1 {
class RoleTask;
}

namespace sluice::node {

/// For one stage of one flow, from its task to its end.
class RoleProgram {
 public:
  virtual ~RoleProgram() = default;
  /// What the seat of the stage asks to run it; taken once.
  virtual std::unique_ptr<exec::Jobs> take_jobs() = 0;
  /// One of the flow's, for all that runs.
  virtual void signal(int number) = 0;
  /// Nobody wants what runs any more. Twice does nothing.
  virtual void kill() = 0;
  /// Returns when nothing runs any more, and nothing else will be asked for; called once.
  virtual net::Awaitable<void> wait() = 0;
};

class RolePrograms {
 public:
  virtual ~RolePrograms() = default;
  /// Errors: a sentence for people.
  virtual std::expected<std::unique_ptr<RoleProgram>, std::string> start(const v1::RoleTask& task) = 0;
  /// Does what they need beside; returns after `close`, when no program is left.
  virtual net::Awaitable<void> run() = 0;
  virtual void close() = 0;
};

}  // namespace sluice::node
