#include "api/http_route.h"

#include <algorithm>

#include "api/http_response.h"
#include "api/json_mapping.h"
#include "api/schema.h"
#include "base/spelling.h"

namespace sluice::api {
namespace {

constexpr std::string_view kRunPath = "/v1/run";
constexpr std::string_view kMetricsPath = "/metrics";

/// Addresses that people expect, and the methods behind them.
struct Resource {
  std::string_view path;
  std::string_view method;
};
constexpr Resource kResources[] = {{"/v1/nodes", "sluice.v1.Cluster/ListNodes"},
                                   {"/v1/flows", "sluice.v1.Flows/ListFlows"}};

bool is_get(const RequestHead& head) { return head.method == "GET" || head.method == "HEAD"; }

std::expected<HttpRoute, HttpRefusal> only(bool allowed, const char* methods, HttpRoute route) {
  if (allowed) return route;
  return std::unexpected(
      HttpRefusal{405, std::string("the methods of this address are: ") + methods, {{"Allow", methods}}});
}

HttpRefusal unknown(const RequestHead& head) {
  std::vector<std::string> known = {"/livez", "/readyz", std::string(kMetricsPath), std::string(kRunPath)};
  for (const Resource& resource : kResources) known.emplace_back(resource.path);
  for (const ApiMethod& method : api_methods()) known.push_back("/" + method.name);
  return {404, "there is nothing at '" + head.path + "'" + did_you_mean(head.path, known)};
}

/// Without its parameters, in small letters.
std::string media_type(const RequestHead& head) {
  const std::string* value = head.find("content-type");
  std::string type = in_small_letters(value ? value->substr(0, value->find(';')) : std::string());
  while (type.ends_with(' ') || type.ends_with('\t')) type.pop_back();
  return type;
}

std::expected<void, HttpRefusal> only_type(const std::string& type, std::initializer_list<std::string_view> allowed) {
  if (std::ranges::count(allowed, type)) return {};
  return std::unexpected(
      HttpRefusal{415, "send the body with the header 'Content-Type: " + std::string(*allowed.begin()) + "'"});
}

// The text of a parameter as JSON of the field's kind; what does not fit is refused by the mapping.
void append_value(std::string& json, const Field* field, const std::string& value) {
  if (field && field->type == FieldType::boolean && (value.empty() || value == "1" || value == "true"))
    json += "true";
  else if (field && field->type == FieldType::boolean && (value == "0" || value == "false"))
    json += "false";
  else
    append_json_string(json, value);
}

}  // namespace

std::expected<HttpRoute, HttpRefusal> find_route(const RequestHead& head) {
  if (head.path == "/livez") return only(is_get(head), "GET, HEAD", LiveRoute{});
  if (head.path == "/readyz") return only(is_get(head), "GET, HEAD", ReadyRoute{});
  if (head.path == kMetricsPath) return only(is_get(head), "GET, HEAD", MetricsRoute{});
  if (head.path == kRunPath) return only(head.method == "POST", "POST", RunRoute{});
  for (const Resource& resource : kResources)
    if (head.path == resource.path)
      return only(is_get(head), "GET, HEAD", CallRoute{find_api_method(resource.method), true});
  const ApiMethod* method = head.path.starts_with('/') ? find_api_method(head.path.substr(1)) : nullptr;
  if (method) return only(head.method == "POST", "POST", CallRoute{method, false});
  if (head.method == "OPTIONS" && head.path == "*") return only(false, "GET, HEAD, POST", LiveRoute{});
  return std::unexpected(unknown(head));
}

std::expected<void, HttpRefusal> check_content_type(const RequestHead& head, const HttpRoute& route) {
  std::string type = media_type(head);
  if (std::holds_alternative<RunRoute>(route)) return only_type(type, {kBytesType});
  auto* call = std::get_if<CallRoute>(&route);
  if (!call || call->from_query) return {};
  return call->method->client_streams ? only_type(type, {kJsonLinesType, kJsonType}) : only_type(type, {kJsonType});
}

std::expected<std::string, HttpRefusal> json_from_query(const RequestHead& head, const ApiMethod& method) {
  auto parameters = parse_query(head.query);
  if (!parameters) return std::unexpected(HttpRefusal{400, parameters.error()});
  std::string json = "{";
  for (const QueryParameter& parameter : *parameters) {
    if (json.size() > 1) json += ',';
    append_json_string(json, parameter.name);
    json += ':';
    append_value(json, api_schema().message(method.request_type)->find(parameter.name), parameter.value);
  }
  return json + "}";
}

std::expected<std::optional<Duration>, HttpRefusal> timeout_of(const RequestHead& head) {
  const std::string* text = head.find("sluice-timeout");
  if (!text) return std::nullopt;
  auto timeout = parse_duration(*text);
  if (!timeout) return std::unexpected(HttpRefusal{400, "Sluice-Timeout: " + timeout.error()});
  return *timeout;
}

std::optional<std::string_view> bearer_token(const RequestHead& head) {
  constexpr std::string_view kScheme = "bearer ";  // any case (RFC 9110 section 11.1)
  const std::string* value = head.find("authorization");
  if (!value || !equal_ignoring_case(std::string_view(*value).substr(0, kScheme.size()), kScheme)) return std::nullopt;
  return std::string_view(*value).substr(kScheme.size());
}

}  // namespace sluice::api
