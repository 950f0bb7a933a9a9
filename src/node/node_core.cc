#include "node/node_core.h"

#include <fmt/format.h>

#include "base/spelling.h"
#include "sluice/v1/cluster.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kPrefixMin = 4;  // a shorter one is more likely a mistyped name

v1::NodeState state_of(cluster::MemberState state) {
  switch (state) {
    case cluster::MemberState::alive:
      return v1::NODE_STATE_ALIVE;
    case cluster::MemberState::suspect:
      return v1::NODE_STATE_SUSPECT;
    case cluster::MemberState::dead:
      return v1::NODE_STATE_DEAD;
    case cluster::MemberState::left:
      return v1::NODE_STATE_LEFT;
  }
  return v1::NODE_STATE_UNSPECIFIED;
}

}  // namespace

std::expected<cluster::Member, rpc::Status> find_member(const MemberView& members, const std::string& wanted) {
  std::vector<cluster::Member> found;
  std::vector<std::string> names;
  for (cluster::Member& member : members.members()) {
    bool present = member.state == cluster::MemberState::alive || member.state == cluster::MemberState::suspect;
    if (present) names.push_back(member.profile.name);
    bool by_name = member.profile.name == wanted && present;
    bool by_id = wanted.size() >= kPrefixMin && member.id.text().starts_with(wanted);
    if (by_name || by_id) found.push_back(std::move(member));
  }
  if (found.size() == 1) return found[0];
  if (found.empty())
    return std::unexpected(rpc::Status{
        rpc::Code::not_found,
        fmt::format("no node '{}'{}; nodes: {}", wanted, did_you_mean(wanted, names), fmt::join(names, " "))});
  std::string message = fmt::format("'{}' may mean several nodes; say which by its id:", wanted);
  for (const cluster::Member& member : found) message += fmt::format(" {} ({})", member.id.text(), member.profile.name);
  return std::unexpected(rpc::Status{rpc::Code::invalid_argument, message});
}

void fill_node(const cluster::Member& member, const NodeId& self, v1::Node& node) {
  node.set_id(member.id.text());
  node.set_name(member.profile.name);
  node.set_url(net::to_url({member.profile.endpoint.address, member.profile.endpoint.port}, member.profile.name));
  node.set_state(state_of(member.state));
  for (const auto& [key, value] : member.profile.labels) (*node.mutable_labels())[key] = value;
  node.set_version(member.profile.version);
  node.set_self(member.id == self);
  node.set_incarnation(member.incarnation);
}

rpc::Status status_of(const net::NetError& error, const std::string& whom) {
  rpc::Code code = error.kind == net::NetErrorKind::timed_out ? rpc::Code::deadline_exceeded : rpc::Code::unavailable;
  return {code, fmt::format("cannot reach {}: {}", whom, error.message)};
}

}  // namespace sluice::node
