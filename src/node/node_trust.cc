#include "node/node_trust.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/require.h"

namespace sluice::node {
namespace {

using Refusal = std::unexpected<std::string>;

constexpr const char* kOwnKey = "/cluster.key";
constexpr const char* kOwnCertificate = "/node.pem";
constexpr const char* kRevocations = "/revocations";

}  // namespace

cluster::WallTime wall_time_now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::expected<std::unique_ptr<NodeTrust>, std::string> NodeTrust::open(const Identity& identity, Options options,
                                                                       Logger& log) {
  std::unique_ptr<NodeTrust> trust(new NodeTrust(identity.directory(), log));
  auto opened = options.cert_file.empty() ? trust->open_key(options.key_file, identity.id(), options.name)
                                          : trust->open_certificate(options.cert_file);
  if (!opened) return Refusal(opened.error());
  auto trusted = cluster::TrustedAuthorities::from_pems(trust->credentials_.tls.authority_pems);
  if (!trusted) return Refusal(trusted.error());
  trust->revocations_ = std::make_unique<cluster::RevocationList>(std::move(*trusted));
  if (auto loaded = trust->load(); !loaded) return Refusal(loaded.error());
  if (auto made = trust->make_context(); !made) return Refusal(made.error());
  return trust;
}

std::expected<void, std::string> NodeTrust::open_key(const std::string& path, const NodeId& id,
                                                     const std::string& name) {
  key_file_ = path.empty() ? directory_ + kOwnKey : path;
  name_ = name;
  auto keys = cluster::read_key_file(key_file_);
  if (!keys && path.empty() && keys.error().kind == cluster::FileErrorKind::missing) {
    if (auto made = cluster::write_key_file(key_file_, cluster::ClusterKey::generate()); !made)
      return Refusal(made.error().message);
    keys = cluster::read_key_file(key_file_);
  }
  if (!keys) return Refusal(keys.error().message);
  keys_ = std::move(*keys);
  authority_ = cluster::CertificateAuthority::from(*keys_);
  cluster::CertificateRequest request{.role = net::Role::node, .name = name, .node = id, .now = wall_time_now()};
  auto own = cluster::own_credentials(directory_ + kOwnCertificate, *keys_, request);
  if (!own) return Refusal(own.error());
  if (!own->cache_problem.empty()) log_.warn("certificate not kept", {{"reason", own->cache_problem}});
  credentials_ = std::move(own->credentials);
  return {};
}

std::expected<void, std::string> NodeTrust::open_certificate(const std::string& path) {
  auto credentials = cluster::read_credential_file(path);
  if (!credentials) return Refusal(credentials.error().message);
  if (credentials->fields.role != net::Role::node || !credentials->fields.node)
    return Refusal(
        fmt::format("{} is a certificate of role {}; a node needs one of role node (sluice cert issue --role "
                    "node --name NAME)",
                    path, net::role_name(credentials->fields.role)));
  credentials_ = std::move(*credentials);
  name_ = credentials_.fields.name;
  // What was renewed since is kept beside the state; it is for the same node, or it is not ours.
  auto renewed = cluster::read_credential_file(directory_ + kOwnCertificate);
  bool newer = renewed && renewed->fields.node == credentials_.fields.node &&
               renewed->fields.not_after > credentials_.fields.not_after;
  if (newer) credentials_ = std::move(*renewed);
  std::string expired = cluster::expiry_problem(path, credentials_.fields, wall_time_now());
  if (!expired.empty()) return Refusal(std::move(expired));
  return {};
}

std::string NodeTrust::name_in(const std::string& cert_file) {
  auto credentials = cluster::read_credential_file(cert_file);
  return credentials && credentials->fields.role == net::Role::node ? credentials->fields.name : "";
}

std::expected<void, std::string> NodeTrust::make_context() {
  cluster::RevocationList* list = revocations_.get();
  auto context = net::TlsContext::make(credentials_.tls,
                                       [list](const net::CertificateSerial& serial) { return list->contains(serial); });
  if (!context) return Refusal(context.error().message);
  tls_before_ = std::exchange(tls_, std::make_unique<net::TlsContext>(std::move(*context)));
  return {};
}

std::string NodeTrust::fingerprint() const { return keys_ ? keys_->current().fingerprint() : ""; }

std::expected<void, std::string> NodeTrust::renew() {
  REQUIRE(holds_key());
  cluster::CertificateRequest request{
      .role = net::Role::node, .name = name_, .node = credentials_.fields.node, .now = wall_time_now()};
  auto issued = cluster::issue_credentials(*keys_, request);
  if (!issued) return Refusal(issued.error());
  return take(*issued);
}

std::expected<void, std::string> NodeTrust::take(const cluster::ClusterCredentials& credentials) {
  if (credentials.fields.node != credentials_.fields.node || credentials.fields.role != net::Role::node)
    return Refusal("the new certificate is another's");
  credentials_ = credentials;
  if (auto trusted = cluster::TrustedAuthorities::from_pems(credentials_.tls.authority_pems))
    revocations_->replace_trusted(std::move(*trusted));
  if (auto kept = cluster::write_credential_file(directory_ + kOwnCertificate, credentials_); !kept)
    log_.warn("certificate not kept", {{"reason", kept.error().message}});
  return make_context();
}

std::expected<cluster::ClusterCredentials, std::string> NodeTrust::renew_for(const std::string& public_key_pem,
                                                                             const net::Peer& peer) const {
  REQUIRE(holds_key());
  if (peer.proof != net::Peer::Proof::certificate || !peer.serial)
    return Refusal("only the holder of a certificate can renew it");
  cluster::CertificateRequest request{
      .role = peer.role, .name = peer.name, .node = peer.node, .now = wall_time_now(), .renews = peer.serial};
  auto pem = authority_->issue_for(public_key_pem, request);
  if (!pem) return Refusal(pem.error());
  cluster::ClusterCredentials credentials;
  credentials.tls.certificate_pem = *pem;
  credentials.tls.authority_pems = authority_->trusted().pems();
  if (peer.role == net::Role::node) credentials.gossip_secrets = keys_->gossip_secrets();
  return credentials;
}

std::expected<void, std::string> NodeTrust::revoke(const net::CertificateSerial& serial) {
  REQUIRE(holds_key());
  auto now = wall_time_now();
  auto added = revocations_->add(authority_->sign_revocation(serial, cluster::revocation_end(now)), now);
  if (!added) return Refusal("the list of revoked certificates is full; rotate the cluster key (docs/security.md)");
  if (auto kept = save(); !kept)
    return Refusal(
        fmt::format("it is refused from now on, but only until this node restarts: {}; mend that, and revoke "
                    "it again",
                    kept.error()));
  return {};
}

void NodeTrust::add_revocations(const std::vector<cluster::Revocation>& revocations) {
  bool grown = false;
  for (const cluster::Revocation& revocation : revocations) {
    auto added = revocations_->add(revocation, wall_time_now());
    if (added && *added == cluster::RevocationAdded::added) grown = true;
    if (!added) log_.warn("revocation refused", {{"serial", revocation.serial.text()}});
  }
  if (!grown) return;
  if (auto kept = save(); !kept) log_.error("revocations not kept", {{"reason", kept.error()}});
}

std::expected<void, std::string> NodeTrust::load() {
  auto loaded = cluster::load_revocations(directory_ + kRevocations, *revocations_, wall_time_now());
  if (!loaded)
    return Refusal(fmt::format(
        "{}; without it certificates that were revoked would be believed again. Put a copy back; or move it away, and "
        "start the node when another of the cluster runs, which tells it of all that are revoked",
        loaded.error().message));
  if (authority_) revocations_->sign_again(*authority_);
  return {};
}

std::expected<void, std::string> NodeTrust::save() {
  auto saved = cluster::save_revocations(directory_ + kRevocations, *revocations_);
  if (!saved) return Refusal(saved.error().message);
  return {};
}

}  // namespace sluice::node
