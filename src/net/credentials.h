#pragma once
// What one program presents in a TLS handshake, and whom it believes: a certificate with its private key, and the
// certificates of the cluster's authorities (two during a rotation of the key).
// Threading: a value; TlsContext makes its own copy.
#include <string>
#include <vector>

#include "net/peer.h"

namespace sluice::net {

struct Credentials {
  std::string certificate_pem;
  std::string private_key_pem;
  std::vector<std::string> authority_pems;  // the current one first
};

}  // namespace sluice::net
