#pragma once
// OpenSSL's view of two cipher buffers: it reads what was received and appends what is to be sent. Neither ever blocks;
// an empty buffer is "try again later", never an end.
// Threading: belongs to its session.
#include "net/cipher_buffer.h"

struct bio_st;  // OpenSSL's BIO

namespace sluice::net {

struct CipherBuffers {
  CipherBuffer received;
  CipherBuffer to_send;
};

/// `buffers` must outlive it. Whoever gets it frees it (an SSL does).
bio_st* make_bio(CipherBuffers& buffers);

}  // namespace sluice::net
