#include "cluster/cluster_key.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <optional>

#include "cluster/base64.h"
#include "cluster/key_derivation.h"

namespace sluice::cluster {
namespace {

constexpr std::string_view kAuthorityInfo = "sluice authority 1";
constexpr std::string_view kGossipInfo = "sluice gossip 1";

constexpr std::string_view kFamily = "sluice-key-";
constexpr std::string_view kKind = "sluice-key-1";
constexpr std::size_t kFingerprintSize = 8;
constexpr std::size_t kBase64Size = (kSecretSize + 2) / 3 * 4;

constexpr std::string_view kHeader =
    "# The key of a Sluice cluster. Whoever can read it may do everything on every node: keep it at mode 0600.\n"
    "# The first key is the current one; further lines are accepted too, while keys are being changed.\n";

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(kBlanks) - begin + 1);
}

// Never shows the line: it may be a key with a slip of the pen.
std::expected<ClusterKey, std::string> parse_line(std::string_view line) {
  const std::string_view kind = line.substr(0, line.find_first_of(kBlanks));
  if (kind != kKind) {
    if (kind.starts_with(kFamily)) return std::unexpected("a kind of key that this version does not know");
    return std::unexpected("expected `sluice-key-1` and the key in base64, or a comment that begins with #");
  }
  const std::string_view text = trimmed(line.substr(kind.size()));
  std::optional<SecretText> bytes;
  if (text.size() == kBase64Size) bytes = from_base64(text);
  if (!bytes || bytes->size() != kSecretSize)
    return std::unexpected(fmt::format("a key is {} bytes, {} characters of base64", kSecretSize, kBase64Size));
  return ClusterKey(ClusterKey::Bytes(bytes->bytes().first<kSecretSize>()));
}

std::optional<std::string> problem_of_another(const std::vector<ClusterKey>& keys, const ClusterKey& key) {
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return "the same key stands there twice";
  if (keys.size() == kClusterKeysMax) return fmt::format("more than {} keys", kClusterKeysMax);
  return std::nullopt;
}

}  // namespace

std::string fingerprint_of(const PublicKey& authority) {
  std::uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(authority.data(), authority.size(), digest);
  std::string text;
  for (std::size_t i = 0; i < kFingerprintSize; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

SigningKey ClusterKey::authority_key() const {
  return SigningKey::from_seed(derive<SigningSeed>(bytes_, kAuthorityInfo));
}

GossipSecret ClusterKey::gossip_secret() const { return derive<GossipSecret>(bytes_, kGossipInfo); }

std::expected<ClusterKeys, std::string> ClusterKeys::parse(std::string_view text) {
  if (text.size() > kKeyFileMax)
    return std::unexpected(fmt::format("a key file has at most {} bytes, not {}", kKeyFileMax, text.size()));
  std::vector<ClusterKey> keys;
  keys.reserve(kClusterKeysMax);
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    auto key = parse_line(line);
    if (!key) return std::unexpected(fmt::format("line {}: {}", number, key.error()));
    if (auto problem = problem_of_another(keys, *key))
      return std::unexpected(fmt::format("line {}: {}", number, *problem));
    keys.push_back(std::move(*key));
  }
  if (keys.empty()) return std::unexpected("there is no key in it; `sluice keygen FILE` writes one");
  return ClusterKeys(std::move(keys));
}

std::vector<GossipSecret> ClusterKeys::gossip_secrets() const {
  std::vector<GossipSecret> secrets;
  for (const ClusterKey& key : keys_) secrets.push_back(key.gossip_secret());
  return secrets;
}

SecretText format_key_file(const ClusterKey& key) {
  SecretText text(kHeader);
  text.append(fmt::format("# Fingerprint of the next line: {}\n{} ", key.fingerprint(), kKind));
  text.append(to_base64(key.bytes().bytes()).view());
  text.append("\n");
  return text;
}

std::expected<void, FileError> write_key_file(const std::string& path, const ClusterKey& key) {
  auto written = create_private_file(path, format_key_file(key).view());
  if (!written && written.error().kind == FileErrorKind::exists)
    return std::unexpected(
        FileError{FileErrorKind::exists,
                  fmt::format("{} exists already; a key that is overwritten is lost, so choose another name", path)});
  return written;
}

std::expected<ClusterKeys, FileError> read_key_file(const std::string& path) {
  auto content = read_private_file(path, {.size_max = kKeyFileMax});
  if (!content) return std::unexpected(content.error());
  auto keys = ClusterKeys::parse(content->view());
  if (!keys) return std::unexpected(FileError{FileErrorKind::malformed, fmt::format("{}: {}", path, keys.error())});
  return std::move(*keys);
}

}  // namespace sluice::cluster
