#include "rpc/call.h"

namespace sluice::rpc {

bool is_ordinary(net::Role role) {
  return role != net::Role::gateway && role != net::Role::node && role != net::Role::admin;
}

std::optional<net::Role> effective_role(net::Role connection, std::optional<net::Role> on_behalf) {
  if (!on_behalf) return connection;
  bool believed = connection == net::Role::gateway || connection == net::Role::node;
  if (!believed) return std::nullopt;
  if (is_ordinary(*on_behalf)) return on_behalf;
  if (*on_behalf == net::Role::admin) return net::Role::operate;
  return std::nullopt;
}

}  // namespace sluice::rpc
