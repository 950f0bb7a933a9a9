#include "net/system_error.h"

#include <cctype>
#include <cerrno>
#include <system_error>

namespace sluice::net {

std::string describe_errno(int number) {
  std::string words = std::generic_category().message(number);
  if (!words.empty()) words.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(words.front())));
  return words;
}

NetError error_of_errno(int number) {
  switch (number) {
    case ECONNREFUSED:
      return {NetErrorKind::refused, describe_errno(number)};
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return {NetErrorKind::unreachable, describe_errno(number)};
    case ETIMEDOUT:
      return {NetErrorKind::timed_out, describe_errno(number)};
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return {NetErrorKind::limit, describe_errno(number)};
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
      return {NetErrorKind::cut, describe_errno(number)};
    default:
      return {NetErrorKind::system, describe_errno(number)};
  }
}

NetError cut_by_errno(int number) { return {NetErrorKind::cut, "the connection broke: " + describe_errno(number)}; }

}  // namespace sluice::net
