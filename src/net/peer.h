#pragma once
// Who is at the other end of a connection: what its certificate says, or which user of this host opened the socket.
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/id.h"

namespace sluice::net {

/// What a certificate allows. `admin` is whoever can read the cluster key, and the node's own user on its Unix socket.
enum class Role : std::uint8_t { read, submit, invoke, run, worker, agent, operate, gateway, node, admin };

std::string_view role_name(Role role);
std::optional<Role> role_from(std::string_view name);
std::span<const Role> all_roles();

using CertificateSerial = Id<struct CertificateSerialTag>;

struct Peer {
  enum class Proof { certificate, local_user, token, none };  // `none` only with --insecure-loopback

  Proof proof = Proof::none;
  Role role = Role::read;
  std::optional<NodeId> node;               // of role `node`
  std::string name;                         // the certificate's common name; for a local user, the user's name
  std::optional<CertificateSerial> serial;  // of a certificate
  std::optional<uid_t> user;                // of a local user
};

}  // namespace sluice::net
