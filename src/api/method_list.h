#pragma once
// Every method of every service of the public API, as proto/sluice/v1 declares them. A test holds the dispatch table
// against this list; the HTTP door takes the types of messages from it.
// Threading: immutable, read at first use.
#include <string>
#include <string_view>
#include <vector>

namespace sluice::api {

struct ApiMethod {
  std::string name;  // "sluice.v1.Flows/Run", as in rpc::Method
  std::string request_type;
  std::string response_type;
  bool client_streams = false;
  bool server_streams = false;
};

/// In the order of their names.
const std::vector<ApiMethod>& api_methods();
/// Null if there is none of that name.
const ApiMethod* find_api_method(std::string_view name);

}  // namespace sluice::api
