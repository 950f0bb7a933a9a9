#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "cli/option_reader.h"
#include "cli/setting_keys.h"
#include "cli/verbs.h"
#include "cli/whereabouts.h"
#include "exec/entry_state.h"
#include "exec/zygote_client.h"
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
  bool no_config = false;
  Settings settings;
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
  reader.flag("--no-config", raw.no_config, "take options only: no SLUICE_ variable, no configuration file");
  reader.settings(raw.settings, {"data", "listen", "advertise", "join", "discover", "interface", "name", "label",
                                 "http", "http-tokens", "run-as", "log-format", "log-level"});
}

/// What is wrong with the values of the options that are settings too; empty if nothing is.
std::string first_problem(const node::StartOptions& options, const Raw& raw) {
  const std::pair<const char*, std::vector<std::string>> given[] = {
      {"listen", {options.listen}},     {"advertise", {options.advertise}}, {"join", options.joins},
      {"discover", {options.discover}}, {"name", {options.name}},           {"label", raw.labels},
      {"http", {options.http}},         {"log-format", {raw.log_format}},   {"log-level", {raw.log_level}}};
  for (const auto& [key, values] : given)
    for (const std::string& value : values)
      if (std::string problem = value.empty() ? "" : find_setting_key(key)->problem(value); !problem.empty())
        return fmt::format("--{} {}", key, problem);
  return {};
}

std::string judge(const Raw& raw, node::StartOptions& options) {
  if (std::string problem = first_problem(options, raw); !problem.empty()) return problem;
  for (const std::string& label : raw.labels) {
    std::size_t equals = label.find('=');
    std::string name = label.substr(0, equals);
    bool again = std::ranges::any_of(options.labels, [&](const auto& known) { return known.first == name; });
    if (again) return fmt::format("--label {} is given twice; a label has one value", name);
    options.labels.emplace_back(std::move(name), label.substr(equals + 1));
  }
  if (!raw.log_format.empty()) options.log_format = log_format_from(raw.log_format).value();
  if (!raw.log_level.empty()) options.log_level = log_level_from(raw.log_level).value();
  if (!options.key.empty() && !options.cert.empty()) return "--key and --cert exclude each other";
  if (raw.no_config) return {};
  Proof proof = find_proof({.key = options.key, .cert = options.cert}, raw.settings);
  options.key = std::move(proof.key);
  options.cert = std::move(proof.cert);
  return {};
}

std::expected<node::StartOptions, OptionReader::Stop> read_options(const Arguments& arguments) {
  node::StartOptions options;
  Raw raw;
  OptionReader reader({.verb = "start",
                       .description = "Run a node in the foreground. Its URL is the first line on stdout once it is "
                                      "ready; the log goes to stderr.",
                       .usage = "[OPTIONS]",
                       .examples = kExamples});
  declare(reader, options, raw);
  if (auto read = reader.read(arguments); !read) return std::unexpected(read.error());
  if (std::string problem = judge(raw, options); !problem.empty())
    return std::unexpected(OptionReader::Stop{refuse(kUsage, "start: " + problem)});
  return options;
}

}  // namespace

int start_verb(const Arguments& arguments) {
  if (asks_for_completion(arguments)) return read_options(arguments).error().status;
  exec::EntryState::capture();
  // Forked before anything is loaded, and before there is a thread or a secret.
  auto zygote = exec::ZygoteClient::fork_zygote();
  if (!zygote) return refuse(kFailed, fmt::format("start: cannot fork: {}", std::strerror(zygote.error())));
  auto options = read_options(arguments);
  if (!options) return options.error().status;
  node::NodeEnd end = node::run_node(*std::move(options), std::move(*zygote));
  if (!end.message.empty()) return refuse(end.status, "start: " + end.message);
  return end.status;
}

}  // namespace sluice::cli
