#include "cluster/certificate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/require.h"

namespace sluice::cluster {
namespace {

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_of_node_name(char c) { return is_lower_or_digit(c) || c == '-'; }

bool is_of_name(char c) {
  return is_of_node_name(c) || (c >= 'A' && c <= 'Z') || std::string_view("._@+").find(c) != std::string_view::npos;
}

}  // namespace

std::expected<void, std::string> check_name(net::Role role, std::string_view name) {
  const bool node = role == net::Role::node;
  const bool fits = !name.empty() && name.size() <= kCertificateNameMax;
  if (fits && std::all_of(name.begin(), name.end(), node ? is_of_node_name : is_of_name)) return {};
  return std::unexpected(fmt::format("the name of a {} is 1 to {} characters of {}", node ? "node" : "certificate",
                                     kCertificateNameMax, node ? "a-z, 0-9 and -" : "A-Z, a-z, 0-9 and . _ @ + -"));
}

WallTime renewal_time(const CertificateFields& fields) {
  const WallTime issued = fields.not_before + kBackdating;
  return issued + (fields.not_after - issued) / 2;
}

}  // namespace sluice::cluster
