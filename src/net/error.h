#pragma once
// What can go wrong between two hosts, told apart as far as a user would act differently.
#include <string>

namespace sluice::net {

enum class NetErrorKind {
  refused,        // nobody listens there
  unreachable,    // no route, no such host
  timed_out,      // no answer within the deadline
  wrong_key,      // the other side belongs to another cluster, or its certificate is not valid any more
  revoked,        // a certificate was revoked: ours or theirs
  wrong_role,     // the certificate is good, but may not do this (serve, or call)
  wrong_node,     // another node answered than the one that was meant
  wrong_version,  // another major version of the protocol
  closed,         // the peer ended the connection in good order
  cut,            // the connection broke
  protocol,       // the peer sent what no peer of ours sends
  limit,          // a limit of ours (size, count, descriptors)
  cancelled,      // we ended it ourselves
  system,         // anything else the kernel said
};

struct NetError {
  NetErrorKind kind = NetErrorKind::system;
  std::string message;  // for people, without the address: "connection refused"
};

}  // namespace sluice::net
