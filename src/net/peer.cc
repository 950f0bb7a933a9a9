#include "net/peer.h"

#include <algorithm>
#include <iterator>

namespace sluice::net {
namespace {

constexpr Role kRoles[] = {Role::read,  Role::submit,  Role::invoke,  Role::run,  Role::worker,
                           Role::agent, Role::operate, Role::gateway, Role::node, Role::admin};
constexpr std::string_view kNames[] = {"read",  "submit",  "invoke",  "run",  "worker",
                                       "agent", "operate", "gateway", "node", "admin"};
static_assert(std::size(kRoles) == std::size(kNames));

}  // namespace

std::string_view role_name(Role role) { return kNames[static_cast<std::size_t>(role)]; }

std::optional<Role> role_from(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name);
  if (found == std::end(kNames)) return std::nullopt;
  return kRoles[found - std::begin(kNames)];
}

std::span<const Role> all_roles() { return kRoles; }

}  // namespace sluice::net
