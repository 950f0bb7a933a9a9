#pragma once
// An object of the cryptographic library with one owner: `CryptoHandle<X509, X509_free>`. It names no type of that library,
// so that its headers stay out of ours.
#include <memory>

#include "base/require.h"

namespace sluice::cluster {

template <auto kFree>
struct CryptoFree {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};

template <class T, auto kFree>
using CryptoHandle = std::unique_ptr<T, CryptoFree<kFree>>;

/// For what fails only when memory has run out, or a name of an algorithm is wrong: neither is a matter of the input.
template <class T>
T* must(T* made) {
  REQUIRE(made != nullptr);
  return made;
}
inline void must_succeed(int result) { REQUIRE(result == 1); }

/// The library queues its errors by thread, and TLS on the same thread takes a leftover for its own. What is queued in
/// this scope is dropped at its end.
class CryptoErrorScope final {
 public:
  CryptoErrorScope();
  ~CryptoErrorScope();
  CryptoErrorScope(const CryptoErrorScope&) = delete;
  CryptoErrorScope& operator=(const CryptoErrorScope&) = delete;
};

}  // namespace sluice::cluster
