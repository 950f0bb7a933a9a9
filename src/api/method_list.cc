#include "api/method_list.h"

#include <algorithm>

#include "api/schema.h"

namespace sluice::api {

const std::vector<ApiMethod>& api_methods() { return api_schema().methods(); }

const ApiMethod* find_api_method(std::string_view name) {
  const std::vector<ApiMethod>& methods = api_methods();
  auto found = std::lower_bound(methods.begin(), methods.end(), name,
                                [](const ApiMethod& method, std::string_view wanted) { return method.name < wanted; });
  return found != methods.end() && found->name == name ? &*found : nullptr;
}

}  // namespace sluice::api
