#pragma once
// No page in a browser can drive a node: which names a request may call this node by, and which pages may have sent it.
//
// `Host` is what the user's program looked up: a foreign name that resolves to us is the attack of DNS rebinding. `Origin`
// and `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/) are what a browser says of the page that sends; a page of
// another site is refused whatever it asks for, and so is one of another port of this host.
// Threading: pure functions.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/http_message.h"

namespace sluice::api {

struct AllowedHosts {
  std::vector<std::string> names;  // names and addresses (of IPv6 without brackets), in small letters
  std::uint16_t port = 0;          // where this node listens
};

struct Site {
  const AllowedHosts& hosts;
  bool encrypted = false;
  bool is_unix_socket = false;  // there is no port then
};

/// Nothing: the request may go on. Otherwise 421 for its Host, 403 for the page that sent it.
std::optional<HttpRefusal> check_site(const RequestHead& head, const Site& site);

}  // namespace sluice::api
