#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/spelling.h"
#include "cli/node_session.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "cli/whereabouts.h"
#include "cluster/credential_file.h"
#include "node/identity.h"
#include "node/node_trust.h"
#include "sluice/v1/trust.pb.h"

namespace sluice::cli {
namespace {

std::expected<cluster::ClusterKeys, Failure> read_keys(const std::string& wanted, const Settings& settings) {
  std::string path = find_key(wanted, settings);
  if (path.empty())
    return std::unexpected(Failure{kRefusedAccess,
                                   "issuing a certificate takes the cluster key: name it with --key, or make "
                                   "one with `sluice init`"});
  auto keys = cluster::read_key_file(path);
  if (!keys) return std::unexpected(Failure{kRefusedAccess, keys.error().message});
  return std::move(*keys);
}

std::expected<net::Role, std::string> read_role(const std::string& name) {
  if (auto role = net::role_from(name)) return *role;
  std::vector<std::string> names;
  for (net::Role role : net::all_roles()) names.emplace_back(net::role_name(role));
  if (name.empty()) return std::unexpected(fmt::format("--role is missing; one of: {}", fmt::join(names, " ")));
  return std::unexpected(
      fmt::format("there is no role '{}'{}; one of: {}", name, did_you_mean(name, names), fmt::join(names, " ")));
}

std::string utc(std::time_t unix_seconds) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(unix_seconds)); }

int issue(const Arguments& arguments) {
  std::string role_name, name, lifetime, key, output;
  Settings settings;
  OptionReader reader(
      {.verb = "cert issue",
       .description = "Issue a certificate with a role, for somebody who shall not have the cluster key.",
       .usage = "--role ROLE --out FILE [--name NAME] [--for DURATION]",
       .examples = "  sluice cert issue --role run --name alice --for 30d --out alice.pem\n"
                   "  sluice cert issue --role node --name pi4 --out pi4.pem\n"});
  reader.value("--role", role_name, "ROLE", "read submit invoke run worker agent operate gateway node admin");
  reader.value("--name", name, "NAME", "whose it is, for people; of a node its name (the role)");
  reader.value("--for", lifetime, "DURATION", "how long it is valid (24h; a year at most)");
  reader.value("-o,--out", output, "FILE", "where to write it, with its private key; a new file");
  reader.value("--key", key, "FILE", "the cluster key");
  reader.settings(settings);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  auto role = read_role(role_name);
  if (!role) return refuse(kUsage, "cert issue: " + role.error());
  if (output.empty()) return refuse(kUsage, "cert issue: --out is missing: where is the certificate to be written?");
  cluster::CertificateRequest request{
      .role = *role, .name = name.empty() ? role_name : name, .now = node::wall_time_now()};
  if (*role == net::Role::node) {
    if (auto good = node::check_node_name(request.name); !good) return refuse(kUsage, "cert issue: " + good.error());
    request.node = NodeId::random();
  }
  if (!lifetime.empty()) {
    auto duration = parse_duration(lifetime);
    if (!duration) return refuse(kUsage, "cert issue: --for: " + duration.error());
    request.lifetime = std::chrono::duration_cast<std::chrono::seconds>(*duration);
  }
  auto keys = read_keys(key, settings);
  if (!keys) return refuse(keys.error().status, keys.error().message);
  auto credentials = cluster::issue_credentials(*keys, request);
  if (!credentials) return refuse(kUsage, "cert issue: " + credentials.error());
  if (auto written = cluster::create_credential_file(output, *credentials); !written)
    return refuse(written.error().kind == cluster::FileErrorKind::exists ? kConflict : kFailed,
                  "cert issue: " + written.error().message);
  std::time_t not_after = std::chrono::system_clock::to_time_t(credentials->fields.not_after);
  return print(fmt::format("{}  role {}  name {}  serial {}  valid until {}\n", output, role_name,
                           credentials->fields.name, credentials->fields.serial.text(), utc(not_after)));
}

net::Awaitable<int> revoke_serial(NodeSession& session, std::string serial) {
  v1::RevokeRequest request;
  request.set_serial(serial);
  auto revoked = co_await rpc::call<v1::RevokeResponse>(session.channel(), "sluice.v1.Trust/Revoke", request);
  if (revoked) co_return print(fmt::format("serial {}  revoked\n", serial));
  Failure failure = failure_of(revoked.error());
  co_return refuse(failure.status, failure.message);
}

int revoke(const Arguments& arguments) {
  NodeOptions node;
  std::vector<std::string> operands;
  OptionReader reader(
      {.verb = "cert revoke",
       .description = "Make every node refuse a certificate from now on, and close its connections.",
       .usage = "SERIAL | FILE",
       .examples = "  sluice cert revoke alice.pem\n  sluice cert revoke 4f6e0c1d2b3a49586776859403122130\n"});
  reader.operands(operands, 1, 1, "a serial number, or the certificate's file", OperandKind::file);
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  std::string serial = operands[0];
  if (!net::CertificateSerial::parse(serial)) {
    auto credentials = cluster::read_credential_file(serial);
    if (!credentials)
      return refuse(kUsage,
                    fmt::format("cert revoke: '{}' is no serial number (32 hexadecimal digits), nor a certificate: {}",
                                serial, credentials.error().message));
    serial = credentials->fields.serial.text();
  }
  return with_node(node, [serial](NodeSession& session) { return revoke_serial(session, serial); });
}

net::Awaitable<int> list_revocations(NodeSession& session, bool json) {
  auto list = co_await rpc::call<v1::ListRevocationsResponse>(session.channel(), "sluice.v1.Trust/ListRevocations",
                                                              v1::ListRevocationsRequest());
  if (!list) {
    Failure failure = failure_of(list.error());
    co_return refuse(failure.status, failure.message);
  }
  std::string text = json ? "" : fmt::format("{:32}  REFUSED UNTIL\n", "SERIAL");
  for (const v1::Revocation& revocation : list->revocations()) {
    std::string until = utc(static_cast<std::time_t>(revocation.not_after_unix()));
    text += json ? nlohmann::ordered_json{{"serial", revocation.serial()}, {"refused_until", until}}.dump() + "\n"
                 : fmt::format("{:32}  {}\n", revocation.serial(), until);
  }
  co_return print(text);
}

int revoked(const Arguments& arguments) {
  NodeOptions node;
  bool json = false;
  OptionReader reader({.verb = "cert revoked",
                       .description = "List the serial numbers that the nodes refuse.",
                       .usage = "[--json]",
                       .examples = "  sluice cert revoked\n"});
  reader.flag("--json", json, "one object a line");
  add_node_options(reader, node);
  if (auto read = reader.read(arguments); !read) return read.error().status;
  return with_node(node, [json](NodeSession& session) { return list_revocations(session, json); });
}

constexpr SubVerb kSubVerbs[] = {
    {"issue", "issue a certificate with a role", issue},
    {"revoke", "make every node refuse one", revoke},
    {"revoked", "list those that are refused", revoked},
};

}  // namespace

int cert_verb(const Arguments& arguments) {
  return run_sub_verb("cert", "Certificates of the cluster.", kSubVerbs, arguments);
}

}  // namespace sluice::cli
