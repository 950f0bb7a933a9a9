// `sluice keygen` and `sluice init`: the cluster key.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "cluster/cluster_key.h"
#include "net/address.h"
#include "node/host_name.h"
#include "node/locations.h"

namespace sluice::cli {
namespace {

int status_of(const cluster::FileError& error) {
  return error.kind == cluster::FileErrorKind::exists ? kConflict : kFailed;
}

}  // namespace

int keygen_verb(const Arguments& arguments) {
  std::vector<std::string> operands;
  OptionReader reader({.verb = "keygen",
                       .description = "Write a new cluster key to a file of mode 0600. Whoever can read it is admin.",
                       .usage = "FILE",
                       .examples = "  sluice keygen cluster.key\n"});
  reader.operands(operands, 1, 1, "a file", OperandKind::file);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto key = cluster::ClusterKey::generate();
  if (auto written = cluster::write_key_file(operands[0], key); !written)
    return refuse(status_of(written.error()), "keygen: " + written.error().message);
  return print(fmt::format("{}  fingerprint {}\n", operands[0], key.fingerprint()));
}

int init_verb(const Arguments& arguments) {
  std::string listen;
  OptionReader reader({.verb = "init",
                       .description =
                           "Write a cluster key where `sluice start` finds it, and print what to type on this "
                           "host and on the others.",
                       .usage = "[--listen ADDR:PORT]",
                       .examples = "  sluice init\n  sluice init --listen 10.0.0.5:7117\n"});
  reader.value("--listen", listen, "ADDR:PORT", "where this host's node is to listen");
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto at = net::parse_host_port(listen.empty() ? node::host_name() : listen);
  if (!at) return refuse(kUsage, "init: --listen: " + at.error());
  std::string path = node::own_key_path();
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  auto key = cluster::ClusterKey::generate();
  if (auto written = cluster::write_key_file(path, key); !written)
    return refuse(status_of(written.error()), "init: " + written.error().message);
  std::string here = listen.empty() ? fmt::format("0.0.0.0:{}", at->port) : net::to_text(*at);
  std::string url = net::to_url(*at, "");
  while (url.ends_with('/')) url.pop_back();
  std::string folder = std::filesystem::path(path).parent_path();
  return print(
      fmt::format("The cluster key is in {} (fingerprint {}).\n\n"
                  "On this host:\n"
                  "  sluice start --listen {}\n\n"
                  "For every other host HOST, copy the key, then start a node there:\n"
                  "  ssh HOST 'umask 077; mkdir -p {}; cat > {}' < {}\n"
                  "  ssh HOST sluice start --listen 0.0.0.0:{} --join {}\n\n"
                  "Whoever can read the key is admin of the cluster.\n",
                  path, key.fingerprint(), here, folder, path, path, at->port, url));
}

}  // namespace sluice::cli
