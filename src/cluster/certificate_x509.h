#pragma once
// What the two files that write and read certificates share.
#include <string_view>

#include "net/certificate.h"

namespace sluice::cluster {

/// Null if `pem` is not exactly one certificate.
net::Certificate x509_from_pem(std::string_view pem);

}  // namespace sluice::cluster
