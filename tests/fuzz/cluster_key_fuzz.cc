// Any bytes as a key file: an error that shows nothing of it, or keys that are read again as they are written.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/cluster_key.h"
#include "require.h"

namespace {

using sluice::cluster::ClusterKey;
using sluice::cluster::ClusterKeys;
using sluice::fuzz::require;

void check(const ClusterKeys& keys) {
  require(!keys.all().empty() && keys.all().size() <= sluice::cluster::kClusterKeysMax,
          "the count of keys has a limit");
  std::string text;
  for (const ClusterKey& key : keys.all()) text += format_key_file(key).view();
  const auto again = ClusterKeys::parse(text);
  require(again.has_value(), "what is written can be read");
  require(again->all() == keys.all(), "and is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto keys = ClusterKeys::parse({reinterpret_cast<const char*>(data), size});
  if (keys)
    check(*keys);
  else
    require(!keys.error().empty(), "an error says what is wrong");
  return 0;
}
