// Any bytes as a credential file: an error, or credentials whose parts belong together.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cluster/credential_file.h"
#include "require.h"

namespace {

using sluice::cluster::ClusterCredentials;
using sluice::fuzz::require;
using sluice::net::Role;

void check(const ClusterCredentials& credentials) {
  const bool node = credentials.fields.role == Role::node;
  require(node == credentials.fields.node.has_value(), "a node has an id, and nobody else");
  require(node != credentials.gossip_secrets.empty(), "a node has a gossip secret, and nobody else");
  require(sluice::cluster::check_name(credentials.fields.role, credentials.fields.name).has_value(),
          "the name can be printed");
  const auto again = sluice::cluster::parse_credentials(format_credentials(credentials).view());
  require(again.has_value(), "what is written can be read");
  require(again->fields == credentials.fields, "and says the same");
  require(again->gossip_secrets == credentials.gossip_secrets, "with the same secrets");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto credentials = sluice::cluster::parse_credentials({reinterpret_cast<const char*>(data), size});
  if (credentials)
    check(*credentials);
  else
    require(!credentials.error().empty(), "an error says what is wrong");
  return 0;
}
