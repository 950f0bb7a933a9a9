// `sluice keygen` and `sluice init`: the cluster key.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <unistd.h>

#include <expected>
#include <filesystem>
#include <optional>

#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "cluster/cluster_key.h"
#include "net/address.h"
#include "flow/quoting.h"
#include "node/host_name.h"
#include "node/locations.h"

namespace sluice::cli {
namespace {

int status_of(const cluster::FileError& error) {
  return error.kind == cluster::FileErrorKind::exists ? kConflict : kFailed;
}

bool is_ip_address(const std::string& text) {
  in6_addr any;  // large enough for either
  return ::inet_pton(AF_INET, text.c_str(), &any) == 1 || ::inet_pton(AF_INET6, text.c_str(), &any) == 1;
}

// What `start` would refuse is refused before the key is written.
std::expected<net::HostPort, std::string> read_listen(const std::string& listen) {
  auto at = net::parse_host_port(listen.empty() ? "0.0.0.0" : listen);
  if (!at) return at;
  if (at->host.empty()) at->host = "0.0.0.0";
  if (is_ip_address(at->host)) return at;
  return std::unexpected(fmt::format(
      "'{}' is no IP address; `start` listens on one of this host, or on 0.0.0.0 for all of them", at->host));
}

struct InitializedKey {
  std::string path;
  std::string fingerprint;
  bool existed = false;
};

// A key that is there already stays: the lines for it are what is wanted.
std::expected<InitializedKey, cluster::FileError> make_key() {
  InitializedKey key{.path = node::own_key_path(), .fingerprint = {}};
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(key.path).parent_path(), ignored);
  auto written = cluster::write_key_file(key.path, cluster::ClusterKey::generate());
  if (!written && written.error().kind != cluster::FileErrorKind::exists) return std::unexpected(written.error());
  auto keys = cluster::read_key_file(key.path);
  if (!keys) return std::unexpected(keys.error());
  key.fingerprint = keys->current().fingerprint();
  key.existed = !written;
  return key;
}

// Where other hosts find the node that listens there. Nothing: they can't.
std::optional<net::HostPort> address_for_others(const net::HostPort& listen) {
  if (net::is_loopback(listen.host)) return std::nullopt;
  bool everywhere = listen.host == "0.0.0.0" || listen.host == "::";
  return net::HostPort{.host = everywhere ? node::host_name() : listen.host, .port = listen.port};
}

std::string lines_for_others(const std::string& key, const net::HostPort& node) {
  std::string folder = std::filesystem::path(key).parent_path();
  std::string url = net::to_url(node, "");
  while (url.ends_with('/')) url.pop_back();
  // The folder may hold a configuration for every user; the key is its owner's alone.
  std::string copy = fmt::format("mkdir -p {}; umask 077; cat > {}", flow::quote_word(folder), flow::quote_word(key));
  return fmt::format(
      "For every other host HOST, copy the key, then start a node there:\n"
      "  ssh HOST {} < {}\n"
      "  ssh HOST sluice start --listen 0.0.0.0:{} --join {}\n",
      flow::quote_word(copy), flow::quote_word(key), node.port, url);
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
                           "Write a cluster key where `sluice start` finds it, unless there is one, and print what "
                           "to type on this host and on the others.",
                       .usage = "[--listen ADDR:PORT]",
                       .examples = "  sluice init\n  sluice init --listen 10.0.0.5:7117\n"});
  reader.value("--listen", listen, "ADDR:PORT", "where this host's node is to listen");
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto at = read_listen(listen);
  if (!at) return refuse(kUsage, "init: --listen: " + at.error());
  auto others = address_for_others(*at);
  if (others && at->port == 0)
    return refuse(kUsage, "init: --listen: other hosts must know the port; name one, as in 0.0.0.0:7117");
  auto key = make_key();
  if (!key) return refuse(status_of(key.error()), "init: " + key.error().message);
  std::string for_others =
      others ? lines_for_others(key->path, *others)
             : fmt::format(
                   "{} is an address of this host alone: no node of another host can join that one. For others, "
                   "choose an address\nthat they reach: `sluice init --listen ADDR:PORT` prints the lines again, "
                   "with --join, for the same key.\n",
                   at->host);
  return print(
      fmt::format("The cluster key is in {}{} (fingerprint {}).\n\n"
                  "On this host:\n"
                  "  sluice start --listen {}\n\n"
                  "{}\n"
                  "Whoever can read the key is admin of the cluster.\n",
                  key->path, key->existed ? " since before, and was left as it is" : "", key->fingerprint,
                  net::to_text(*at), for_others));
}

}  // namespace sluice::cli
