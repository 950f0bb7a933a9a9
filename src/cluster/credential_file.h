#pragma once
// A file that makes a program a member of the cluster without the cluster key: what `--cert FILE` reads, what
// `sluice cert issue` writes, and what a node keeps of its own certificate in its data directory.
//
// One PEM file (RFC 7468) of mode 0600: the certificate, its private key, the certificates of the authorities (the current
// one first), and for the role `node` the gossip secrets, each in a block of its own. Which block means what follows from
// the order of the certificates alone: the first is the owner's.
// Threading: values; reading and writing wait for the disk.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/certificate.h"
#include "cluster/certificate_authority.h"
#include "cluster/cluster_key.h"
#include "cluster/private_file.h"
#include "net/credentials.h"

namespace sluice::cluster {

inline constexpr std::string_view kPemGossipSecret = "SLUICE GOSSIP SECRET";
inline constexpr std::size_t kCredentialFileMax = std::size_t{64} << 10;

/// Everything that a program needs to take part. Its parts belong together: `parse_credentials` and `issue_credentials` see
/// to it.
struct ClusterCredentials {
  net::Credentials tls;
  std::vector<GossipSecret> gossip_secrets;  // the current one first; of the role `node`, and of no other
  CertificateFields fields;                  // what the certificate says
};

/// Whether the dates hold is for the caller to see: `fields` has them.
/// Errors: a sentence; a block is damaged, missing or one too many, the private key is another's, none of the authorities
/// has signed.
std::expected<ClusterCredentials, std::string> parse_credentials(std::string_view text);
SecretText format_credentials(const ClusterCredentials& credentials);

/// Errors: missing, exposed, malformed, system.
std::expected<ClusterCredentials, FileError> read_credential_file(const std::string& path);
/// Overwrites nothing. Errors: exists, system.
std::expected<void, FileError> create_credential_file(const std::string& path, const ClusterCredentials& credentials);
/// Takes the place of an older one. Errors: system.
std::expected<void, FileError> write_credential_file(const std::string& path, const ClusterCredentials& credentials);

/// That its time is over, and what to do: a sentence for whoever gave the file. Empty: it is not over.
std::string expiry_problem(const std::string& path, const CertificateFields& fields, WallTime now);

/// A new certificate and all that goes with it. Errors: what is wrong with the request.
std::expected<ClusterCredentials, std::string> issue_credentials(const ClusterKeys& keys,
                                                                 const CertificateRequest& request);

struct CachedCredentials {
  ClusterCredentials credentials;
  bool issued = false;  // the cache had none that would do
  /// Why they could not be written, or empty. A node goes on with them: a full disk must not end its membership.
  std::string cache_problem;
};

/// The credentials that `path` keeps, if they are those of `request` (role, name, node), of the same authorities and gossip
/// secrets, and have more than half of their life before them; otherwise new ones, which are kept there.
/// Errors: what is wrong with the request.
std::expected<CachedCredentials, std::string> own_credentials(const std::string& path, const ClusterKeys& keys,
                                                              const CertificateRequest& request);

}  // namespace sluice::cluster
