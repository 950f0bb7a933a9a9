// Any bytes as a datagram: nothing opens but what was sealed with the secret, and that only once.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cluster/datagram_seal.h"
#include "require.h"

namespace {

using sluice::NodeId;
using sluice::cluster::BootNumber;
using sluice::cluster::DatagramOpener;
using sluice::cluster::DatagramSealer;
using sluice::cluster::GossipSecret;
using sluice::cluster::OpenError;
using sluice::cluster::SecretText;
using sluice::fuzz::require;

const GossipSecret kSecret(SecretText(std::string_view("the secret of the fuzzed cluster")).bytes().first<32>());
const NodeId kSender{{1}}, kOwn{{2}};
constexpr BootNumber kBoot{std::uint64_t{7} << 24};

// The corpus holds the first datagram of this sender. A fuzzer can't make another that opens.
void check(std::string_view datagram, std::string_view plain) {
  DatagramSealer sealer(kSecret, kSender, kBoot);
  require(sealer.seal(plain) == datagram, "only what the sender sealed opens");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view datagram(reinterpret_cast<const char*>(data), size);
  DatagramOpener opener({kSecret}, kOwn);
  const auto opened = opener.open(datagram);
  if (opened) check(datagram, opened->plain);
  require(opener.senders() == (opened ? 1 : 0), "a stranger leaves no trace");
  const auto again = opener.open(datagram);
  require(!again, "nothing opens twice");
  require(!opened || again.error() == OpenError::replayed, "a replay is called one");
  return 0;
}
