// Any bytes as a chunk of revocations: an error, or entries that are encoded as they came, and of which a list takes none
// that the authority has not signed.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "cluster/revocation_list.h"
#include "require.h"

namespace {

using namespace sluice::cluster;
using sluice::fuzz::require;

// The corpus holds a chunk that this authority has signed.
const CertificateAuthority& authority() {
  static const CertificateAuthority made = CertificateAuthority::from(ClusterKeys(ClusterKey(
      ClusterKey::Bytes(SecretText(std::string_view("the secret of the fuzzed cluster")).bytes().first<32>()))));
  return made;
}

void check(const std::vector<Revocation>& revocations) {
  RevocationList list(authority().trusted());
  constexpr WallTime kNow{std::chrono::seconds(1'800'000'000)};
  for (const Revocation& revocation : revocations) {
    if (list.add(revocation, kNow) != RevocationAdded::added) continue;
    require(authority().sign_revocation(revocation.serial, revocation.not_after) == revocation,
            "somebody has signed it");
    require(list.contains(revocation.serial), "what was added is there");
  }
  list.on_time(WallTime::max());
  require(list.size() == 0 && list.digest() == 0, "everything expires");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view chunk(reinterpret_cast<const char*>(data), size);
  const auto revocations = decode_revocations(chunk);
  if (!revocations) {
    require(!revocations.error().empty(), "an error says what is wrong");
    return 0;
  }
  const auto again = encode_revocations(*revocations, chunk.size() + kRevocationChunkMin);
  require(revocations->empty() ? again.empty() : again.size() == 1 && again.front() == chunk, "chunks round-trip");
  check(*revocations);
  return 0;
}
