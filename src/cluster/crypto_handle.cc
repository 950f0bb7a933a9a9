#include "cluster/crypto_handle.h"

#include <openssl/err.h>

namespace sluice::cluster {

CryptoErrorScope::CryptoErrorScope() { ERR_set_mark(); }
CryptoErrorScope::~CryptoErrorScope() { ERR_pop_to_mark(); }

}  // namespace sluice::cluster
