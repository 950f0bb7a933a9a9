#include "net/ssl_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>

#include "base/require.h"
#include "net/certificate.h"
#include "net/tls.h"
#ifdef __aarch64__
#include <sys/auxv.h>
#endif

namespace sluice::net {
namespace {

constexpr long kCertificatesMax = 16 << 10;  // bytes of what a peer presents; ours is one certificate of 0.5 KiB

// Without the processor's help AES gives a tenth of its bytes a second, ChaCha20 loses nothing.
constexpr const char* kSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kSuitesInSoftware = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";

bool has_aes_hardware() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  return (::getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return false;
#endif
}

template <auto function>
struct Free {
  void operator()(auto* object) const { function(object); }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;

std::unexpected<NetError> wrong_key(std::string message) {
  return std::unexpected(NetError{NetErrorKind::wrong_key, std::move(message)});
}

// OpenSSL would ask the terminal for the passphrase of an encrypted key.
int no_passphrase(char*, int, int, void*) { return -1; }

std::expected<Key, NetError> parse_key(const std::string& pem) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (!key) return wrong_key("the private key is no unencrypted key in PEM");
  return key;
}

std::expected<void, NetError> use_credentials(SSL_CTX* ssl, const Credentials& credentials) {
  auto certificate = parse_certificate(credentials.certificate_pem, "our certificate");
  if (!certificate) return std::unexpected(certificate.error());
  auto key = parse_key(credentials.private_key_pem);
  if (!key) return std::unexpected(key.error());
  auto time = check_time(certificate->get(), "our certificate");
  if (!time) return std::unexpected(time.error().error);
  bool together = SSL_CTX_use_certificate(ssl, certificate->get()) == 1 &&
                  SSL_CTX_use_PrivateKey(ssl, key->get()) == 1 && SSL_CTX_check_private_key(ssl) == 1;
  ERR_clear_error();
  if (!together) return wrong_key("our certificate and our private key do not belong together");
  return {};
}

// RFC 8446 section 4.2.11: what resumes a session skips the certificates, and with them the check of revocation.
void forbid_resumption(SSL_CTX* ssl) {
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ssl, 0);
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
}

// A list of names behind their lengths (RFC 7301 section 3.1).
bool offers(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    std::size_t size = static_cast<unsigned char>(list.front());
    if (list.substr(1, size) == name) return true;
    list.remove_prefix(std::min(list.size(), size + 1));
  }
  return false;
}

// What a server answers to the protocols that a client offers.
int select_protocol(SSL* ssl, const unsigned char** selected, unsigned char* selected_size, const unsigned char* list,
                    unsigned int size, void*) {
  std::string_view offered(reinterpret_cast<const char*>(list), size);
  for (std::string_view name : {kAlpnSluice, kAlpnHttp}) {
    if (!offers(offered, name)) continue;
    *selected = reinterpret_cast<const unsigned char*>(name.data());
    *selected_size = static_cast<unsigned char>(name.size());
    if (name == kAlpnSluice) SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

void SslContextDeleter::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }

std::expected<SslContext, NetError> make_ssl_context(const Credentials& credentials) {
  // A host's openssl.cnf must not change what we speak; and of a program that ends, threads may still speak.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, nullptr);
  SslContext ssl(SSL_CTX_new(TLS_method()));
  REQUIRE(ssl != nullptr);
  REQUIRE(SSL_CTX_set_min_proto_version(ssl.get(), TLS1_3_VERSION) == 1);
  REQUIRE(SSL_CTX_set_ciphersuites(ssl.get(), has_aes_hardware() ? kSuites : kSuitesInSoftware) == 1);
  REQUIRE(SSL_CTX_set1_groups_list(ssl.get(), "X25519:P-256") == 1);
  SSL_CTX_set_options(ssl.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(ssl.get(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_max_cert_list(ssl.get(), kCertificatesMax);
  forbid_resumption(ssl.get());
  SSL_CTX_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_alpn_select_cb(ssl.get(), select_protocol, nullptr);
  auto used = use_credentials(ssl.get(), credentials);
  if (!used) return std::unexpected(used.error());
  return ssl;
}

}  // namespace sluice::net
