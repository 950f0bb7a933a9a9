#pragma once
// The cluster key: whoever can read it is `admin`. The certificate authority and the gossip secret are derived from it,
// so that one short file is all that hosts must share, and every host derives the same.
//
// The file has one line a key, `sluice-key-1 BASE64`; lines that begin with `#` and empty lines are comments. The first
// key is the current one: it issues and seals. What was made with the further ones is accepted too, for as long as a
// rotation takes (docs/security.md).
// Threading: values.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/private_file.h"
#include "cluster/secret.h"
#include "cluster/signing_key.h"

namespace sluice::cluster {

/// What seals datagrams between nodes. Every node has it, with the cluster key or without.
using GossipSecret = Secret<struct GossipSecretTag>;

/// A rotation needs two; more lets one begin before the last has ended.
inline constexpr std::size_t kClusterKeysMax = 4;
inline constexpr std::size_t kKeyFileMax = std::size_t{16} << 10;

/// 16 hexadecimal digits of an authority, for people to compare: the first 8 bytes of SHA-256 of its public key.
std::string fingerprint_of(const PublicKey& authority);

class ClusterKey final {
 public:
  using Bytes = Secret<struct ClusterKeyTag>;

  explicit ClusterKey(const Bytes& bytes) : bytes_(bytes) {}
  static ClusterKey generate() { return ClusterKey(Bytes::random()); }

  const Bytes& bytes() const { return bytes_; }
  SigningKey authority_key() const;
  GossipSecret gossip_secret() const;
  std::string fingerprint() const { return fingerprint_of(authority_key().public_key()); }
  bool operator==(const ClusterKey&) const = default;

 private:
  Bytes bytes_;
};

class ClusterKeys final {
 public:
  explicit ClusterKeys(ClusterKey current) : keys_{std::move(current)} {}
  /// The content of a key file. Errors: a sentence that names the line, and nothing of what stands there.
  static std::expected<ClusterKeys, std::string> parse(std::string_view text);

  const ClusterKey& current() const { return keys_.front(); }
  /// The current one first; at least one, at most kClusterKeysMax, all different.
  const std::vector<ClusterKey>& all() const { return keys_; }
  std::vector<GossipSecret> gossip_secrets() const;

 private:
  explicit ClusterKeys(std::vector<ClusterKey> keys) : keys_(std::move(keys)) {}
  std::vector<ClusterKey> keys_;
};

SecretText format_key_file(const ClusterKey& key);

/// A new file with one key. It overwrites nothing. Errors: exists, system.
std::expected<void, FileError> write_key_file(const std::string& path, const ClusterKey& key);
/// Errors: missing, exposed (others may open it), malformed, system.
std::expected<ClusterKeys, FileError> read_key_file(const std::string& path);

}  // namespace sluice::cluster
