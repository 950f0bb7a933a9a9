#include "node/remembered_members.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "base/durable_file.h"

namespace sluice::node {
namespace {

constexpr std::size_t kFileMax = 4096;

}  // namespace

std::vector<net::HostPort> RememberedMembers::read() const {
  std::vector<net::HostPort> addresses;
  auto content = read_small_file(path_, kFileMax);
  if (!content) return addresses;
  std::istringstream lines(*content);
  for (std::string line; std::getline(lines, line) && addresses.size() < kMax;)
    if (auto at = net::parse_host_port(line)) addresses.push_back(*at);
  return addresses;
}

bool RememberedMembers::write(const std::vector<cluster::Member>& members, const NodeId& self) {
  std::vector<std::string> present;
  for (const cluster::Member& member : members) {
    bool there = member.state == cluster::MemberState::alive || member.state == cluster::MemberState::suspect;
    if (there && member.id != self) present.push_back(net::to_text(member.profile.endpoint));
  }
  if (present.empty()) return true;  // those of before are the better hint
  std::vector<net::HostPort> known = read();
  std::ranges::stable_partition(present, [&](const std::string& address) {
    return std::ranges::any_of(known, [&](const net::HostPort& at) { return net::to_text(at) == address; });
  });
  present.resize(std::min(present.size(), kMax));
  std::string content;
  for (const std::string& address : present) content += address + "\n";
  auto before = read_small_file(path_, kFileMax);
  if (before && *before == content) return true;
  auto written = write_file_durably(path_, content, 0600);
  if (!written) errno = written.error();
  return written.has_value();
}

void RememberedMembers::forget() { ::unlink(path_.c_str()); }

}  // namespace sluice::node
