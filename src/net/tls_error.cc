#include "net/tls_error.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

namespace sluice::net {
namespace {

NetError error_of_reason(int reason) {
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return {NetErrorKind::wrong_key, "the peer presents no certificate"};
    case SSL_R_BAD_SIGNATURE:
      return {NetErrorKind::wrong_key, "the peer does not hold the key of its certificate"};
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return {NetErrorKind::wrong_version, "the peer speaks none of our protocols"};
    case SSL_R_HTTP_REQUEST:
      return {NetErrorKind::protocol, "the peer speaks HTTP without TLS"};
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_RECORD_LENGTH_MISMATCH:
      return {NetErrorKind::protocol, "the peer speaks no TLS"};
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return {NetErrorKind::protocol, "the peer speaks no TLS 1.3"};
    default:
      return {NetErrorKind::protocol, {}};
  }
}

}  // namespace

NetError error_of_alert(int alert) {
  switch (alert) {
    case SSL_AD_CLOSE_NOTIFY:
    case SSL_AD_USER_CANCELLED:
      return {NetErrorKind::closed, "the peer ended the connection"};
    case SSL_AD_BAD_CERTIFICATE:
      return {NetErrorKind::wrong_key,
              "the peer does not accept our certificate: it is of another cluster, or not valid "
              "yet; are the clocks of both hosts right?"};
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_DECRYPT_ERROR:
      return {NetErrorKind::wrong_key, "the peer does not accept our certificate: it is of another cluster"};
    case SSL_AD_CERTIFICATE_REQUIRED:
      return {NetErrorKind::wrong_key, "the peer asks for a certificate"};
    case SSL_AD_CERTIFICATE_EXPIRED:
      return {NetErrorKind::wrong_key, "our certificate has expired for the peer; are the clocks of both hosts right?"};
    case SSL_AD_CERTIFICATE_REVOKED:
      return {NetErrorKind::revoked, "our certificate was revoked"};
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_ACCESS_DENIED:
      return {NetErrorKind::wrong_role, "the peer does not accept the role of our certificate"};
    case SSL_AD_NO_APPLICATION_PROTOCOL:
      return {NetErrorKind::wrong_version, "the peer does not speak our protocol"};
    default:
      return {NetErrorKind::protocol,
              fmt::format("the peer ended the connection with the alert '{}'", SSL_alert_desc_string_long(alert))};
  }
}

NetError take_tls_error() {
  unsigned long code = ERR_peek_error();
  ERR_clear_error();
  int reason = ERR_GET_REASON(code);
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET)
    return error_of_alert(reason - SSL_AD_REASON_OFFSET);
  NetError error = error_of_reason(ERR_GET_LIB(code) == ERR_LIB_SSL ? reason : 0);
  const char* text = ERR_reason_error_string(code);
  if (error.message.empty()) error.message = fmt::format("TLS failed: {}", text != nullptr ? text : "no reason given");
  return error;
}

}  // namespace sluice::net
