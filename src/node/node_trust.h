#pragma once
// What a node presents and whom it believes: the cluster key or a certificate, the TLS contexts made of them, and the
// certificates that were revoked.
//
// Certificates live for a day and are renewed at half of that: by the key, if this node holds it, else by asking a node
// that does. Connections that exist go on; new ones use the new certificate.
// Threading: belongs to the control loop, but for the revocation check, which every handshake may ask.
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "cluster/certificate_authority.h"
#include "cluster/cluster_key.h"
#include "cluster/credential_file.h"
#include "cluster/revocation_list.h"
#include "net/tls.h"
#include "node/identity.h"

namespace sluice::node {

class NodeTrust final {
 public:
  struct Options {
    std::string key_file;   // empty: none
    std::string cert_file;  // empty: none
    std::string name;       // of the node
  };
  /// With neither file the node makes itself a key in its data directory. Errors: a sentence for the user.
  static std::expected<std::unique_ptr<NodeTrust>, std::string> open(const Identity& identity, Options options,
                                                                     Logger& log);

  /// The name of the node for which a certificate was issued; empty if the file is none of a node.
  static std::string name_in(const std::string& cert_file);

  /// Whose id the certificate carries: that of the data directory, or that of --cert.
  const NodeId& node_id() const { return credentials_.fields.node.value(); }
  bool holds_key() const { return keys_.has_value(); }
  const std::string& key_file() const { return key_file_; }
  const cluster::ClusterCredentials& credentials() const { return credentials_; }
  const net::TlsContext* tls() const { return tls_.get(); }
  const std::vector<cluster::GossipSecret>& gossip_secrets() const { return credentials_.gossip_secrets; }
  cluster::RevocationList& revocations() { return *revocations_; }
  std::string fingerprint() const;

  /// When to renew next.
  cluster::WallTime renewal_due() const { return cluster::renewal_time(credentials_.fields); }
  /// Renews by the key. Errors: a sentence. Requires holds_key().
  std::expected<void, std::string> renew();
  /// Puts what another node has issued in the place of ours. Errors: it is not for us, or damaged.
  std::expected<void, std::string> take(const cluster::ClusterCredentials& credentials);

  /// A certificate for `public_key_pem` with the identity that `peer` has proved. Requires holds_key().
  std::expected<cluster::ClusterCredentials, std::string> renew_for(const std::string& public_key_pem,
                                                                    const net::Peer& peer) const;
  /// Signs, adds and keeps. Errors: a sentence; what can't be kept is in force nevertheless. Requires holds_key().
  std::expected<void, std::string> revoke(const net::CertificateSerial& serial);
  /// Adds what another node told us; the list is saved if it has grown.
  void add_revocations(const std::vector<cluster::Revocation>& revocations);

 private:
  NodeTrust(std::string directory, Logger& log) : directory_(std::move(directory)), log_(log) {}
  std::expected<void, std::string> open_key(const std::string& path, const NodeId& id, const std::string& name);
  std::expected<void, std::string> open_certificate(const std::string& path);
  std::expected<void, std::string> make_context();
  std::expected<void, std::string> load();
  std::expected<void, std::string> save();

  std::string directory_;
  Logger& log_;
  std::string key_file_;
  std::string name_;
  std::optional<cluster::ClusterKeys> keys_;
  std::optional<cluster::CertificateAuthority> authority_;
  cluster::ClusterCredentials credentials_;
  std::unique_ptr<cluster::RevocationList> revocations_;
  std::unique_ptr<net::TlsContext> tls_;
  std::unique_ptr<net::TlsContext> tls_before_;  // a dial that began before the last renewal still uses it
};

cluster::WallTime wall_time_now();

}  // namespace sluice::node
