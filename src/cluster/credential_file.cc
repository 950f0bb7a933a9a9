#include "cluster/credential_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

#include "base/require.h"
#include "cluster/pem.h"

namespace sluice::cluster {
namespace {

using Outcome = std::expected<void, std::string>;

std::string pem_of(const PemBlock& block) { return std::string(format_pem(block.label, block.value.bytes()).view()); }

Outcome take_certificate(const PemBlock& block, ClusterCredentials& credentials) {
  net::Credentials& tls = credentials.tls;
  if (tls.certificate_pem.empty())
    tls.certificate_pem = pem_of(block);
  else
    tls.authority_pems.push_back(pem_of(block));
  return {};
}

Outcome take_block(const PemBlock& block, ClusterCredentials& credentials) {
  if (block.label == kPemCertificate) return take_certificate(block, credentials);
  if (block.label == kPemPrivateKey) {
    if (!credentials.tls.private_key_pem.empty()) return std::unexpected("it holds two private keys");
    credentials.tls.private_key_pem = pem_of(block);
    return {};
  }
  if (block.label != kPemGossipSecret)
    return std::unexpected("it holds a block that does not belong there; `sluice cert issue` writes such files");
  if (block.value.size() != kSecretSize)
    return std::unexpected(fmt::format("a gossip secret is {} bytes long", kSecretSize));
  credentials.gossip_secrets.emplace_back(block.value.bytes().first<kSecretSize>());
  return {};
}

Outcome check_gossip_secrets(const ClusterCredentials& credentials) {
  const std::size_t count = credentials.gossip_secrets.size();
  if (count > kClusterKeysMax)
    return std::unexpected(fmt::format("it holds more than {} gossip secrets", kClusterKeysMax));
  if (credentials.fields.role == net::Role::node && count == 0)
    return std::unexpected("it is a node's, and holds no gossip secret");
  if (credentials.fields.role != net::Role::node && count > 0)
    return std::unexpected("it holds a gossip secret, which only a node's may");
  return {};
}

// That the parts belong together.
Outcome check(ClusterCredentials& credentials) {
  const net::Credentials& tls = credentials.tls;
  if (tls.certificate_pem.empty() || tls.private_key_pem.empty() || tls.authority_pems.empty())
    return std::unexpected(
        "it must hold a certificate, its private key and an authority's certificate; was it cut off?");
  auto certificate = read_certificate(tls.certificate_pem);
  if (!certificate) return std::unexpected(certificate.error());
  auto key = SigningKey::from_pem(tls.private_key_pem);
  if (!key) return std::unexpected(key.error());
  if (key->public_key() != certificate->public_key)
    return std::unexpected("the private key is not that of the certificate");
  auto trusted = TrustedAuthorities::from_pems(tls.authority_pems);
  if (!trusted) return std::unexpected(trusted.error());
  if (!trusted->has_issued(tls.certificate_pem))
    return std::unexpected("none of the authorities in it has issued the certificate");
  credentials.fields = std::move(certificate->fields);
  return check_gossip_secrets(credentials);
}

std::string heading(const CertificateFields& fields) {
  return fmt::format(
      "# Sluice credentials: role {}, name {}, serial {}. Whoever can read this file is that: keep it at mode 0600.\n",
      net::role_name(fields.role), fields.name, fields.serial.text());
}

bool fits(const ClusterCredentials& cached, const ClusterKeys& keys, const CertificateRequest& request) {
  const CertificateFields& fields = cached.fields;
  const bool same_owner = fields.role == request.role && fields.name == request.name && fields.node == request.node;
  const bool same_serial = !request.renews || *request.renews == fields.serial;
  const bool fresh = fields.not_before <= request.now && request.now < renewal_time(fields);
  if (!same_owner || !same_serial || !fresh) return false;
  const CertificateAuthority authority = CertificateAuthority::from(keys);
  const bool same_gossip = request.role != net::Role::node || cached.gossip_secrets == keys.gossip_secrets();
  return same_gossip && cached.tls.authority_pems == authority.trusted().pems() &&
         is_issued_by(cached.tls.certificate_pem, authority.certificate_pem());
}

}  // namespace

std::expected<ClusterCredentials, std::string> parse_credentials(std::string_view text) {
  if (text.size() > kCredentialFileMax)
    return std::unexpected(fmt::format("such a file has at most {} bytes, not {}", kCredentialFileMax, text.size()));
  auto blocks = parse_pem(text);
  if (!blocks) return std::unexpected(blocks.error());
  ClusterCredentials credentials;
  for (const PemBlock& block : *blocks)
    if (auto taken = take_block(block, credentials); !taken) return std::unexpected(taken.error());
  if (auto valid = check(credentials); !valid) return std::unexpected(valid.error());
  return credentials;
}

SecretText format_credentials(const ClusterCredentials& credentials) {
  SecretText text(heading(credentials.fields));
  text.append(credentials.tls.certificate_pem);
  text.append(credentials.tls.private_key_pem);
  for (const std::string& authority : credentials.tls.authority_pems) text.append(authority);
  for (const GossipSecret& secret : credentials.gossip_secrets)
    text.append(format_pem(kPemGossipSecret, secret.bytes()).view());
  return text;
}

std::expected<ClusterCredentials, FileError> read_credential_file(const std::string& path) {
  auto content = read_private_file(path, {.size_max = kCredentialFileMax});
  if (!content) return std::unexpected(content.error());
  auto credentials = parse_credentials(content->view());
  if (!credentials)
    return std::unexpected(FileError{FileErrorKind::malformed, fmt::format("{}: {}", path, credentials.error())});
  return std::move(*credentials);
}

std::expected<void, FileError> create_credential_file(const std::string& path, const ClusterCredentials& credentials) {
  auto created = create_private_file(path, format_credentials(credentials).view());
  if (created || created.error().kind != FileErrorKind::exists) return created;
  return std::unexpected(FileError{
      FileErrorKind::exists,
      fmt::format("{} exists already, and the private key in it would be lost; choose another name, or remove it first",
                  path)});
}

std::string expiry_problem(const std::string& path, const CertificateFields& fields, WallTime now) {
  if (now < fields.not_after) return {};
  return fmt::format(
      "{}: the certificate expired at {:%Y-%m-%dT%H:%M:%SZ}; issue a new one with `sluice cert issue` where the "
      "cluster "
      "key is (if that time is still to come, set this host's clock)",
      path, fmt::gmtime(std::chrono::system_clock::to_time_t(fields.not_after)));
}

std::expected<void, FileError> write_credential_file(const std::string& path, const ClusterCredentials& credentials) {
  return replace_private_file(path, format_credentials(credentials).view());
}

std::expected<ClusterCredentials, std::string> issue_credentials(const ClusterKeys& keys,
                                                                 const CertificateRequest& request) {
  auto tls = CertificateAuthority::from(keys).issue(request);
  if (!tls) return std::unexpected(tls.error());
  auto certificate = read_certificate(tls->certificate_pem);
  INVARIANT(certificate.has_value());
  ClusterCredentials credentials{.tls = std::move(*tls), .fields = std::move(certificate->fields)};
  if (request.role == net::Role::node) credentials.gossip_secrets = keys.gossip_secrets();
  return credentials;
}

std::expected<CachedCredentials, std::string> own_credentials(const std::string& path, const ClusterKeys& keys,
                                                              const CertificateRequest& request) {
  auto cached = read_credential_file(path);
  if (cached && fits(*cached, keys, request)) return CachedCredentials{.credentials = std::move(*cached)};
  auto issued = issue_credentials(keys, request);
  if (!issued) return std::unexpected(issued.error());
  CachedCredentials fresh{.credentials = std::move(*issued), .issued = true};
  if (auto written = write_credential_file(path, fresh.credentials); !written)
    fresh.cache_problem = written.error().message;
  return fresh;
}

}  // namespace sluice::cluster
