#include "node/part_surroundings.h"

#include "sluice/v1/host.pb.h"

namespace sluice::node {

net::Awaitable<std::expected<LaidFolder, std::string>> PartSurroundings::lay_files(v1::Prepare) {
  co_return std::unexpected("nothing is shipped to a client");
}

}  // namespace sluice::node
