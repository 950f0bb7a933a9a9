#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/spelling.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "exec/entry_state.h"
#include "exec/zygote_client.h"
#include "flow/stage_words.h"
#include "node/daemon.h"

namespace sluice::cli {
namespace {

constexpr const char* kExamples =
    "  sluice start                                       # a node for this machine only\n"
    "  sluice start --listen 10.0.0.5:7117                # the first node of a cluster\n"
    "  sluice start --listen 10.0.0.6:7117 --join sluice://10.0.0.5:7117\n"
    "  sluice start --interface eth0 --discover 239.17.17.17:7118   # the same line on every host\n";

struct Raw {
  std::vector<std::string> labels;
  std::string log_format, log_level;
};

void declare(OptionReader& reader, node::StartOptions& options, Raw& raw) {
  reader.value("--listen", options.listen, "ADDR:PORT", "where to listen (127.0.0.1:7117); port 0 takes a free one");
  reader.value("--data", options.data, "DIR", "where the node keeps its state");
  reader.value("--key", options.key, "FILE", "the cluster key");
  reader.value("--cert", options.cert, "FILE", "a certificate of role node, in place of the key");
  reader.values("--join", options.joins, "URL", "a node of the cluster to join; may be given several times");
  reader.value("--discover", options.discover, "GROUP:PORT", "find the nodes of the cluster by multicast");
  reader.value("--interface", options.interface, "IF", "the network interface to listen on, and to find nodes on");
  reader.value("--name", options.name, "NAME", "the node's name (the host's)");
  reader.values("--label", raw.labels, "KEY=VALUE", "what @KEY=VALUE finds it by; may be given several times");
  reader.value("--advertise", options.advertise, "ADDR[:PORT]", "where others reach it, if not where it listens");
  reader.value("--http", options.http, "ADDR:PORT", "plain HTTP as well, on loopback and with a token");
  reader.value("--http-tokens", options.http_tokens, "FILE", "ROLE TOKEN lines (http.tokens in the data directory)");
  reader.value("--run-as", options.run_as, "USER", "the user that programs run as; needs root");
  reader.flag("--insecure-loopback", options.insecure_loopback,
              "no encryption and no proof, on loopback: for benchmarks");
  reader.value("--log-format", raw.log_format, "text|json", "of the log on stderr (text)");
  reader.value("--log-level", raw.log_level, "LEVEL", "trace, debug, info, warn or error (info)");
}

std::string judge(const Raw& raw, node::StartOptions& options) {
  for (const std::string& label : raw.labels) {
    std::size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == label.size())
      return fmt::format("--label '{}': a label has a name and a value: KEY=VALUE", label);
    if (flow::is_reserved_word(label.substr(0, equals)))
      return fmt::format("--label '{}': @{} means something else in a pipeline; choose another name", label,
                         label.substr(0, equals));
    options.labels.emplace_back(label.substr(0, equals), label.substr(equals + 1));
  }
  if (!raw.log_format.empty()) {
    auto format = log_format_from(raw.log_format);
    if (!format) return fmt::format("--log-format={} is unknown; one of: text json", raw.log_format);
    options.log_format = *format;
  }
  if (!raw.log_level.empty()) {
    auto level = log_level_from(raw.log_level);
    if (!level) return fmt::format("--log-level={} is unknown; one of: trace debug info warn error", raw.log_level);
    options.log_level = *level;
  }
  if (!options.key.empty() && !options.cert.empty()) return "--key and --cert exclude each other";
  return {};
}

}  // namespace

int start_verb(const Arguments& arguments) {
  exec::EntryState::capture();
  // Forked before anything is loaded, and before there is a thread or a secret.
  auto zygote = exec::ZygoteClient::fork_zygote();
  if (!zygote) return refuse(kFailed, fmt::format("start: cannot fork: {}", std::strerror(zygote.error())));
  node::StartOptions options;
  Raw raw;
  OptionReader reader({.verb = "start",
                       .description = "Run a node in the foreground. Its URL is the first line on stdout once it is "
                                      "ready; the log goes to stderr.",
                       .usage = "[OPTIONS]",
                       .examples = kExamples});
  declare(reader, options, raw);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  if (std::string problem = judge(raw, options); !problem.empty()) return refuse(kUsage, "start: " + problem);
  node::NodeEnd end = node::run_node(std::move(options), std::move(*zygote));
  if (!end.message.empty()) return refuse(end.status, "start: " + end.message);
  return end.status;
}

}  // namespace sluice::cli
