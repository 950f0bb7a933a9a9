#pragma once
// Keys of one repeated character, the hour at which tests happen, and the node that they issue certificates for.
#include <chrono>
#include <initializer_list>
#include <string>

#include "cluster/certificate_authority.h"
#include "cluster/cluster_key.h"

namespace sluice::cluster {

constexpr WallTime kNow = std::chrono::sys_days(std::chrono::year(2026) / 5 / 1) + std::chrono::hours(12);
inline const NodeId kNode{{0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}};

inline ClusterKey key_of(char fill) {
  return ClusterKey(ClusterKey::Bytes(SecretText(std::string(32, fill)).bytes().first<32>()));
}

/// As the key file of a rotation holds them, the newest first.
inline ClusterKeys keys_of(std::initializer_list<char> fills) {
  std::string text;
  for (char fill : fills) text += format_key_file(key_of(fill)).view();
  return *ClusterKeys::parse(text);
}

inline CertificateRequest a_node() { return {.role = net::Role::node, .name = "db1", .node = kNode, .now = kNow}; }

}  // namespace sluice::cluster
