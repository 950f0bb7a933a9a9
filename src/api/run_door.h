#pragma once
// What POST /v1/run needs of a node: to start a pipeline whose stdin and stdout are the bodies of a request and of its
// answer. node/ implements it; tests have one of their own.
// Threading: belongs to the loop of the door.
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/id.h"
#include "base/time.h"
#include "net/async.h"
#include "rpc/call.h"
#include "rpc/status.h"

namespace sluice::api {

/// What the caller wants to run. Whether it is a pipeline at all is for the RunDoor to say.
struct RunText {
  std::string pipeline;
  std::optional<Duration> timeout;
  std::string pipefail;  // lenient, strict, last; empty: the default
  FlowId id = {};        // under which the audit log has it
};

struct FlowResult {
  /// Of the pipeline, as `sluice run` would exit.
  int exit_status = 0;
  /// Not ok: the flow did not come to its own end (a lost node, a cut link, the timeout, `cancel`), so that its output may
  /// lack an end. The message is for people.
  rpc::Status outcome;
};

/// A flow that runs. Destroyed only after `finish` has returned.
class RunningFlow {
 public:
  virtual ~RunningFlow() = default;
  /// All of it; waits while the first stage reads too slowly. Errors: nobody will read more, now or later; what follows is
  /// dropped by the caller. Returns too when the flow has ended.
  virtual net::Awaitable<std::expected<void, rpc::Status>> write_input(std::span<const std::byte> bytes) = 0;
  /// The end of stdin. No write_input is under way or follows.
  virtual void close_input() = 0;
  /// At least one byte; 0 at the end of stdout, also after an error, which `finish` tells. One at a time, beside a
  /// write_input.
  virtual net::Awaitable<std::size_t> read_output(std::span<std::byte> into) = 0;
  /// Waits until no process of the flow is left. Once, and after the end of stdout.
  virtual net::Awaitable<FlowResult> finish() = 0;
  /// Ends the flow on every node. All of the above then return soon. Twice does nothing.
  virtual void cancel() = 0;
};

class RunDoor {
 public:
  virtual ~RunDoor() = default;
  /// The caller's role has been checked as for Flows/Run, and the call is in the audit log. Errors: the text is no pipeline
  /// (invalid_argument), it can't be placed or started; the message is for people.
  virtual net::Awaitable<std::expected<std::unique_ptr<RunningFlow>, rpc::Status>> start(RunText text,
                                                                                         rpc::Caller caller) = 0;
};

}  // namespace sluice::api
