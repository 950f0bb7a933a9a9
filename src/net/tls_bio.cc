#include "net/tls_bio.h"

#include <openssl/bio.h>

#include <algorithm>
#include <cstring>

#include "base/require.h"

namespace sluice::net {
namespace {

CipherBuffers& buffers_of(BIO* bio) { return *static_cast<CipherBuffers*>(BIO_get_data(bio)); }

int read(BIO* bio, char* into, std::size_t size, std::size_t* taken) {
  CipherBuffer& received = buffers_of(bio).received;
  BIO_clear_retry_flags(bio);
  if (received.empty()) {
    BIO_set_retry_read(bio);
    return 0;
  }
  *taken = std::min(size, received.bytes().size());
  std::memcpy(into, received.bytes().data(), *taken);
  received.consume(*taken);
  return 1;
}

int write(BIO* bio, const char* bytes, std::size_t size, std::size_t* taken) {
  buffers_of(bio).to_send.append(std::as_bytes(std::span(bytes, size)));
  *taken = size;
  return 1;
}

// 1 says that a flush succeeded, 0 that nothing of the kind is supported.
long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* make_method() {
  BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice cipher buffers");
  REQUIRE(method != nullptr);
  BIO_meth_set_read_ex(method, read);
  BIO_meth_set_write_ex(method, write);
  BIO_meth_set_ctrl(method, control);
  return method;
}

}  // namespace

bio_st* make_bio(CipherBuffers& buffers) {
  static const BIO_METHOD* method = make_method();  // OpenSSL wants one for the life of the process
  BIO* bio = BIO_new(method);
  REQUIRE(bio != nullptr);
  BIO_set_data(bio, &buffers);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace sluice::net
