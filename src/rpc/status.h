#pragma once
// How a call ended. The codes are gRPC's (https://grpc.io/docs/guides/status-codes/), so that the gateway and every
// client can pass them on unchanged.
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::rpc {

enum class Code : std::uint8_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

struct Status {
  Code code = Code::ok;
  std::string message;

  bool ok() const { return code == Code::ok; }
  bool operator==(const Status&) const = default;
};

/// "NOT_FOUND", as protobuf's JSON and gRPC print it.
std::string_view code_name(Code code);

}  // namespace sluice::rpc
