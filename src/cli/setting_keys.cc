#include "cli/setting_keys.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/quantity.h"
#include "base/spelling.h"
#include "base/time.h"
#include "cli/run_options.h"
#include "cluster/discovery_message.h"
#include "flow/stage_words.h"
#include "net/address.h"
#include "node/identity.h"

namespace sluice::cli {
namespace {

template <typename Result>
std::string error_of(const Result& result) {
  return result ? std::string() : result.error();
}

std::string no_problem(const std::string&) { return {}; }

std::string address_problem(const std::string& value) { return error_of(net::parse_host_port(value)); }

std::string discover_problem(const std::string& value) { return error_of(cluster::parse_discovery_group(value)); }

std::string url_problem(const std::string& value) { return error_of(net::parse_node_url(value)); }

// Of a client: the path of a socket does as well.
std::string node_problem(const std::string& value) {
  bool is_path = value.find("://") == value.npos && value.find('/') != value.npos;
  return is_path ? "" : url_problem(value);
}

std::string http_problem(const std::string& value) {
  auto at = net::parse_host_port(value);
  if (!at) return at.error();
  if (at->host.empty() || at->host == "localhost" || net::is_loopback(at->host)) return {};
  return fmt::format("'{}': plain text is served on loopback only", value);
}

std::string name_problem(const std::string& value) { return error_of(node::check_node_name(value)); }

std::string duration_problem(const std::string& value) { return error_of(parse_duration(value)); }

std::string size_problem(const std::string& value) { return error_of(parse_byte_count(value)); }

std::string choice_problem(const std::string& value, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (value == name) return {};
  return fmt::format("'{}' is unknown{}; one of: {}", value, did_you_mean(value, names), fmt::join(names, " "));
}

std::string log_format_problem(const std::string& value) { return choice_problem(value, {"text", "json"}); }

std::string log_level_problem(const std::string& value) {
  return choice_problem(value, {"trace", "debug", "info", "warn", "error"});
}

std::string pipefail_problem(const std::string& value) { return choice_problem(value, kPipefailNames); }

std::string progress_problem(const std::string& value) { return choice_problem(value, kProgressNames); }

std::string flag_problem(const std::string& value) {
  bool known = value == "1" || value == "0" || value == "true" || value == "false";
  return known ? "" : fmt::format("'{}' is neither true nor false; write 1, 0, true or false", value);
}

constexpr SettingKind kText = SettingKind::text, kPath = SettingKind::path, kList = SettingKind::list,
                      kFlag = SettingKind::flag;

constexpr SettingKey kKeys[] = {
    {"node", kText, "the node that commands ask", "", node_problem},
    {"discover", kText, "a multicast group to find nodes by", "", discover_problem},
    {"key", kPath, "the cluster key", "", no_problem},
    {"cert", kPath, "a certificate, in place of the key", "", no_problem},
    {"data", kPath, "where the node keeps its state", "", no_problem},
    {"listen", kText, "start: where to listen", "127.0.0.1:7117", address_problem},
    {"advertise", kText, "start: where others reach the node", "", address_problem},
    {"join", kList, "start: a node of the cluster to join", "", url_problem},
    {"interface", kText, "start: the network interface to listen on", "", no_problem},
    {"name", kText, "start: the node's name", "", name_problem},
    {"label", kList, "start: what @KEY=VALUE finds the node by", "", label_problem},
    {"http", kText, "start: plain HTTP as well", "", http_problem},
    {"http-tokens", kPath, "start: the tokens of HTTP", "", no_problem},
    {"run-as", kText, "start: the user that programs run as", "", no_problem},
    {"log-format", kText, "start: of the log", "text", log_format_problem},
    {"log-level", kText, "start: of the log", "info", log_level_problem},
    {"grace", kText, "run, stop, leave: from SIGTERM to SIGKILL", "2s", duration_problem},
    {"shell", kText, "run: the shell for stages that need one", "", no_problem},
    {"pipefail", kText, "run: which stage's status counts", "lenient", pipefail_problem},
    {"progress", kText, "run: on stderr", "auto", progress_problem},
    {"output-max", kText, "run: of the output that is kept", "10M", size_problem},
    {"mark-stderr", kFlag, "run: mark each line of stderr with its stage", "false", flag_problem},
    {"quiet", kFlag, "run: say nothing about stages that fail", "false", flag_problem},
};

}  // namespace

std::span<const SettingKey> setting_keys() { return kKeys; }

const SettingKey* find_setting_key(std::string_view key) {
  for (const SettingKey& known : kKeys)
    if (key == known.key) return &known;
  return nullptr;
}

std::vector<std::string> setting_key_names() {
  std::vector<std::string> names;
  for (const SettingKey& known : kKeys) names.emplace_back(known.key);
  return names;
}

std::string variable_of(std::string_view key) {
  std::string name = "SLUICE_";
  for (char c : key) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

std::string label_problem(const std::string& label) {
  std::size_t equals = label.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == label.size())
    return fmt::format("'{}': a label has a name and a value: KEY=VALUE", label);
  if (flow::is_reserved_word(label.substr(0, equals)))
    return fmt::format("'{}': @{} means something else in a pipeline; choose another name", label,
                       label.substr(0, equals));
  return {};
}

}  // namespace sluice::cli
