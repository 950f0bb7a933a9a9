#include "api/token_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/spelling.h"
#include "cluster/private_file.h"

namespace sluice::api {
namespace {

constexpr net::Role kRoles[] = {net::Role::read, net::Role::submit,  net::Role::invoke,
                                net::Role::run,  net::Role::operate, net::Role::admin};

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// What may stand behind `Bearer` (RFC 6750 section 2.1).
bool is_token_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-._~+/=").find(c) != std::string_view::npos;
}

std::string_view take_word(std::string_view& line) {
  constexpr std::string_view kBlanks = " \t\r";
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

std::expected<net::Role, std::string> parse_role(std::string_view name) {
  auto role = net::role_from(name);
  if (role && std::ranges::count(kRoles, *role)) return *role;
  std::vector<std::string> names;
  for (net::Role known : kRoles) names.emplace_back(net::role_name(known));
  return std::unexpected(fmt::format("a token can't have the role '{}', but one of {}{}", name, fmt::join(names, ", "),
                                     did_you_mean(name, names)));
}

std::expected<void, std::string> check_token(std::string_view token) {
  if (token.size() < kTokenMin || token.size() > kTokenMax)
    return std::unexpected(
        fmt::format("a token has {} to {} letters; 'openssl rand -hex 32' makes one", kTokenMin, kTokenMax));
  if (!std::ranges::all_of(token, is_token_letter))
    return std::unexpected("a token consists of letters, digits and -._~+/=");
  return {};
}

}  // namespace

std::expected<TokenFile, std::string> TokenFile::read(const std::string& path) {
  auto content = cluster::read_private_file(path, {.size_max = kTokenFileMax, .content = cluster::FileContent::secret});
  if (!content) return std::unexpected(content.error().message);
  return parse(content->view(), path);
}

std::expected<TokenFile, std::string> TokenFile::parse(std::string_view text, const std::string& name) {
  TokenFile file;
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    auto fail = [&](std::string_view what) {
      return std::unexpected(fmt::format("{} line {}: {}", name, number, what));
    };
    std::string_view role_word = take_word(line);
    if (role_word.empty() || role_word.starts_with('#')) continue;
    std::string_view token = take_word(line);
    if (token.empty() || !take_word(line).empty()) return fail("expected a role and a token");
    auto role = parse_role(role_word);
    if (!role) return fail(role.error());
    if (auto good = check_token(token); !good) return fail(good.error());
    if (file.role_of(token)) return fail("the token stands in the file already");
    file.tokens_.push_back({cluster::SecretText(token), *role});
  }
  return file;
}

std::optional<net::Role> TokenFile::role_of(std::string_view token) const {
  std::optional<net::Role> role;
  for (const Token& known : tokens_)
    if (cluster::equal_in_constant_time(known.text.bytes(), bytes_of(token))) role = known.role;
  return role;
}

}  // namespace sluice::api
